"""Health and activity of the running system."""
