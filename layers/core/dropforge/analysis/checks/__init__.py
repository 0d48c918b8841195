"""Findings about a file: each with its evidence and a suggestion."""
