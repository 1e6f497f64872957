"""What a year leaves in a node's store: the part of `bench-reputation` about folding old epochs away.

A real standing keeps real records of 64 members in a real store, with short epochs. What is kept of open
epochs is as many times larger with the real length of an epoch; what stays for good grows with every round.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dhtnode.app.folding import HISTORY_KEPT  # noqa: E402
from dhtnode.app.standing import Standing  # noqa: E402
from dhtnode.digest import digest  # noqa: E402
from dhtnode.manifest import AuditSection  # noqa: E402
from dhtnode.records import sign  # noqa: E402
from dhtnode.reputation import ReputationSection  # noqa: E402
from dhtnode.reward import RewardSection  # noqa: E402
from dhtnode.store import Store  # noqa: E402
from tests.unit.parties import CHUNKS, SWARM, core, people, terms  # noqa: E402
from tests.unit.rounds import founding, next_round, passed  # noqa: E402
from training.events import Adopt  # noqa: E402
from training.in_force import TermsInForce  # noqa: E402
from validation.epochs import Row, Summary  # noqa: E402

YEAR_S = 365 * 24 * 3600
CASES_MB = 31
"""512 cases of 60 KB: the most there can be."""
GROWTH_EPOCH, GROWTH_EPOCHS = 64, 6
"""What grows with every round grows slowly, and is measured over more rounds of a swarm of two."""
PAGE_BYTES = 4096
"""Less than a page can't be seen."""
HISTORY_BYTES = 400
"""Of a round's summary, with its keys."""


@dataclass(frozen=True)
class Year:
    """At one length of rounds."""

    round_s: float
    open_mb: int
    """Records, entries and heads of epochs that are not folded, at their fullest."""
    summaries_mb: int
    history_mb: int
    for_good_mb: int
    """Digests of the ledger's epochs, and the rest that grows with every round."""
    cases_mb: int
    total_mb: int
    unfolded_mb: int
    """What the same rounds would take without folding."""


def years(members: int, audits: int, epoch: int, round_lengths_s: tuple[float, ...]) -> list[Year]:
    """Figures of a swarm with so many verdicts in a round, from a store with epochs of so many rounds."""
    section = ReputationSection()
    *_, emptied, fullest, _ = _played(members, audits, epoch, epochs=3)
    first, *_, last = _played(2, 1, GROWTH_EPOCH, GROWTH_EPOCHS)[::2]
    for_good = max(last - first, PAGE_BYTES) / (GROWTH_EPOCH * (GROWTH_EPOCHS - 1))
    found = []
    for round_s in round_lengths_s:
        rounds = YEAR_S / round_s
        summaries = rounds / section.open_rounds * members * _summary_bytes(members)
        history = HISTORY_KEPT * HISTORY_BYTES
        open_ = fullest * section.open_rounds / epoch
        parts = [open_ / 1e6, summaries / 1e6, history / 1e6, rounds * for_good / 1e6, CASES_MB]
        figures = (*parts, sum(parts), rounds * (fullest - emptied) / epoch / 1e6)
        found.append(Year(round_s, *(round(figure) for figure in figures)))
    return found


def _played(members: int, audits: int, epoch: int, epochs: int) -> list[int]:
    """Bytes in use after each folding, and before the next one, in turn."""
    persons = people(members)
    swarm_terms = msgspec.structs.replace(
        terms(),
        reward=RewardSection(epoch_rounds=min(epoch, RewardSection().epoch_rounds)),
        audit=AuditSection(rate=0.5),
        reputation=ReputationSection(open_rounds=epoch),
    )
    node = core(persons[0], swarm_terms)
    sizes = []
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "node.db") as store:
        standing = Standing(
            *(store, TermsInForce(swarm_terms), SWARM, persons[0]),
            parameters=10**7,
            sizes_K=[256] * CHUNKS,
        )

        def go(closed: Adopt) -> None:
            number = closed.certificate.head.number
            node.holdings.begin(number)
            standing.adopted(closed, node)
            for place in range(audits if closed.works else 0):
                judge = persons[(number * audits + place) % members]
                work = next(one for one in closed.works[place:] if one.signer != judge.peer_id)
                verdict = passed(judge, closed, work)
                standing.judged(verdict)

        newest = founding(persons[0])
        go(newest)
        for number in range(1, (epochs + 1) * epoch + 1):
            newest = next_round(newest.certificate.head, persons)
            folds = number % epoch == 0 and number >= 2 * epoch
            if folds and number > 2 * epoch:
                sizes.append(_used(store))
            go(newest)
            if folds:
                sizes.append(_used(store))
    return sizes


def _used(store: Store) -> int:
    """Bytes of pages that hold something."""
    pages, free, size = (
        int(store._db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _summary_bytes(members: int) -> int:
    """Of one that names all others."""
    persons = people(members)
    rows = sorted(Row(person.peer_id, 10, 1, 0) for person in persons[1:])
    body = Summary(epoch=1000, verdicts=11 * len(rows), folded=digest("folded"), rows=tuple(rows))
    return len(sign(persons[0], SWARM, body).wire)
