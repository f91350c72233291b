"""From preference data to reward models: reading, Bradley-Terry training, honest evaluation.

Imports `rm_core` for the vocabulary, the position contract and the checkpoint; knows no HTTP.
"""
