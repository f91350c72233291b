"""Replacing the models while requests go on: load beside, compare, switch between packs."""
