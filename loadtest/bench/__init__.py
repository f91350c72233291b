"""The engine without a server, beside what it replaces and beside what the hardware allows.

The one part of `loadtest` that imports `rm_core`.
"""
