"""Versions, aliases, activation."""
