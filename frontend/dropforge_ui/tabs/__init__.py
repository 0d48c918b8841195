"""One tab a module: its controls, and what happens when they are used."""
