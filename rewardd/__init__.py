"""The `rewardd` command: one entry to training and to the service."""
