"""Faults on purpose, on loopback and on processes of our own only: a proxy, signals, limits, a world in memory."""
