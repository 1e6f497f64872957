"""Hashes and derived randomness, each under a label of its own.

Two uses of SHA-256 never collide because every digest starts with its label, and every field is
length-prefixed. Randomness that peers must agree on is derived the same way: nobody draws it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

DIGEST_BYTES = 32


def digest(label: str, *fields: bytes | str | int) -> bytes:
    """SHA-256 over a label and fields, each tagged with its type and length.

    Returns:
        32 bytes.
    """
    return hashlib.sha256(b"".join(map(_tagged, (label, *fields)))).digest()


def _tagged(field: bytes | str | int) -> bytes:
    if isinstance(field, bytes):
        tag, data = b"b", field
    elif isinstance(field, str):
        tag, data = b"s", field.encode()
    else:
        tag, data = b"i", str(field).encode()
    return tag + len(data).to_bytes(8, "big") + data


class Begun:
    """A digest all of whose fields are known but the last: for whoever tries millions of those."""

    def __init__(self, label: str, *fields: bytes | str | int) -> None:
        self._state = hashlib.sha256(b"".join(map(_tagged, (label, *fields))))

    def ended(self, last: bytes) -> bytes:
        """What `digest` gives with this last field."""
        state = self._state.copy()
        state.update(b"b" + len(last).to_bytes(8, "big") + last)
        return state.digest()


def derive(label: str, *fields: bytes | str | int) -> int:
    """A 128-bit seed that follows from its label and fields alone."""
    return int.from_bytes(digest(label, *fields)[:16], "big")


def leaf_digests(label: str, chunks: Sequence[bytes | memoryview]) -> list[bytes]:
    """One digest for each chunk. The index is bound in, so chunks can't change places."""
    prefix = label.encode() + b"\x00"
    return [
        hashlib.sha256(prefix + index.to_bytes(8, "big") + chunk).digest()
        for index, chunk in enumerate(chunks)
    ]


def leaf_digest(label: str, index: int, chunk: bytes | memoryview) -> bytes:
    """The digest of one chunk, as in `leaf_digests`."""
    return hashlib.sha256(label.encode() + b"\x00" + index.to_bytes(8, "big") + chunk).digest()


def root_digest(label: str, leaves: Sequence[bytes]) -> bytes:
    """The digest that stands for a whole list of leaves.

    The list is flat, not a tree: a reader always fetches all leaves first (32 bytes for each chunk
    of 64 KiB or more, under 0.05 % of the content), and then checks each chunk on its own.
    """
    return digest(label, len(leaves), b"".join(leaves))
