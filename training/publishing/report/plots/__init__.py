"""The plots, each in a file of its own: from the material to a drawing, or to why there is none."""
