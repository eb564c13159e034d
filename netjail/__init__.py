"""netjail runs a command, and every process it starts, under a network policy."""

__version__ = "0.1.0"
