"""The local cloud: emulator, MLflow, worker on loopback."""
