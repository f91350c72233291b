"""Rows of a file, streamed from any row on: JSON, JSON Lines, CSV, Parquet, Arrow, saved datasets.

Scoring files and reading preferences share it, so it imports neither torch nor datasets until a
file needs them.
"""
