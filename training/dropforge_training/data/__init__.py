"""Training tables."""
