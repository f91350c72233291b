"""The reward mathematics of design.md §2: one file per formula, numpy only, pure functions."""
