"""The tables of figures, as plain data; `training.evaluation.rendering` shows them."""
