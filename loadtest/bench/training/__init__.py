"""Reward-model trainers beside each other: `rewardd train`, its padded layout, TRL's.

Each runs in a process of its own, ours by its command line, so that nothing of `training` is
imported here.
"""
