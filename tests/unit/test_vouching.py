"""What a node answers whom its user would vouch for: a signed record, or one line with what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from dhtnode.app.vouching import Vouching
from dhtnode.driver import Driver
from dhtnode.errors import ConfigError
from dhtnode.identity import Identity
from dhtnode.manifest import Terms
from dhtnode.records import sign
from dhtnode.status import VoucherPart
from dhtnode.store import Store
from tests.unit.parties import SWARM, person
from tests.unit.test_bonds import BOND, HALF, HISTORY, ME, NEWCOMER, OTHER, TERMS, Node, false_in, voucher
from training.events import RecordArrived
from validation.entry import Entry, find_nonce
from validation.events import NodeEffect, NodeEvent, Show, Vouched
from validation.voucher import Voucher

STRANGERS = [person(number) for number in range(30, 34)]
LEAST = TERMS.reputation.voucher_micro


class Hands:
    """Performs what a driver would."""

    def __init__(self) -> None:
        self.done: list[NodeEffect] = []

    def now_s(self) -> float:
        return 0.0

    def perform_all(self, effects: list[NodeEffect]) -> None:
        self.done += effects


class Asked:
    """A node, and its user."""

    def __init__(self, store: Store, rounds: int = 5, me: Identity = ME, swarm_terms: Terms = TERMS) -> None:
        self.node = Node(store, swarm_terms).go(*HISTORY[: rounds + 1])
        self.hands = Hands()
        self.vouching = Vouching(
            *(me, SWARM, self.node.core, self.node.standing.bonds),
            head=lambda: HISTORY[rounds].certificate.head if rounds >= 0 else None,
            driver=lambda: cast("Driver[NodeEvent, NodeEffect]", self.hands),
        )

    def vouch(self, newcomer: str, bond_micro: int | None = None) -> VoucherPart:
        return asyncio.run(self.vouching.vouch(newcomer, bond_micro))

    def refusal(self, newcomer: str = STRANGERS[0].peer_id, bond_micro: int | None = None) -> str:
        with pytest.raises(ConfigError) as caught:
            self.vouch(newcomer, bond_micro)
        assert self.hands.done == []
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "node.db") as opened:
        yield opened


def test_a_voucher_is_kept_before_it_is_told(store: Store) -> None:
    asked = Asked(store)
    made = asked.vouch(STRANGERS[0].peer_id)
    kept, shown = asked.hands.done
    assert isinstance(kept, Vouched)
    assert isinstance(shown, Show)
    assert kept.voucher == shown.record
    body = kept.voucher.body
    assert body == Voucher(round=5, newcomer=STRANGERS[0].peer_id, bond_micro=LEAST)
    assert made == VoucherPart(
        id=kept.voucher.id.hex(),
        newcomer=body.newcomer,
        by=ME.peer_id,
        bond=LEAST,
        round=5,
        until=5 + TERMS.reputation.open_rounds,
    )
    assert asked.node.core.gate.may_enter(STRANGERS[0].peer_id)


def test_more_than_the_least_can_be_put_up(store: Store) -> None:
    assert Asked(store).vouch(STRANGERS[0].peer_id, 3 * LEAST).bond == 3 * LEAST


@pytest.mark.parametrize(
    ("newcomer", "why"),
    [
        ("12D3KooWnobody", "is no peer id; the newcomer's 'dhtnode status' shows its own"),
        (ME.peer_id, "this node's own key"),
        (OTHER.peer_id, "it is in already"),
    ],
)
def test_newcomers_that_need_no_voucher(store: Store, newcomer: str, why: str) -> None:
    assert why in Asked(store).refusal(newcomer)


def test_who_has_paid_needs_no_voucher(store: Store) -> None:
    asked, stranger = Asked(store), STRANGERS[0]
    nonce = find_nonce(SWARM, stranger.peer_id, TERMS.reputation.entry_bits, 0, 2**16)
    asked.node.core.admit(sign(stranger, SWARM, Entry(nonce=nonce or b"")))
    assert "has found its proof of work" in asked.refusal(stranger.peer_id)


def test_one_voucher_is_enough(store: Store) -> None:
    asked, stranger = Asked(store), STRANGERS[0]
    given = sign(OTHER, SWARM, Voucher(round=5, newcomer=stranger.peer_id, bond_micro=BOND))
    asked.node.hear(given)
    assert f"{OTHER.peer_id} answers for it already" in asked.refusal(stranger.peer_id)


def test_nobody_answers_for_who_was_found_false(store: Store) -> None:
    asked = Asked(store)
    asked.node.hear(false_in(4))
    assert "it was found false" in asked.refusal(NEWCOMER.peer_id)


def test_a_node_without_a_head_has_to_wait(store: Store) -> None:
    assert "has not joined yet" in Asked(store, rounds=-1).refusal()


def test_half_a_vote_is_not_enough(store: Store) -> None:
    why = Asked(store, me=HALF).refusal()
    assert "it has 0.5; it earns one with audits passed, after its first 3 rounds" in why


def test_a_bond_below_the_least(store: Store) -> None:
    why = Asked(store).refusal(bond_micro=LEAST - 1)
    assert why == "the swarm asks for 0.000005 credits or more; give --bond 0.000005"


def test_a_bond_above_the_stake(store: Store) -> None:
    asked = Asked(store)
    stake = asked.node.standing.bonds.stake_micro(ME.peer_id)
    assert stake
    why = asked.refusal(bond_micro=stake + 1)
    assert "its stake does not cover" in why
    assert "come again when it has earned more" in why


def test_two_at_a_time(store: Store) -> None:
    asked = Asked(store)
    for stranger in STRANGERS[:2]:
        asked.vouch(stranger.peer_id)
    asked.hands.done.clear()
    why = asked.refusal(STRANGERS[2].peer_id)
    assert "it answers for 2 newcomers already" in why
    assert STRANGERS[0].peer_id in why


def test_who_answered_for_a_cheat_may_vouch_no_more(store: Store) -> None:
    asked = Asked(store)
    asked.node.hear(voucher(ME), false_in(4))
    assert "may vouch no more" in asked.refusal()


def test_where_nobody_pays_nobody_answers(store: Store) -> None:
    free = msgspec.structs.replace(TERMS.reputation, entry_bits=0)
    asked = Asked(store, swarm_terms=msgspec.structs.replace(TERMS, reputation=free))
    assert "the newcomer may simply come" in asked.refusal()


def test_own_vouchers_are_taken_in_as_others(store: Store) -> None:
    asked = Asked(store)
    asked.vouch(STRANGERS[0].peer_id)
    kept: Any = asked.hands.done[0]
    other = asked.node.core.on(RecordArrived(kept.voucher, OTHER.peer_id), 0.0)
    assert other == [], "known"
