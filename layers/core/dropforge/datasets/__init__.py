"""Accepted data: schema, manifest, history, reference."""
