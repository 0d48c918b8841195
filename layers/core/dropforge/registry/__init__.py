"""Versions, aliases, gate."""
