"""Journals judged again, by another policy: see ``player`` for how, ``result`` for what."""

from netjail.replay.player import Player
from netjail.replay.result import Replay

__all__ = ["Player", "Replay"]
