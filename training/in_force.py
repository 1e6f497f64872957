"""The terms in force: the manifest's, and the amendments that the followed chain has adopted.

A certified head names all amendments that its chain has adopted, in order; each says itself from which round
on it holds. So the terms of every round of a chain follow from its newest head and the amendments' records,
and nodes on the same head play by the same terms, whatever they think of a vote. An amendment is
adopted at least `reward.epoch_rounds` rounds before it holds: time enough to fetch it, to update, or to go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dhtnode.amendments import MAX_AMENDMENTS, Amendment, amend
from dhtnode.manifest import Terms
from dhtnode.records import Signed

Ids = Sequence[bytes]
MAX_MADE = 4 * MAX_AMENDMENTS
"""Terms that are remembered: others are made again."""


def _any(terms: Terms) -> None:
    """The default for who knows of nothing that the terms have to fit."""


class TermsInForce:
    """What one node plays by. Read from several threads, changed from the event loop's only.

    Args:
        manifest: the manifest's terms.
    """

    def __init__(self, manifest: Terms) -> None:
        self.manifest = manifest
        self.now = manifest
        """In the round that the node stands before."""
        self.since = 0
        """First round under these."""
        self.adopted: tuple[bytes, ...] = ()
        """Ids of the followed chain's amendments."""
        self.check: Callable[[Terms], None] = _any
        """Raises ValueError for terms that this machine can't train by; whoever trains puts it here."""
        self._known: dict[bytes, Signed[Amendment]] = {}
        self._made: dict[tuple[bytes, ...], Terms] = {(): manifest}

    # Amendments that are known, adopted or not

    def learn(self, amendment: Signed[Amendment]) -> None:
        self._known[amendment.id] = amendment

    def forget(self, id_: bytes) -> None:
        """One that can't be adopted any more."""
        self._known.pop(id_, None)

    def amendment(self, id_: bytes) -> Signed[Amendment] | None:
        return self._known.get(id_)

    def missing(self, ids: Ids) -> tuple[bytes, ...]:
        """Those of a head's amendments that have to be fetched."""
        return tuple(id_ for id_ in ids if id_ not in self._known)

    # Where the node stands

    def stand_on(self, ids: Ids, round_no: int) -> str | None:
        """The node goes on from a head whose amendments are all known. Returns why it can't, or None."""
        self.adopted = tuple(ids)
        try:
            self.now = self.at(round_no)
        except ValueError as error:
            return str(error)
        self.since = max(self.changes(round_no), default=0)
        return None

    def at(self, round_no: int) -> Terms:
        """The terms of a round of the followed chain.

        Raises:
            ValueError: this node can't apply an amendment; the text names it.
        """
        return self._made_by(self._due(self.adopted, round_no))

    def changes(self, round_no: int) -> tuple[int, ...]:
        """Rounds up to this one from which on other terms hold than before, in order."""
        return tuple(sorted({self._known[id_].body.effect for id_ in self._due(self.adopted, round_no)}))

    def next_change(self, round_no: int) -> int | None:
        """The first round after this one from which on an adopted amendment holds."""
        effects = (self._known[id_].body.effect for id_ in self.adopted)
        return min((effect for effect in effects if effect > round_no), default=None)

    # What may be adopted

    def may_adopt(self, before: Ids, after: Ids, number: int) -> bool:
        """Whether a round may add to the amendments that a head names: the same for all who know them.

        Args:
            before: of the head that the round starts from.
            after: of the head that it would lead to.
            number: of that head.
        """
        new = tuple(after[len(before) :])
        if tuple(after[: len(before)]) != tuple(before) or len(set(after)) != len(after):
            return False
        timely = all(id_ in self._known and self.is_timely(self._known[id_], number) for id_ in new)
        return timely and len(after) <= MAX_AMENDMENTS

    def is_timely(self, amendment: Signed[Amendment], number: int) -> bool:
        """Whether there is an epoch left between the head of this number and the amendment's first round."""
        return number + self.manifest.reward.epoch_rounds <= amendment.body.effect

    def fault(self, ids: Ids) -> str | None:
        """Why amendments can't all be adopted by what this version makes of them, or None."""
        try:
            for effect in sorted({self._known[id_].body.effect for id_ in ids}):
                self._made_by(self._due(ids, effect))
        except ValueError as error:
            return str(error)
        return None

    def _due(self, ids: Ids, round_no: int) -> tuple[bytes, ...]:
        """Those that hold in a round, in the order in which they are applied: by effect, then as adopted."""
        due = [id_ for id_ in ids if self._known[id_].body.effect <= round_no]
        return tuple(sorted(due, key=lambda id_: self._known[id_].body.effect))

    def _made_by(self, ids: tuple[bytes, ...]) -> Terms:
        if ids not in self._made:
            if len(self._made) > MAX_MADE:
                self._made = {(): self.manifest}
            made = self._made_by(ids[:-1])
            try:
                made = amend(made, self._known[ids[-1]].body.changes)
                self.check(made)
            except ValueError as error:
                raise ValueError(f"amendment {ids[-1].hex()[:12]}: {error}") from error
            self._made[ids] = made
        return self._made[ids]
