"""Model cards: facts and HTML."""
