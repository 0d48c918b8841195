"""How far a training is."""
