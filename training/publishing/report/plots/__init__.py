"""The plots, each in a file of its own: from the inputs to a drawing, or to why there is none."""
