"""Preference data: formats, records, filters, splits, mixtures and what is said of them."""
