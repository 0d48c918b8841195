"""One upload from its event to its end: record, index, analysis, training, conclusion, recovery."""
