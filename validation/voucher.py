"""A member answers for a newcomer with part of its stake, in place of the newcomer's proof of work.

If the newcomer is found false while on probation, the bond is burnt (by the ledger, for the same two
records) and the member may vouch no more. It may answer for a few newcomers at a time.

Two things are told apart. A voucher is *held*, and shown to neighbours, if its signer had a whole vote in
the certified head of its round: all nodes on a chain read that from the same head, so they hold the same
vouchers, and their ledgers burn the same bonds. Whom a held voucher lets *in* is for each node's own gate,
by its own ledger and table of trust: what a member has at stake may look different for a moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar, Protocol

import msgspec

from dhtnode.identity import is_peer_id
from dhtnode.records import Body, Count, PeerId, Signed
from dhtnode.reputation import ReputationSection
from validation.entry import Gate

MAX_OF_ONE = 64
"""Vouchers of one member that are held: a bound on what a flood of them costs. With two newcomers at a time
and 45 rounds of probation a member gives at most 45 in the 1,023 rounds for which they are held."""


class Voucher(Body, frozen=True, kw_only=True):
    """A member answers for a newcomer with part of its stake."""

    KIND: ClassVar[str] = "voucher"
    MAX_BYTES: ClassVar[int] = 384
    round: Count
    """In which it is given."""
    newcomer: PeerId
    bond_micro: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    """Credits that are burnt if the newcomer is found false while on probation."""

    def holds_at(self, round_no: int, open_rounds: int) -> bool:
        """Whether it lets in, and answers for what is done, in a round. `open_rounds`: the manifest's."""
        return self.round <= round_no < self.round + open_rounds


class Backing(Protocol):
    """What stands behind a voucher, as a node's chain and ledger have it."""

    def had_full_vote(self, member: str, round_no: int) -> bool:
        """Whether it had one in the certified head that a round began with. False where that is not known."""

    def stake_micro(self, member: str) -> int | None:
        """What it could lose now; None where the ledger lacks rounds, and can't tell."""

    def has_lost(self, member: str) -> bool:
        """Whether it has answered for a newcomer that was false."""

    def has_served(self, newcomer: str) -> bool:
        """Whether its probation is over."""


class NoBacking(Backing):
    """Of a node that keeps no ledger: nobody can answer for anybody."""

    def had_full_vote(self, member: str, round_no: int) -> bool:
        return False

    def stake_micro(self, member: str) -> int | None:
        return None

    def has_lost(self, member: str) -> bool:
        return False

    def has_served(self, newcomer: str) -> bool:
        return False


class Vouchers:
    """Who answers for whom.

    Args:
        gate: opened for those that somebody answers for.
        section: the manifest's constants.
        backing: what this node's chain and ledger say.
        is_out: whether this node takes in nothing of a key now.
    """

    def __init__(
        self, gate: Gate, section: ReputationSection, backing: Backing, is_out: Callable[[str], bool]
    ) -> None:
        gate.is_answered_for = self.lets_in
        self._section = section
        self._backing = backing
        self._is_out = is_out
        self._round_no = 0
        self._held: dict[bytes, Signed[Voucher]] = {}
        self._of: Counter[str] = Counter()
        """How many are held of each signer."""
        self._in: dict[str, Signed[Voucher]] = {}
        """Newcomers that are let in, each by the voucher that was the first here, until it holds no more."""
        self._false: set[str] = set()
        """Keys that were ever found false: nobody answers for them any more."""

    # What is held

    @property
    def held(self) -> list[Signed[Voucher]]:
        """All that neighbours may lack, in canonical order."""
        return sorted(self._held.values(), key=lambda one: (one.body.round, one.id))

    def find_fault(self, voucher: Signed[Voucher]) -> str | None:
        """What no honest member signs, whatever its ledger says; None if there is nothing of it."""
        body, least = voucher.body, self._section.voucher_micro
        if body.newcomer == voucher.signer:
            return "its signer answers for itself"
        if not is_peer_id(body.newcomer):
            return "it answers for what is no key"
        if body.bond_micro < least:
            return f"puts up {body.bond_micro} of {least} micro-credits"
        return None

    def take(self, voucher: Signed[Voucher], since: int) -> bool:
        """Take in a voucher without fault, if its signer could give it.

        Args:
            voucher: verified.
            since: the first round whose evidence is held.

        Returns:
            Whether it is new, and has to be kept.
        """
        body, signer = voucher.body, voucher.signer
        if voucher.id in self._held or not since <= body.round <= self._round_no:
            return False
        if self._of[signer] >= MAX_OF_ONE or not self._backing.had_full_vote(signer, body.round):
            return False
        self._held[voucher.id] = voucher
        self._of[signer] += 1
        self._let_in(voucher)
        return True

    def begin(self, round_no: int, since: int) -> None:
        """The node has come to this round: what is too old goes, and what was refused is looked at again."""
        self._round_no = round_no
        for voucher in [one for one in self._held.values() if one.body.round < since]:
            del self._held[voucher.id]
            self._of[voucher.signer] -= 1
        for newcomer in [peer for peer, one in self._in.items() if not self._holds(one)]:
            del self._in[newcomer]
        for voucher in self.held:
            self._let_in(voucher)

    def again(self, vouchers: Iterable[Signed[Voucher]], round_no: int, since: int) -> None:
        """After a restart, or on another branch: hold those of these that are good on the followed chain."""
        self._held.clear()
        self._of.clear()
        self._in.clear()
        self._round_no = round_no
        for voucher in sorted(vouchers, key=lambda one: (one.body.round, one.id)):
            self.take(voucher, since)

    # Whom they let in

    def lets_in(self, newcomer: str) -> bool:
        """Whether somebody answers for a key, or somebody did until it had served its probation."""
        return newcomer in self._in or (newcomer not in self._false and self._backing.has_served(newcomer))

    def by(self, newcomer: str) -> Signed[Voucher] | None:
        """The voucher that has let a newcomer in, while it is on probation."""
        return self._in.get(newcomer)

    @property
    def open(self) -> list[Signed[Voucher]]:
        """All of these, by newcomer."""
        return [one for _, one in sorted(self._in.items())]

    def open_of(self, member: str) -> list[Signed[Voucher]]:
        """Those newcomers' on probation that a member answers for."""
        return [one for one in self._in.values() if one.signer == member]

    def convicted(self, peer: str) -> None:
        """A key is false: nobody answers for it any more."""
        self._false.add(peer)
        self._in.pop(peer, None)

    def why_not(self, voucher: Signed[Voucher]) -> str | None:
        """Why a voucher lets nobody in here and now, or None."""
        member, body = voucher.signer, voucher.body
        if body.newcomer in self._false:
            return "its newcomer was found false"
        if self._is_out(member):
            return "its signer is out"
        if self._backing.has_lost(member):
            return "its signer has answered for a false key before"
        open_ = self.open_of(member)
        if len(open_) >= self._section.open_vouchers:
            return f"its signer already answers for {len(open_)} newcomers"
        stake = self._backing.stake_micro(member)
        pledged = sum(one.body.bond_micro for one in open_)
        if stake is not None and pledged + body.bond_micro > stake:
            return f"its signer has {stake} micro-credits at stake, of which {pledged} are bonds already"
        return None

    def _let_in(self, voucher: Signed[Voucher]) -> None:
        newcomer = voucher.body.newcomer
        if newcomer not in self._in and self._holds(voucher) and self.why_not(voucher) is None:
            self._in[newcomer] = voucher

    def _holds(self, voucher: Signed[Voucher]) -> bool:
        """Whether it is neither too old nor of no more use."""
        body = voucher.body
        holds = body.holds_at(self._round_no, self._section.open_rounds)
        return holds and not self._backing.has_served(body.newcomer)
