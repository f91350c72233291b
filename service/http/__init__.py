"""HTTP around the routes: bodies, compression, deadlines, keys, provenance."""
