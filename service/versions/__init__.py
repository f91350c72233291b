"""The models that answer, as one thing: weights, calibration, threshold, baseline, name."""
