"""What it costs to begin: a proof of work for one key in one swarm.

A name is free, so a bad one could be thrown away for a new one. Here a new one begins without a vote,
on probation, and has to show that it has cost something: a number that makes a digest over swarm and
key begin with so many zero bits. It is bound to both, so it can't be lent, sold after use, or carried into
another swarm. It can be found in advance; that moves the cost and does not lower it.

Anybody can check it, so the gate is the same for all who have heard of it. A newcomer shows it with each
round that it would take part in. See `voucher` for the other way in.

Source: Back, "Hashcash" (2002).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import msgspec

from dhtnode.digest import Begun, digest
from dhtnode.records import Body, Signed

NONCE_BYTES = 8
MAX_PAID = 4096
"""Newcomers whose entry is remembered; beyond it the oldest have to show it again. A guess."""


class Entry(Body, frozen=True, kw_only=True):
    """A newcomer shows the work that its key has cost."""

    KIND: ClassVar[str] = "entry"
    MAX_BYTES: ClassVar[int] = 256
    nonce: Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


def entry_name(peer: str) -> bytes:
    """What a proof of work goes by among neighbours: any number will do that is good enough."""
    return digest("entry-of", peer)


def zero_bits(swarm_id: bytes, peer: str, nonce: bytes) -> int:
    """Leading zero bits of the digest over swarm, key and nonce."""
    return 256 - int.from_bytes(Begun("entry", swarm_id, peer).ended(nonce), "big").bit_length()


def is_paid(entry: Signed[Entry], bits: int) -> bool:
    """Whether an entry shows enough work for its signer, in its swarm."""
    return zero_bits(entry.swarm_id, entry.signer, entry.body.nonce) >= bits


def find_nonce(swarm_id: bytes, peer: str, bits: int, start: int, tries: int) -> bytes | None:
    """Look for a nonce among `tries` numbers from `start`; the caller comes back with the next ones."""
    begun, limit = Begun("entry", swarm_id, peer), 2 ** (256 - bits)
    for number in range(start, start + tries):
        nonce = number.to_bytes(NONCE_BYTES, "big")
        if int.from_bytes(begun.ended(nonce), "big") < limit:
            return nonce
    return None


def _nobody(_: str) -> bool:
    """Nobody answers for anybody."""
    return False


class Gate:
    """Who has paid for its entry, or need not pay.

    Args:
        bits: what a proof of work has to show; with 0 everybody may come.
    """

    def __init__(self, bits: int) -> None:
        self.is_answered_for: Callable[[str], bool] = _nobody
        """Whether somebody answers for a key (`voucher`)."""
        self._bits = bits
        self._paid: dict[str, Signed[Entry]] = {}
        """What each key has shown, the one that came first before others."""
        self._names: dict[bytes, str] = {}

    def find_fault(self, entry: Signed[Entry]) -> str | None:
        """What is wrong with a proof of work, or None."""
        if is_paid(entry, self._bits):
            return None
        shown = zero_bits(entry.swarm_id, entry.signer, entry.body.nonce)
        return f"its proof of work has {shown} of {self._bits} bits"

    def may_enter(self, peer: str) -> bool:
        """Whether a newcomer's work is taken up at all."""
        return self._bits == 0 or self.has_shown(peer) or self.is_answered_for(peer)

    @property
    def is_open(self) -> bool:
        """Whether everybody may come, and nobody has to pay."""
        return self._bits == 0

    def has_shown(self, peer: str) -> bool:
        """Whether a key has paid, be that asked for or not."""
        return peer in self._paid

    def shown(self, name: bytes) -> Signed[Entry] | None:
        """What a key has shown, by `entry_name`, for neighbours that lack it."""
        peer = self._names.get(name)
        return self._paid[peer] if peer is not None else None

    def let_in(self, peer: str, shown: Signed[Entry]) -> str | None:
        """A key may take part from now on; what it has shown first is kept.

        Returns:
            The key that has to show it again, if there are too many.
        """
        if peer in self._paid:
            return None
        gone = next(iter(self._paid)) if len(self._paid) >= MAX_PAID else None
        if gone is not None:
            self.shut_out(gone)
        self._paid[peer] = shown
        self._names[entry_name(peer)] = peer
        return gone

    def shut_out(self, peer: str) -> None:
        """A key has to pay again."""
        self._paid.pop(peer, None)
        self._names.pop(entry_name(peer), None)
