"""
What a run wanted, as rules: a policy learned from it, a lock, and what changed since.

``wants`` takes records in, ``cover`` makes rules of them, ``learned`` and ``files`` write
these, ``judge`` holds a run to a lock and ``changes`` compares two.
"""
