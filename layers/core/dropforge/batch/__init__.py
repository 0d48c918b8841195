"""Score a whole file."""
