"""Packs: the sequences of one forward pass, laid end to end, shared prefixes once."""
