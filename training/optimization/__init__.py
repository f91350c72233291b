"""The training loop: updates, checkpoints, resuming, throughput, several processes."""
