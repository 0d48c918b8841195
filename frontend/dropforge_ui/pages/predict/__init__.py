"""Predict one row or a file."""
