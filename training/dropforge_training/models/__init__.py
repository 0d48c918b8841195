"""Candidates: one file each, named in settings.yaml by import path."""
