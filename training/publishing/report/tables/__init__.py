"""Tables of the page beside those of figures: calibration, data, learning, provenance."""
