"""A dishonest reducer announces something else than what it has reduced."""

from __future__ import annotations


def miscounted(chunks: list[bytes]) -> list[bytes]:
    """A part whose first chunk has one code changed: no norm would show it."""
    first = bytearray(chunks[0])
    first[-1] = 7 if first[-1] != 7 else 6
    return [bytes(first), *chunks[1:]]
