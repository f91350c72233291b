"""Matrix products of a trunk's linear layers, by the libraries that torch brings."""
