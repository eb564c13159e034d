"""
Rule text in, verdicts out: what the jail may do.

To add a word, see ``words``; a scheme, ``rules``; a key of a file, ``files``.
"""

from netjail.policy.facts import Facts
from netjail.policy.policy import Policy, Rules

__all__ = ["Facts", "Policy", "Rules"]
