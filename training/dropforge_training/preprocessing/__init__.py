"""Cleaning and feature transforms."""
