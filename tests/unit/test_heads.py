"""Which chain a node follows, after restarts, gaps and changes of branch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dhtnode.store import Store
from rewards.heads import Heads
from tests.unit.parties import SWARM, people
from tests.unit.rounds import history, next_round
from training.chain import found
from training.events import Adopt

PEOPLE = people(3)
HISTORY = history(6, PEOPLE)
IDS = [adopted.certificate.id for adopted in HISTORY]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "node.db") as opened:
        yield opened


def adopt(store: Store, *adopted: Adopt) -> Heads:
    heads = Heads(store)
    for one in adopted:
        heads.adopt(one.certificate)
    return heads


def test_who_was_always_there_follows_every_round(store: Store) -> None:
    assert adopt(store, *HISTORY).followed == {number: IDS[number + 1] for number in range(6)}


def test_a_restart_changes_nothing(store: Store) -> None:
    before = adopt(store, *HISTORY[:4])
    after = Heads(store)
    assert (after.newest, after.followed) == (before.newest, before.followed)
    after.adopt(HISTORY[4].certificate)
    assert after.followed[3] == IDS[4]


def test_a_node_that_fetched_a_state_still_follows_what_it_closed_before(store: Store) -> None:
    heads = adopt(store, *HISTORY[:3], HISTORY[5], HISTORY[6])
    assert heads.followed == {0: IDS[1], 1: IDS[2], 4: IDS[5], 5: IDS[6]}
    assert Heads(store).followed == heads.followed


def test_a_newcomer_follows_from_where_it_came(store: Store) -> None:
    assert adopt(store, *HISTORY[4:]).followed == {3: IDS[4], 4: IDS[5], 5: IDS[6]}


def test_a_branch_that_was_left_is_not_followed_any_more(store: Store) -> None:
    alone = Adopt(found(PEOPLE[1], SWARM, HISTORY[2].certificate.head, b""), ())
    astray = next_round(alone.certificate.head, PEOPLE[1:2])
    heads = adopt(store, *HISTORY[:3], alone, astray)
    assert heads.followed == {0: IDS[1], 1: IDS[2], 2: astray.certificate.id}
    heads.adopt(HISTORY[5].certificate)
    assert heads.followed == {0: IDS[1], 1: IDS[2], 4: IDS[5]}, "the gap is bridged within one branch"


def test_a_branch_whose_founding_was_not_seen_ends_what_is_followed(store: Store) -> None:
    alone = Adopt(found(PEOPLE[1], SWARM, HISTORY[2].certificate.head, b""), ())
    ahead = next_round(alone.certificate.head, PEOPLE)
    heads = adopt(store, *HISTORY[:3], ahead)
    assert heads.followed == {2: ahead.certificate.id}
