"""Reward models in training: trunk, head, and what of them is trained."""
