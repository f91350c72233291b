"""What the wire carries: requests as they are validated, replies as they are documented."""
