"""The page's tables, by what they tell of; cells are text, as in `training.evaluation.cells`."""
