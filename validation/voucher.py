"""A member answers for a newcomer with part of its bond, in place of the newcomer's proof of work.

If the newcomer is found false while on probation, the bond is burnt (by the ledger, for the same two
records) and the member may vouch no more. It may answer for a few newcomers at a time. Whether a voucher's
signer had a whole vote and a bond is for whoever reads it to say, from its own table and ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import msgspec

from dhtnode.records import Body, Count, PeerId, Signed
from dhtnode.reputation import ReputationSection
from validation.entry import Gate


class Voucher(Body, frozen=True, kw_only=True):
    """A member answers for a newcomer with part of its bond."""

    KIND: ClassVar[str] = "voucher"
    MAX_BYTES: ClassVar[int] = 384
    round: Count
    """In which it is given."""
    newcomer: PeerId
    bond_micro: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    """Credits that are burnt if the newcomer is found false while on probation."""


class Vouchers:
    """Who answers for whom.

    Args:
        gate: opened for those that somebody answers for.
        section: the swarm's constants.
        has_full_vote: what this node's table says about a key.
        bond_micro: what this node's ledger says that a key could lose.
    """

    def __init__(
        self,
        gate: Gate,
        section: ReputationSection,
        has_full_vote: Callable[[str], bool],
        bond_micro: Callable[[str], int],
    ) -> None:
        self._gate = gate
        self._section = section
        self._has_full_vote = has_full_vote
        self._bond_micro = bond_micro
        self._vouched: dict[str, Signed[Voucher]] = {}
        """Newcomers on probation that somebody answers for."""
        self._burnt: set[str] = set()
        """Who has answered for a key that was false."""

    def on_voucher(self, voucher: Signed[Voucher]) -> str | None:
        """Take in a voucher. Returns what is wrong with it, or None."""
        member, body = voucher.signer, voucher.body
        if self._gate.may_enter(body.newcomer):
            return None  # the first who answers for a key is the one
        fault = self._fault(member, body)
        if fault is None:
            self._gate.let_in(body.newcomer, voucher)
            self._vouched[body.newcomer] = voucher
        return fault

    def on_probation_served(self, peer: str) -> None:
        """Whoever answered for a newcomer is free to answer for the next one."""
        self._vouched.pop(peer, None)

    def on_convicted(self, peer: str) -> Signed[Voucher] | None:
        """A key is false and has to pay again. Returns the voucher whose bond is lost, if there is one."""
        self._gate.shut_out(peer)
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
