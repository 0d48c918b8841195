"""From a data profile to its comparison with the reference."""
