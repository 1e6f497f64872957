"""Members that show what they hold, and an outsider who reads it: for tests of standing from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from dhtnode.manifest import AuditSection, DataSection, Terms
from dhtnode.observer.chains import Chosen
from dhtnode.observer.evidence import Evidence
from dhtnode.observer.folding import Folding, Model
from dhtnode.reward import RewardSection
from rewards.disclosure import START, Place, Shown, page, place_of
from tests.unit.parties import CHUNKS, SWARM, people, terms
from tests.unit.rounds import history
from training.events import Adopt

PEOPLE = people(4)
PARAMETERS = 10**6
MODEL = Model(PARAMETERS, CHUNKS * 256)
TERMS: Terms = msgspec.structs.replace(
    terms(),
    data=DataSection(mode="shared", digest="00" * 32),
    reward=RewardSection(epoch_rounds=2, vesting_rounds=2),
    audit=AuditSection(rate=0.5),
)
HISTORY = history(6, PEOPLE)


def records_of(adopted: Iterable[Adopt]) -> list[Shown]:
    """Everything that rounds were made of."""
    found: list[Shown] = []
    for one in adopted:
        found.append(one.certificate)
        if one.plan is not None:
            found += [*one.plan.commitments_N, *one.results]
    return found


def show(evidence: Evidence, peer: str, shown: Sequence[Shown]) -> None:
    """A member shows records, page by page, as a node does."""
    held: dict[int, dict[bytes, bytes]] = {}
    for one in shown:
        held.setdefault(place_of(one).round, {})[one.id] = one.wire
    place: Place | None = START
    while place is not None:
        wire = page(place, lambda round_no: held.get(round_no, {}), max(held, default=0))
        place = evidence.take(peer, place, wire)


def folded(evidence: Evidence, of: Terms = TERMS) -> Folding:
    """What the outsider makes of it."""
    return Folding(evidence, Chosen(evidence.heads, evidence.stands), of, MODEL)


def shown_by(*shown: Sequence[Shown]) -> Evidence:
    """Evidence of members, each of whom has shown something."""
    evidence = Evidence(SWARM)
    for person, records in zip(PEOPLE, shown, strict=False):
        show(evidence, person.peer_id, records)
    return evidence
