"""From prompts and responses to token ids, by the position contract of a checkpoint."""
