"""
Rule text in, verdicts out: what the jail may do.

To add a word, see ``words``; a scheme, ``rules``; a key of a file, ``document``; a
preset, ``presets``.
"""

from netjail.policy.facts import Facts
from netjail.policy.loading import Rules
from netjail.policy.policy import Policy

__all__ = ["Facts", "Policy", "Rules"]
