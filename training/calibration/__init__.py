"""Calibration of a trained reward model: temperature and bias, the threshold τ, the baseline.

Nothing here changes a weight or a raw reward: all of it goes into `reward_model.json`.
"""
