"""Checkpoints on disk: what they hold, and how they are loaded safely."""
