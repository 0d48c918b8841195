"""Live traffic: captured requests, ground truth, windows of days, drift and score."""
