"""Intervals and regression for figures."""
