"""Commands of training, for the `rewardd` command to mount."""
