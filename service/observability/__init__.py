"""Metrics, drift and logs: what the operator is told."""
