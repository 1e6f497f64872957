"""A node looks for its proof of work once, tells how far it is, and keeps what it has found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhtnode.app import entrance
from dhtnode.app.entrance import own_entry
from dhtnode.app.memory import Memory
from dhtnode.home import Home
from dhtnode.records import Signed
from dhtnode.store import Store
from tests.unit.parties import SWARM, people
from validation.entry import Entry, is_paid

ME, OTHER = people(2)
BITS = 9


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Store.open(tmp_path / "node.sqlite") as store:
        yield Memory(Home(tmp_path), store, SWARM, ME.peer_id)


def look(memory: Memory, bits: int = BITS) -> tuple[Signed[Entry] | None, list[str]]:
    told: list[str] = []
    return asyncio.run(own_entry(memory, ME, SWARM, bits, told.append)), told


def test_it_is_found_once_and_kept(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "TRIES", 16)
    found, told = look(memory)
    assert found is not None
    assert is_paid(found, BITS)
    assert "proof of work, 0 numbers tried; it takes about 512" in told[0]
    again, told_again = look(memory)
    assert (again, told_again) == (found, [])
    assert memory.entries() == [found]


def test_it_is_looked_for_again_where_the_swarm_asks_for_more(memory: Memory) -> None:
    look(memory, 1)
    more, _ = look(memory, 12)
    assert more is not None
    assert is_paid(more, 12)


def test_nobody_looks_on_for_whom_a_member_answers(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "TRIES", 16)
    told: list[str] = []
    found = asyncio.run(own_entry(memory, ME, SWARM, 48, told.append, lambda: len(told) < 3))
    assert found is None
    assert len(told) == 3
    assert memory.entries() == []


def test_others_do_not_pay_for_this_node(memory: Memory) -> None:
    theirs = Memory(memory._home, memory._store, SWARM, OTHER.peer_id)
    asyncio.run(own_entry(theirs, OTHER, SWARM, BITS, lambda _: None))
    mine, _ = look(memory)
    assert mine is not None
    assert mine.signer == ME.peer_id


def test_where_nothing_is_asked_for_nothing_is_looked_for(memory: Memory) -> None:
    assert look(memory, 0) == (None, [])
