"""Dynamic batching: from waiting sequences to packs on the device."""
