"""The engine: packs sequences without padding and runs them through the trunk."""
