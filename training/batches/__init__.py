"""From encoded examples to batches: padded, packed with shared prompts, or cached states."""
