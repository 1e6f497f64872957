"""Pages of evidence: all of it, once, in order, whatever fits; and nothing that is no page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.app.disclosing import ALL_BURST, READER_BURST, Disclosing
from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.net.streams import RefusedError
from dhtnode.records import canonical
from dhtnode.store import Store, StoredRecord
from rewards.disclosure import (
    MAX_PAGE_BYTES,
    MAX_PAGE_ROUNDS,
    START,
    Place,
    open_page,
    open_question,
    open_shown,
    page,
    place_of,
    question,
)
from rewards.heads import HEAD
from tests.unit.outsiders import HISTORY, PEOPLE, records_of
from tests.unit.parties import SWARM
from tests.unit.rounds import passed
from training.chain import Certificate

Held = dict[int, dict[bytes, bytes]]


def read(held: Held, newest: int) -> list[bytes]:
    """All records, page by page."""
    found: list[bytes] = []
    place: Place | None = START
    while place is not None:
        wire = page(place, lambda round_no: held.get(round_no, {}), newest)
        assert len(wire) <= MAX_PAGE_BYTES
        shown = open_page(wire, place, "peer")
        found += shown.records
        place = shown.next
    return found


@given(
    st.dictionaries(
        st.integers(0, 3 * MAX_PAGE_ROUNDS),
        st.lists(st.integers(1, MAX_PAGE_BYTES // 3), max_size=6),
        max_size=5,
    )
)
def test_all_that_is_held_is_read_once_and_in_order(lengths: dict[int, list[int]]) -> None:
    held: Held = {
        round_no: {digest("id", round_no, place): bytes(length) for place, length in enumerate(of_round)}
        for round_no, of_round in lengths.items()
    }
    in_order = [held[round_no][id_] for round_no in sorted(held) for id_ in sorted(held[round_no])]
    assert read(held, newest=3 * MAX_PAGE_ROUNDS) == in_order


def test_rounds_after_the_newest_head_are_not_shown() -> None:
    held: Held = {1: {bytes(31) + b"1": b"one"}, 2: {bytes(31) + b"2": b"two"}}
    assert read(held, newest=1) == [b"one"]


@pytest.mark.parametrize("shown", records_of(HISTORY[:2]), ids=lambda shown: type(shown).__name__)
def test_each_record_is_opened_again_from_its_bytes_alone(shown: Any) -> None:
    again = open_shown(shown.wire, SWARM, "peer")
    assert again.id == shown.id
    assert place_of(again) == place_of(shown)


@given(st.binary(max_size=200))
def test_junk_is_refused_with_the_name_of_who_sent_it(junk: bytes) -> None:
    for open_ in (
        lambda: open_question(junk, "peer"),
        lambda: open_page(junk, START, "peer"),
        lambda: open_shown(junk, SWARM, "peer"),
    ):
        with pytest.raises(RemoteProtocolError) as refused:
            open_()
        assert refused.value.peer == "peer"


def test_a_page_that_leads_back_is_refused() -> None:
    wire = canonical({"records": [], "next": {"round": 3, "id": bytes(32)}})
    with pytest.raises(RemoteProtocolError, match="goes back"):
        open_page(wire, Place(round=3), "peer")


# The node that answers


class _Network:
    """Keeps what is to be answered with."""

    async def on_request(self, endpoint: str, most: int, answer: Any) -> None:
        del endpoint, most
        self.answer = answer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "node.sqlite") as opened:
        yield opened


def node(store: Store, newest: Certificate | None) -> Any:
    """What a node answers."""
    network: Any = _Network()
    asyncio.run(Disclosing(network, store, lambda: newest).serve())
    return network.answer


def keep(store: Store, kind: str, record: Any, round_no: int, signer: str) -> None:
    store.add_record(StoredRecord(record.id, kind, round_no, signer, record.wire))


def test_a_node_shows_what_its_ledger_rests_on(store: Store) -> None:
    verdict = passed(PEOPLE[0], HISTORY[1], HISTORY[1].works[-1])
    for adopted in HISTORY[:3]:
        head = adopted.certificate.head
        keep(store, HEAD, adopted.certificate, head.number, head.founder)
        for work in adopted.works:
            keep(store, "commitment", work, work.body.round, work.signer)
        for result in adopted.results:
            keep(store, "result", result, result.body.round, result.signer)
    keep(store, "verdict", verdict, verdict.body.round, verdict.signer)
    answer = node(store, HISTORY[2].certificate)
    shown = open_page(asyncio.run(answer("reader", question(START))), START, "node")
    assert shown.next is None
    expected = {one.id for one in [*records_of(HISTORY[:3]), verdict]}
    assert {open_shown(wire, SWARM, "node").id for wire in shown.records} == expected


def test_a_node_without_a_head_shows_nothing_yet(store: Store) -> None:
    answer = node(store, None)
    assert open_page(asyncio.run(answer("reader", question(START))), START, "node").records == ()


def test_who_asks_too_much_is_told_to_come_again(store: Store) -> None:
    answer = node(store, None)
    for _ in range(int(READER_BURST)):
        asyncio.run(answer("reader", question(START)))
    with pytest.raises(RefusedError, match="come again"):
        asyncio.run(answer("reader", question(START)))
    asyncio.run(answer("another", question(START)))


def test_many_readers_together_have_a_quota_too(store: Store) -> None:
    answer = node(store, None)

    async def a_crowd_asks() -> None:
        for number in range(2 * int(ALL_BURST)):
            await answer(f"reader {number}", question(START))

    with pytest.raises(RefusedError):
        asyncio.run(a_crowd_asks())


def test_a_question_that_is_none_is_blamed_on_who_asked(store: Store) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        asyncio.run(node(store, None)("reader", b"what?"))
    assert (refused.value.peer, refused.value.reason) == ("reader", "bad-question")
