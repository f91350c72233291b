"""The demo: both reward models from the bundled sample, served, with examples."""
