"""Records to a file as they happen, and back; what a line holds is in ``records``."""
