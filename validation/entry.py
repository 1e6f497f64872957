"""What it costs to begin: a proof of work, or a member that answers for the newcomer with its bond.

A name is free, so a bad one could be thrown away for a new one. Here a new one begins without a vote,
on probation, and has to show that it has cost something:

entry     a number that makes a digest over swarm and key begin with so many zero bits. It is bound to both,
          so it can't be lent, sold after use, or carried into another swarm. It can be found in advance;
          that moves the cost and does not lower it.
voucher   a member with a whole vote puts up part of its bond for one named key. If that key is found
          false while on probation, the bond is burnt (by the ledger, for the same two records) and the
          member may vouch no more. It may answer for a few newcomers at a time.

Both are records that anybody can check. Whether a voucher's signer had a whole vote and a bond is for whoever
reads it to say, from its own table and ledger: like all votes, the majority of electors decides.

Source: Back, "Hashcash" (2002), for the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import msgspec

from dhtnode.digest import digest
from dhtnode.records import Body, Count, PeerId, Signed
from dhtnode.reputation import ReputationSection

NONCE_BYTES = 8
MAX_PAID = 4096
"""Newcomers whose entry is remembered; beyond it the oldest have to show it again. A guess."""


class Entry(Body, frozen=True, kw_only=True):
    """A newcomer shows the work that its key has cost."""

    KIND: ClassVar[str] = "entry"
    MAX_BYTES: ClassVar[int] = 256
    nonce: Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


class Voucher(Body, frozen=True, kw_only=True):
    """A member answers for a newcomer with part of its bond."""

    KIND: ClassVar[str] = "voucher"
    MAX_BYTES: ClassVar[int] = 384
    round: Count
    """In which it is given."""
    newcomer: PeerId
    bond_micro: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    """Credits that are burnt if the newcomer is found false while on probation."""


ENTRIES: dict[str, type[Body]] = {kind.KIND: kind for kind in (Entry, Voucher)}


def zero_bits(swarm_id: bytes, peer: str, nonce: bytes) -> int:
    """Leading zero bits of the digest over swarm, key and nonce."""
    return 256 - int.from_bytes(digest("entry", swarm_id, peer, nonce), "big").bit_length()


def is_paid(entry: Signed[Entry], bits: int) -> bool:
    """Whether an entry shows enough work for its signer, in its swarm."""
    return zero_bits(entry.swarm_id, entry.signer, entry.body.nonce) >= bits


def find_nonce(swarm_id: bytes, peer: str, bits: int, start: int, tries: int) -> bytes | None:
    """Look for a nonce among `tries` numbers from `start`; the caller comes back with the next ones."""
    for number in range(start, start + tries):
        nonce = number.to_bytes(NONCE_BYTES, "big")
        if zero_bits(swarm_id, peer, nonce) >= bits:
            return nonce
    return None


class Gate:
    """Who has paid for its entry, and who answers for whom.

    Args:
        section: the swarm's constants.
        has_full_vote: what this node's table says about a key.
        bond_micro: what this node's ledger says that a key could lose.
    """

    def __init__(
        self,
        section: ReputationSection,
        has_full_vote: Callable[[str], bool],
        bond_micro: Callable[[str], int],
    ) -> None:
        self._section = section
        self._has_full_vote = has_full_vote
        self._bond_micro = bond_micro
        self._paid: dict[str, None] = {}
        """Who may take part, the one that paid first before others."""
        self._vouched: dict[str, Signed[Voucher]] = {}
        """Newcomers on probation that somebody answers for."""
        self._burnt: set[str] = set()
        """Who has answered for a key that was false."""

    def on_entry(self, entry: Signed[Entry]) -> str | None:
        """Take in a proof of work. Returns what is wrong with it, or None."""
        if not is_paid(entry, self._section.entry_bits):
            shown = zero_bits(entry.swarm_id, entry.signer, entry.body.nonce)
            return f"its proof of work has {shown} of {self._section.entry_bits} bits"
        self._let_in(entry.signer)
        return None

    def on_voucher(self, voucher: Signed[Voucher]) -> str | None:
        """Take in a voucher. Returns what is wrong with it, or None."""
        member, body = voucher.signer, voucher.body
        if body.newcomer in self._paid:
            return None  # the first who answers for a key is the one
        fault = self._fault(member, body)
        if fault is None:
            self._let_in(body.newcomer)
            self._vouched[body.newcomer] = voucher
        return fault

    def may_enter(self, peer: str) -> bool:
        """Whether a newcomer's work is taken up at all."""
        return peer in self._paid

    def on_probation_served(self, peer: str) -> None:
        """Whoever answered for a newcomer is free to answer for the next one."""
        self._vouched.pop(peer, None)

    def on_convicted(self, peer: str) -> Signed[Voucher] | None:
        """A key is false and has to pay again. Returns the voucher whose bond is lost, if there is one."""
        self._paid.pop(peer, None)
        voucher = self._vouched.pop(peer, None)
        if voucher is not None:
            self._burnt.add(voucher.signer)
        return voucher

    def _fault(self, member: str, body: Voucher) -> str | None:
        if member in self._burnt:
            return "its signer has answered for a false key before"
        if not self._has_full_vote(member):
            return "its signer has no whole vote"
        if body.bond_micro < self._section.voucher_micro:
            return f"puts up {body.bond_micro} of {self._section.voucher_micro} micro-credits"
        open_ = [one.body for one in self._vouched.values() if one.signer == member]
        if len(open_) >= self._section.open_vouchers:
            return f"its signer already answers for {len(open_)} newcomers"
        if sum(one.bond_micro for one in open_) + body.bond_micro > self._bond_micro(member):
            return "its signer's bond does not cover it"
        return None

    def _let_in(self, peer: str) -> None:
        if peer in self._paid:
            return
        if len(self._paid) >= MAX_PAID:
            oldest = next(iter(self._paid))
            del self._paid[oldest]
            self._vouched.pop(oldest, None)
        self._paid[peer] = None
