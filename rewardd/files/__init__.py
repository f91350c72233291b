"""Scoring and comparing files: rows in, results out, resumable, local or by a server."""
