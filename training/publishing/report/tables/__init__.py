"""The page's tables, by what they tell of; cells are text (`training.evaluation.table_cells`)."""
