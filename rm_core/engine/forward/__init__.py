"""Forward passes: packed, padded, by length, encoders; and which one a model may take."""
