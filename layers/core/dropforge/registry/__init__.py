"""Registered versions, aliases, the promotion gate."""
