"""The commands of the command line, each registered by its module."""
