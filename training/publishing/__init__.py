"""From a trained model to a checkpoint that others can load, read about and look at."""
