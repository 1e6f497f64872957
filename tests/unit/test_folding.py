"""Old epochs are folded away: the store stays small, balances stay right, and nobody's word gets shorter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dhtnode.app.standing import Standing
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import AuditSection, Terms
from dhtnode.records import Signed, sign
from dhtnode.reputation import ReputationSection
from dhtnode.reward import RewardSection
from dhtnode.status import RewardsPart
from dhtnode.store import Store
from rewards.book import Book
from rewards.heads import HEAD
from rewards.ledger import rules_of
from tests.unit.parties import CHUNKS, SWARM, core, people, person, terms
from tests.unit.rounds import history, passed
from training.events import Adopt
from training.in_force import TermsInForce
from validation.epochs import Summary, fold
from validation.messages import Verdict

OPEN = 8
PEOPLE = people(4)
ME, OTHER, *_ = PEOPLE
TERMS = msgspec.structs.replace(
    terms(),
    reward=RewardSection(epoch_rounds=4, vesting_rounds=2),
    audit=AuditSection(rate=0.5),
    reputation=ReputationSection(open_rounds=OPEN),
)
FOREVER = msgspec.structs.replace(TERMS, reputation=ReputationSection(open_rounds=10_000))
HISTORY = history(4 * OPEN, PEOPLE)
KINDS = ("commitment", "result", "verdict", HEAD)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Store]]:
    opened = [Store.open(tmp_path / f"{number}.db") for number in range(2)]
    yield opened
    for store in opened:
        store.close()


class Keeper:
    """A node that has gone through rounds, with a verdict by two members on each."""

    def __init__(self, store: Store, me: Identity, rounds: int, swarm_terms: Terms = TERMS) -> None:
        self.store = store
        self.core = core(me, swarm_terms)
        self.standing = Standing(
            *(store, TermsInForce(swarm_terms), SWARM, me),
            parameters=10**6,
            sizes_K=[256] * CHUNKS,
        )
        for effect in HISTORY[: rounds + 1]:
            self.go(effect)

    def go(self, effect: Adopt) -> None:
        self.core.holdings.begin(effect.certificate.head.number)
        self.standing.adopted(effect, self.core)
        for verdict in verdicts(effect):
            self.standing.judged(verdict)
            self.core.holdings.add(verdict.id, verdict.body.round)

    def count(self, kind: str) -> int:
        return self.store.count_records(kind)

    def summaries(self) -> set[str]:
        return {stored.signer for stored in self.store.all_records(Summary.KIND)}

    @property
    def rewards(self) -> RewardsPart:
        return self.standing.rewards()


def verdicts(closed: Adopt) -> list[Signed[Verdict]]:
    return [
        passed(judge, closed, next(work for work in closed.works if work.signer != judge.peer_id))
        for judge in (ME, OTHER)
        if closed.works
    ]


def summary_of(judge: Identity, epoch: int, leave_out: int = 0) -> Signed[Summary]:
    of_epoch = [
        verdict
        for closed in HISTORY[epoch * OPEN + 1 : (epoch + 1) * OPEN + 1]
        for verdict in verdicts(closed)
        if verdict.signer == judge.peer_id
    ]
    return sign(judge, SWARM, fold(epoch, of_epoch[leave_out:], OPEN))


def test_balances_are_those_of_a_node_that_folds_nothing(stores: list[Store]) -> None:
    folds, keeps = Keeper(stores[0], ME, 4 * OPEN), Keeper(stores[1], ME, 4 * OPEN, FOREVER)
    assert folds.rewards == keeps.rewards
    roots = [Book(store, rules_of(TERMS, 10**6)).root() for store in stores]
    assert roots[0] == roots[1], "digests of what is folded away stay"


def test_the_store_holds_two_epochs_however_long_the_swarm_lives(stores: list[Store]) -> None:
    short, long = Keeper(stores[0], ME, 3 * OPEN), Keeper(stores[1], ME, 4 * OPEN)
    assert {kind: short.count(kind) for kind in KINDS} == {kind: long.count(kind) for kind in KINDS}
    entries = [len(store.entries(b"", b"\xff" * 8)) for store in stores]
    assert entries[0] == entries[1] > 0


def test_each_node_signs_for_its_own_verdicts_when_their_books_are_closed(stores: list[Store]) -> None:
    keeper = Keeper(stores[0], ME, 2 * OPEN - 1)
    assert keeper.summaries() == set()
    keeper.go(HISTORY[2 * OPEN])
    (stored,) = keeper.store.all_records(Summary.KIND)
    assert stored.wire == summary_of(ME, 0).wire
    assert stored.id in keeper.core.holdings.tree, "neighbours are shown it"
    assert {one.signer for one in keeper.store.records("verdict", 0)} == {OTHER.peer_id}, "who has not signed"


def test_a_neighbours_summary_is_kept_if_it_leaves_nothing_out(stores: list[Store]) -> None:
    keeper = Keeper(stores[0], ME, 2 * OPEN)
    (refused,) = keeper.standing.take_late([summary_of(OTHER, 0, leave_out=1)], "neighbour", keeper.core)
    assert isinstance(refused, RemoteProtocolError)
    assert (refused.peer, refused.reason) == (OTHER.peer_id, "bad-summary")
    assert keeper.standing.take_late([summary_of(OTHER, 0)], "neighbour", keeper.core) == []
    assert keeper.summaries() == {ME.peer_id, OTHER.peer_id}
    assert summary_of(OTHER, 0).id in keeper.core.holdings.tree


@pytest.mark.parametrize(
    "of_no_use",
    [summary_of(OTHER, 1), sign(person(200), SWARM, fold(0, [], OPEN))],
    ids=["of an open epoch", "of a stranger"],
)
def test_a_summary_that_is_of_no_use_is_nobodys_offence(
    stores: list[Store], of_no_use: Signed[Summary]
) -> None:
    keeper = Keeper(stores[0], ME, 2 * OPEN)
    assert keeper.standing.take_late([of_no_use], "neighbour", keeper.core) == []
    assert keeper.summaries() == {ME.peer_id}


def test_who_does_not_sign_is_not_waited_for_for_ever(stores: list[Store]) -> None:
    keeper = Keeper(stores[0], ME, 2 * OPEN)
    assert len(keeper.store.records("verdict", 0)) == 1
    for effect in HISTORY[2 * OPEN + 1 : 3 * OPEN + 1]:
        keeper.go(effect)
    assert keeper.store.records("verdict", 0) == []


def test_a_restart_after_folding_changes_no_figure(stores: list[Store]) -> None:
    before = Keeper(stores[0], ME, 3 * OPEN + 2)
    again = Keeper.__new__(Keeper)
    again.store = before.store
    again.core = core(ME, TERMS)
    again.standing = Standing(
        *(before.store, TermsInForce(TERMS), SWARM, ME),
        parameters=10**6,
        sizes_K=[256] * CHUNKS,
    )
    again.standing.restore(again.core, [])
    again.standing.stand_on(HISTORY[3 * OPEN + 2].certificate)
    assert again.rewards == before.rewards
    assert again.core.holdings.held == before.core.holdings.held


def test_rounds_that_were_missed_before_folding_are_still_said_to_be_missing(stores: list[Store]) -> None:
    keeper = Keeper(stores[0], ME, 2)
    for effect in HISTORY[5:]:
        keeper.go(effect)
    assert keeper.rewards.missing_rounds == 2
