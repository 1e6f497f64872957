"""What a node lacks comes from several neighbours at once, from each something else, and a liar stops none.

All of a node that has to do with it is real but for the network: questions and answers go from hand to hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from dhtnode.app.gaps import EVIDENCE, ROUNDS, Gaps
from dhtnode.app.standing import Standing
from dhtnode.app.talk import Talk
from dhtnode.driver import Driver
from dhtnode.identity import Identity
from dhtnode.records import parse_canonical
from dhtnode.store import Store
from tests.unit.parties import CHUNKS, SWARM, commit, core, head_of, people, person, terms
from tests.unit.rounds import fetched, history
from training.events import Adopt, Tick
from training.in_force import TermsInForce
from validation.antientropy import MAX_QUESTION_BYTES, NAME_BYTES
from validation.cases import Case, equivocation_case
from validation.events import CaseShown, Convict, NodeEffect, NodeEvent
from validation.holdings import case_name

PEOPLE = people(4)
ME, LEFT, RIGHT = PEOPLE[:3]
TERMS = terms()
HEAD = head_of(PEOPLE)
HISTORY = history(6, PEOPLE)
CASES = [
    equivocation_case(commit(liar, HEAD), commit(liar, HEAD, tokens=1))
    for liar in (person(index) for index in range(100, 160))
]

Answer = Callable[[str, bytes], Awaitable[bytes]]


class Wire:
    """A network on which everybody is connected to everybody, in one thread."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str, bytes]] = []
        """Peer, endpoint, question."""

    def names(self, peer: str) -> list[bytes]:
        """Of all records that a neighbour was asked for."""
        wanted = b"".join(
            parse_canonical(question, MAX_QUESTION_BYTES)["wanted"]
            for asked, endpoint, question in self.asked
            if (asked, endpoint) == (peer, EVIDENCE)
        )
        return [wanted[at : at + NAME_BYTES] for at in range(0, len(wanted), NAME_BYTES)]


class End:
    """One node's end of it."""

    def __init__(self, wire: Wire, peer_id: str) -> None:
        self.wire, self.peer_id = wire, peer_id

    async def on_request(self, endpoint: str, most: int, answer: Answer) -> None:
        del most
        self.wire.answers[self.peer_id, endpoint] = answer

    async def request(self, peer: str, endpoint: str, payload: bytes, *, max_reply_bytes: int) -> bytes:
        self.wire.asked.append((peer, endpoint, payload))
        await asyncio.sleep(0)  # others ask meanwhile
        reply = await self.wire.answers[peer, endpoint](self.peer_id, payload)
        assert len(reply) <= max_reply_bytes
        return reply


class Node:
    """What of a node talks to its neighbours."""

    def __init__(self, wire: Wire, store: Store, me: Identity, adopted: Iterable[Adopt] = ()) -> None:
        self.peer_id = me.peer_id
        self.blamed: list[tuple[str, str]] = []
        self.validator = core(me, TERMS)
        in_force = TermsInForce(TERMS)
        self.standing = Standing(store, in_force, SWARM, me, parameters=10**6, sizes_K=[256] * CHUNKS)
        for effect in adopted:
            self.standing.adopted(effect, None)
        driver: Driver[NodeEvent, NodeEffect] = Driver(self.validator, self._perform, Tick())
        end: Any = End(wire, me.peer_id)
        common = (lambda: driver, SWARM, self._blame)
        gaps = Gaps(end, self.validator, self.standing, *common)
        self.talk = Talk(end, self.validator, *common, gaps, None)

    def hold(self, cases: Iterable[Case]) -> None:
        for case in cases:
            self.validator.on(CaseShown(case), 0.0)

    def holds(self, cases: Iterable[Case]) -> bool:
        return set(map(case_name, cases)) == set(self.validator.holdings.tree)

    async def exchange(self, *neighbours: Node) -> None:
        """With all of them at the same time."""
        await asyncio.gather(*(self.talk.exchange(one.peer_id) for one in neighbours))

    def _perform(self, effect: NodeEffect) -> None:
        assert isinstance(effect, Convict)
        self.standing.convicted(effect.case)

    def _blame(self, peer: str, reason: str, detail: str) -> None:
        del detail
        self.blamed.append((peer, reason))


async def three(stores: list[Store], adopted: Iterable[Adopt] = ()) -> tuple[Wire, Node, Node, Node]:
    """One that lacks what its two neighbours have."""
    wire = Wire()
    here = Node(wire, stores[0], ME, map(fetched, adopted))
    left, right = Node(wire, stores[1], LEFT, adopted), Node(wire, stores[2], RIGHT, adopted)
    for node in (here, left, right):
        await node.talk.serve()
    return wire, here, left, right


async def test_neighbours_that_hold_parts_are_asked_for_different_records(stores: list[Store]) -> None:
    wire, here, left, right = await three(stores)
    here.hold(CASES[:5])
    left.hold(CASES[:40])
    right.hold(CASES[20:])
    await here.exchange(left, right)
    assert here.holds(CASES)
    lefts, rights = wire.names(left.peer_id), wire.names(right.peer_id)
    assert {case_name(case)[:NAME_BYTES] for case in CASES[5:]} == {*lefts, *rights}
    assert len(lefts) + len(rights) == len(CASES) - 5, "a record was asked for twice"
    assert min(len(lefts), len(rights)) >= 15, "what only one of them holds"
    assert here.blamed == []
    await here.exchange(left, right)
    await left.exchange(here)
    await right.exchange(here)
    assert left.holds(CASES)
    assert right.holds(CASES)
    assert here.validator.cases.keys() == left.validator.cases.keys() == {case.guilty for case in CASES}


@pytest.mark.parametrize("honest", [0, 1])
async def test_one_that_answers_nonsense_is_blamed_and_another_fills(
    stores: list[Store], honest: int
) -> None:
    """Nonsense may come when the liar is the one that all records are to come from."""
    wire, here, liar, right = await three(stores)
    liar.hold(CASES)
    right.hold(CASES)
    sound, count = wire.answers[liar.peer_id, EVIDENCE], 0

    async def nonsense(peer: str, question: bytes) -> bytes:
        nonlocal count
        count += 1
        return await sound(peer, question) if count <= honest else b"nonsense"

    wire.answers[liar.peer_id, EVIDENCE] = nonsense
    await here.exchange(liar, right)
    assert here.blamed == [(liar.peer_id, "bad-antientropy")]
    assert here.holds(CASES) == (honest == 0), "it was not asked for anything yet"
    await here.exchange(right)
    assert here.holds(CASES)
    assert count == honest + 1, "the exchange with the liar is over"
    await here.exchange(liar)
    assert count == honest + 1, "who has nothing new to show is not asked"


async def test_rounds_are_asked_of_one_neighbour_at_a_time(stores: list[Store]) -> None:
    wire, here, left, right = await three(stores, HISTORY)
    right.hold(CASES)
    assert here.standing.lacking(0) is not None
    await here.exchange(left, right)
    assert here.standing.lacking(0) is None
    asked = {peer for peer, endpoint, _ in wire.asked if endpoint == ROUNDS}
    assert len(asked) == 1
    assert here.holds(CASES), "the other was asked for evidence meanwhile"
