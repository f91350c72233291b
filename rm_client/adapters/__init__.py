"""One module per trainer, each by that trainer's own contract for reward functions.

Import the module of yours: nothing here imports a trainer, torch or numpy before it is needed.
"""
