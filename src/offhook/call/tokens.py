"""Chance that can be repeated: the random letters of one call come from its seed alone.

A journal keeps the seed, so a replay makes the same ids.
"""

from __future__ import annotations

import hashlib

_ALPHABET = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Every byte picks a letter; 256 is no multiple of 62, so some are a quarter likelier, which unguessability survives.
_LETTERS = bytes(_ALPHABET[number % len(_ALPHABET)] for number in range(256))
_BLOCK_BYTES = 64
# Made at a time: the ids of about nine events. The first time it is one: of most streams that is all that is taken.
_BLOCKS = 4
SEED_BYTES = 16


class TokenStream:
    """Letters and digits from a keyed hash of a counter. The seed has to be unguessable when ids must be."""

    __slots__ = ("_block", "_count", "_place", "_seed")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._count = 0
        self._block = ""
        self._place = 0

    def __call__(self, size: int) -> str:
        """Return the next ``size`` letters."""
        start = self._place
        end = start + size
        if end > len(self._block):
            self._refill(size)
            start, end = 0, size
        self._place = end
        return self._block[start:end]

    def _refill(self, size: int) -> None:
        """Drop what was given out, and have at least so many letters again."""
        digests: list[bytes] = []
        for _ in range((_BLOCKS if self._count else 1) + size // _BLOCK_BYTES):
            self._count += 1
            hashed = hashlib.blake2b(self._count.to_bytes(8, "big"), key=self._seed, digest_size=_BLOCK_BYTES)
            digests.append(hashed.digest())
        self._block = self._block[self._place :] + b"".join(digests).translate(_LETTERS).decode("ascii")
