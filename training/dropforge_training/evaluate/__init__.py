"""Metrics, held-out evaluation, comparison with the champion."""
