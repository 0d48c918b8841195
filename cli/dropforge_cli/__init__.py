"""The dropforge command."""
