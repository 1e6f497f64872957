"""How members change the constants they have agreed on: who is for an amendment, and what that weighs.

A member proposes an amendment (`dhtnode.amendments`); others sign ballots on it. Who has not signed for it
is against it. A ballot against says so aloud, for all to read, and weighs nothing more; a key that has
said yes has said yes. So ballots are a grow-only set like everything else, and more of them never undo a
decision.

A vote weighs what its key had vested when the last whole epoch ended, up to a cap. With two thirds of all
that weight the amendment is adopted: the round's roster names it, so it is adopted when a majority of the
electors has counted the same, and from then on it is a fact of the chain that needs no ledger. That has
to happen one whole epoch before its first round, in which who does not want to stay can leave.
Credits at stake do not vote: a newcomer has nothing to lose yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from dhtnode.amendments import MAX_AMENDMENTS, Amendment, changes_fault
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Digest, Signed
from dhtnode.reward import PPM, RewardSection
from rewards.entries import raw_key
from training.in_force import TermsInForce
from training.messages import Head

MAJORITY = (2, 3)
"""Of the weight of all, as for amendments of most constitutions."""
MAX_OPEN_OF_KEY = 4
MAX_BALLOTS = 1024
"""On one amendment: only members and those who own something are heard. Guesses."""
MOST_EPOCHS_AHEAD = 64
"""What is to hold later than this can be proposed later. A guess."""

State = Literal["open", "adopted", "in force", "rejected"]
Vested = Callable[[int], Mapping[bytes, int] | None]


class Ballot(Body, frozen=True, kw_only=True):
    """A member is for an amendment, or says that it is not."""

    KIND: ClassVar[str] = "ballot"
    MAX_BYTES: ClassVar[int] = 512
    amendment: Digest
    """Id of that record."""
    yes: bool


GOVERNANCE: dict[str, type[Body]] = {kind.KIND: kind for kind in (Amendment, Ballot)}
"""Records of votes on the manifest's constants."""


@dataclass(frozen=True)
class Tally:
    """Where a vote stands. Weights are micro-credits, each key's no more than the cap."""

    given: int
    against: int
    """Of those who said so."""
    total: int

    @property
    def needed(self) -> int:
        return -(-self.total * MAJORITY[0] // MAJORITY[1])

    @property
    def carried(self) -> bool:
        return self.total > 0 and self.given >= self.needed


def count(
    amendment: Signed[Amendment],
    ballots: Iterable[Signed[Ballot]],
    vested: Mapping[bytes, int],
    section: RewardSection,
) -> Tally:
    """The votes on an amendment: the same on all nodes with the same records.

    Args:
        amendment: verified; its signer is for it.
        ballots: verified; those on other amendments do not count.
        vested: micro-credits by raw key.
        section: in force.
    """
    votes = weights(vested, section)
    on_it = [ballot for ballot in ballots if ballot.body.amendment == amendment.id]
    in_favour = {amendment.signer, *(ballot.signer for ballot in on_it if ballot.body.yes)}
    against = {ballot.signer for ballot in on_it} - in_favour
    given, refused = (sum(votes.get(raw_key(peer), 0) for peer in peers) for peers in (in_favour, against))
    return Tally(given, refused, sum(votes.values()))


def weights(vested: Mapping[bytes, int], section: RewardSection) -> dict[bytes, int]:
    """The vote of each key: its vested credits, none above the cap."""
    cap = sum(vested.values()) * section.vote_cap_ppm // PPM
    return {key: min(amount, cap) for key, amount in vested.items()}


def is_heard(peer: str, head: Head, vested: Mapping[bytes, int] | None) -> bool:
    """Whether a peer's records take up room here: names are free, so only members and owners may."""
    return peer in head.members or bool((vested or {}).get(raw_key(peer)))


class Assembly:
    """What one node holds of amendments and ballots, and what it makes of them.

    Args:
        in_force: told of every amendment that is held.
        vested: by raw key, what each had vested when the last whole epoch before a round ended, by the own
            ledger; None while that lacks rounds: such a node has no opinion, and adopts what others do.
    """

    def __init__(self, in_force: TermsInForce, vested: Vested) -> None:
        self._in_force = in_force
        self._vested = vested
        self._amendments: dict[bytes, Signed[Amendment]] = {}
        self._ballots: dict[bytes, dict[tuple[str, bool], Signed[Ballot]]] = {}
        self._generation = 0
        self._adoptable: tuple[bytes, int, tuple[bytes, ...]] | None = None

    # Records

    def add(self, record: Signed[Body], head: Head | None) -> bool:
        """Take in a verified record.

        Args:
            record: an amendment or a ballot.
            head: that the node stands on, None before it has one.

        Returns:
            Whether it is new and kept.

        Raises:
            RemoteProtocolError: reason `bad-amendment`: no node, of whatever version, could take it in.
        """
        kept = False
        if isinstance(record.body, Amendment):
            kept = self._add_amendment(cast("Signed[Amendment]", record), head)
        elif isinstance(record.body, Ballot):
            kept = self._add_ballot(cast("Signed[Ballot]", record), head)
        self._generation += kept
        return kept

    def _add_amendment(self, amendment: Signed[Amendment], head: Head | None) -> bool:
        if amendment.id in self._amendments:
            return False
        self._prune(head)
        if head is None or amendment.id not in head.amendments:
            fault = changes_fault(amendment.body.changes)
            if fault:
                raise RemoteProtocolError(amendment.signer, "bad-amendment", fault)
            others = [one for one in self.open(head) if one.signer == amendment.signer]
            if not self._is_soon(amendment, head) or not self._is_heard(amendment.signer, head):
                return False
            if len(others) >= MAX_OPEN_OF_KEY or len(self.open(head)) >= MAX_AMENDMENTS:
                return False
        self.keep(amendment)
        return True

    def keep(self, amendment: Signed[Amendment]) -> None:
        """One that a head names, or that was kept before."""
        self._amendments[amendment.id] = amendment
        self._in_force.learn(amendment)

    def _add_ballot(self, ballot: Signed[Ballot], head: Head | None) -> bool:
        on_it = self._ballots.setdefault(ballot.body.amendment, {})
        key = (ballot.signer, ballot.body.yes)
        known = ballot.body.amendment in self._amendments and key not in on_it
        if not known or len(on_it) >= MAX_BALLOTS or not self._is_heard(ballot.signer, head):
            if not on_it:
                del self._ballots[ballot.body.amendment]
            return False
        on_it[key] = ballot
        return True

    def _is_soon(self, amendment: Signed[Amendment], head: Head | None) -> bool:
        """Whether it can still be adopted, and is not about times that nobody can foresee."""
        number = head.number if head else 0
        most = number + MOST_EPOCHS_AHEAD * self._in_force.manifest.reward.epoch_rounds
        foreseen = amendment.body.round <= number and amendment.body.effect <= most
        return foreseen and self._in_force.is_timely(amendment, number + 1)

    def _is_heard(self, peer: str, head: Head | None) -> bool:
        return head is not None and is_heard(peer, head, self._weighed(head))

    def _prune(self, head: Head | None) -> None:
        """Forget what was not adopted in time."""
        if head is None:
            return
        adopted = {*head.amendments, *self._in_force.adopted}
        for id_, amendment in list(self._amendments.items()):
            if id_ not in adopted and not self._in_force.is_timely(amendment, head.number):
                del self._amendments[id_]
                self._ballots.pop(id_, None)
                self._in_force.forget(id_)

    def records(self, head: Head | None) -> dict[bytes, bytes]:
        """What neighbours may lack, by id: all amendments, then the ballots on those that are voted on."""
        held = {id_: one.wire for id_, one in self._amendments.items()}
        for amendment in self.open(head):
            held.update((ballot.id, ballot.wire) for ballot in self.ballots(amendment.id))
        return held

    # What it amounts to

    def open(self, head: Head | None) -> list[Signed[Amendment]]:
        """Amendments that can still be adopted, the one that would hold first before others."""
        adopted, number = (head.amendments, head.number) if head else ((), 0)
        voted = [
            one
            for id_, one in self._amendments.items()
            if id_ not in adopted and self._in_force.is_timely(one, number + 1)
        ]
        return sorted(voted, key=lambda one: (one.body.effect, one.id))

    def amendment(self, id_: bytes) -> Signed[Amendment] | None:
        return self._amendments.get(id_)

    def ballots(self, id_: bytes) -> list[Signed[Ballot]]:
        return list(self._ballots.get(id_, {}).values())

    def tally(self, amendment: Signed[Amendment], head: Head) -> Tally | None:
        """Where the vote stands at a head; None if this node's ledger can't tell."""
        vested = self._weighed(head)
        if vested is None:
            return None
        return count(amendment, self.ballots(amendment.id), vested, self._in_force.now.reward)

    def adoptable(self, head: Head) -> tuple[bytes, ...]:
        """Amendments that the round after a head should adopt, in the order in which it should."""
        known = self._adoptable
        if known is None or known[:2] != (head.id, self._generation):
            known = self._adoptable = (head.id, self._generation, self._adopt(head))
        return known[2]

    def _adopt(self, head: Head) -> tuple[bytes, ...]:
        adopted = list(head.amendments)
        for amendment in self.open(head):
            tally = self.tally(amendment, head)
            carried = tally is not None and tally.carried and len(adopted) < MAX_AMENDMENTS
            if carried and self._in_force.fault((*adopted, amendment.id)) is None:
                adopted.append(amendment.id)
        return tuple(adopted[len(head.amendments) :])

    def _weighed(self, head: Head) -> Mapping[bytes, int] | None:
        """What everybody had vested when the last whole epoch ended."""
        return self._vested(head.number)
