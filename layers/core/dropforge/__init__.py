"""Dropforge: serverless MLOps for tables. The shared core: steps and the rooms they use."""

__version__ = "0.1.0"
