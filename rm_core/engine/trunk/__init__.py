"""How a trunk is run: exactly, in what precision, and no further than its heads read."""
