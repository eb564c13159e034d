"""Records to a file as they happen, and back; what a line holds is in ``records``."""

from netjail.journal.reading import Torn, read_journal
from netjail.journal.writing import Journal, Observed

__all__ = ["Journal", "Observed", "Torn", "read_journal"]
