"""Uploads, quarantine, datasets."""
