"""What the functions know of training: study journal, budget, progress."""
