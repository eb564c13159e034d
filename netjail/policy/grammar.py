"""
The syntax of TOML by tree-sitter: a text in, its tables and pairs out.

The one module that knows tree-sitter; it costs some 20 ms to import, which only runs
with a policy file pay.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import tree_sitter

Span = tuple[int, int]

# A key is named by its parts, and a comment is no value.
_KEYS = ("bare_key", "quoted_key", "dotted_key")
_SILENT = (*_KEYS, "comment", "escape_sequence")


class Node(msgspec.Struct):
    """A piece of the text: a table, a pair, a value."""

    type: str
    """As tree-sitter-toml calls it."""
    span: Span
    """Where it begins and ends, in characters."""
    head: Span
    """Of a table: its header, brackets and all."""
    keys: tuple[tuple[str, Span], ...]
    """The parts of its key, each with its place."""
    children: tuple[Node, ...]
    """The pairs of a table, the values of a list, and what a pair gives its key."""


def parse(text: str) -> tuple[Node, ...]:
    """The tables and pairs of *text* that stand in no other table."""
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    raw = text.encode("utf-8", "surrogatepass")
    tree = Parser(Language(tree_sitter_toml.language())).parse(raw)
    return _Reader(text, raw).node(tree.root_node).children


class _Reader:
    def __init__(self, text: str, raw: bytes) -> None:
        self._raw = raw
        self._offsets = None if text.isascii() else _offsets(raw)

    def node(self, node: tree_sitter.Node) -> Node:
        named = node.named_children
        keys = tuple(part for child in named if child.type in _KEYS for part in self._key(child))
        return Node(
            node.type,
            self._span(node.start_byte, node.end_byte),
            self._span(node.start_byte, self._head(node)),
            keys,
            tuple(self.node(child) for child in named if child.type not in _SILENT),
        )

    def _key(self, node: tree_sitter.Node) -> Iterator[tuple[str, Span]]:
        if node.type == "dotted_key":
            for part in node.named_children:
                yield from self._key(part)
            return
        text = self._raw[node.start_byte : node.end_byte].decode("utf-8", "surrogatepass")
        yield _name(text), self._span(node.start_byte, node.end_byte)

    @staticmethod
    def _head(node: tree_sitter.Node) -> int:
        ends = (child.end_byte for child in node.children if child.type in ("]", "]]"))
        return next(ends, node.end_byte)

    def _span(self, start: int, end: int) -> Span:
        return (self._offsets[start], self._offsets[end]) if self._offsets else (start, end)


def _offsets(raw: bytes) -> list[int]:
    """For each byte, how many characters begin before it; and their number at the end."""
    return list(accumulate((byte & 0xC0 != 0x80 for byte in raw), initial=0))


def _name(key: str) -> str:
    """The name that a part of a key stands for, without quotes and escapes."""
    import tomllib

    return next(iter(tomllib.loads(f"{key} = 0"))) if key[0] in "\"'" else key
