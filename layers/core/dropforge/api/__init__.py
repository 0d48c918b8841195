"""HTTP, the part all handlers share: requests taken apart, answers put together, errors told one way."""
