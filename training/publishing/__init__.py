"""Publishing of a trained model: checkpoint, model card and training report."""
