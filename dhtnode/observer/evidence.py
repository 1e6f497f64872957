"""What members have shown of the records behind the ledger: checked, put together, and who showed what. Pure.

Records only get more, so what several members show is merged as a set: one that holds something back hides
nothing that another shows. Who shows what no honest member shows is named, and what it has shown until
then stays: each record speaks for itself.

What strangers send is bounded: records of a member come in rising order, so many of a round and so many in
all. Records that the swarm's chain does not lead to are kept, and count for nothing (`folding`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed
from rewards.disclosure import Place, Shown, open_page, open_shown, place_of
from training.chain import Certificate, heavier
from training.messages import MAX_MEMBERS
from validation.cases import Case

MAX_OF_ROUND = 64 * MAX_MEMBERS
"""Records of a round that one member may show. All judge all only where there is a dispute; a guess."""
MAX_RECORDS = 1_000_000
"""That one member may show: 10,000 rounds of 25 members, and some GB of memory here. A guess."""

B = TypeVar("B", bound=Body)


class Evidence:
    """Verified records of one swarm.

    Args:
        swarm_id: signature domain.
    """

    def __init__(self, swarm_id: bytes) -> None:
        self.heads: dict[bytes, Certificate] = {}
        self.cases: dict[bytes, Case] = {}
        self.records: dict[bytes, Signed[Body]] = {}
        """Commitments, results and verdicts."""
        self.shown_by: dict[str, set[bytes]] = {}
        """Ids of what each member has shown."""
        self.stands: dict[str, Certificate] = {}
        """The heaviest head of each member."""
        self.faults: dict[str, RemoteProtocolError] = {}
        """What each member has shown last that no honest one shows."""
        self._swarm_id = swarm_id
        self._opened: dict[bytes, Shown] = {}
        """By wire: what all members show is checked once."""
        self._of_round: dict[str, Counter[int]] = {}

    def stand(self, peer: str, certificate: Certificate) -> None:
        """A member has shown its head. It was checked."""
        self.shown_by.setdefault(peer, set())
        self._keep(peer, certificate)

    def take(self, peer: str, asked: Place, wire: bytes) -> Place | None:
        """Take in a member's page.

        Args:
            peer: the member.
            asked: the place after which its records are.
            wire: its answer.

        Returns:
            The place to go on from; None if that was all.

        Raises:
            RemoteProtocolError: it shows what no honest member shows. It is in `faults` then, too.
        """
        try:
            return self._read(peer, asked, wire)
        except RemoteProtocolError as error:
            self.faults[peer] = error
            raise

    def of(self, kind: type[B]) -> Iterator[Signed[B]]:
        """All records of a kind, by id."""
        for _, record in sorted(self.records.items()):
            if isinstance(record.body, kind):
                yield record  # type: ignore[misc]  # its body is of that kind

    def _read(self, peer: str, asked: Place, wire: bytes) -> Place | None:
        page = open_page(wire, asked, peer)
        last = asked
        for record in page.records:
            last = self._take(peer, last, record)
        if page.next is not None and page.next < last:
            raise RemoteProtocolError(peer, "bad-page", "goes back to what it has shown")
        return page.next

    def _take(self, peer: str, last: Place, wire: bytes) -> Place:
        """Keep one record; the place where it stands."""
        shown = self._opened.get(wire)
        if shown is None:
            shown = open_shown(wire, self._swarm_id, peer)
        place = place_of(shown)
        if place <= last:
            raise RemoteProtocolError(peer, "bad-page", "its records are not in their order")
        counts = self._of_round.setdefault(peer, Counter())
        counts[place.round] += 1
        if counts[place.round] > MAX_OF_ROUND or len(self.shown_by.get(peer, ())) >= MAX_RECORDS:
            raise RemoteProtocolError(peer, "too-much", f"round {place.round} has no end")
        self._opened[wire] = shown
        self._keep(peer, shown)
        return place

    def _keep(self, peer: str, shown: Shown) -> None:
        self.shown_by.setdefault(peer, set()).add(shown.id)
        match shown:
            case Certificate():
                self.heads.setdefault(shown.id, shown)
                stands = self.stands.get(peer)
                if stands is None or heavier(shown.head, stands.head):
                    self.stands[peer] = shown
            case Case():
                self.cases[shown.id] = shown
            case _:
                self.records[shown.id] = shown
