"""Asking the others what they think of this node: members only, signed answers, a cap, and no harm done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import dhtnode.app.opinions as opinions_module
from dhtnode.app.opinions import Opinions
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.identity import Identity
from tests.unit.parties import SWARM, context, ids, people, terms
from tests.unit.rounds import history
from training.member import Member
from validation.entry import Gate
from validation.lottery import Chain
from validation.validator import Validator
from validation.witness import Witness

PEOPLE = people(4)
ME, *OTHERS = PEOPLE
STRANGER = people(5)[4]
HISTORY = history(3, PEOPLE)

Answer = Callable[[str, bytes], Awaitable[bytes]]


class Wire:
    """A network on which everybody is connected to everybody, in one thread."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def of(self, me: str) -> Any:
        return _Connected(self, me)


class _Connected:
    """One node's end of it."""

    def __init__(self, wire: Wire, me: str) -> None:
        self._wire = wire
        self._me = me

    def connected_peers(self) -> dict[str, list[str]]:
        return {peer: [] for peer in self._wire.answers if peer != self._me}

    async def on_request(self, endpoint: str, most: int, answer: Answer) -> None:
        del endpoint, most
        self._wire.answers[self._me] = answer

    async def request(self, peer: str, endpoint: str, payload: bytes, *, max_reply_bytes: int) -> bytes:
        del endpoint
        self._wire.asked.append(peer)
        reply = await self._wire.answers[peer](self._me, payload)
        assert len(reply) <= max_reply_bytes
        return reply


def node(wire: Wire, me: Identity, blamed: list[str]) -> Opinions:
    validator = Validator(
        Member(context(me), 0.0), Witness(terms().reputation, me.peer_id), Gate(0), Chain(me, SWARM)
    )
    for adopted in HISTORY:
        validator.witness.adopted(adopted, set())
    validator.member.certificate = HISTORY[-1].certificate
    return Opinions(wire.of(me.peer_id), validator, me, SWARM, lambda peer, reason, _: blamed.append(reason))


async def asked_once(mine: Opinions) -> None:
    """Let it ask, and stop it while it waits for the next time."""
    task = asyncio.create_task(mine.keep_asking())
    await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def swarm(blamed: list[str]) -> tuple[Wire, Opinions]:
    wire = Wire()
    nodes = [node(wire, someone, blamed) for someone in (*PEOPLE, STRANGER)]
    for one in nodes:
        await one.serve()
    return wire, nodes[0]


async def test_the_members_say_what_their_tables_say() -> None:
    blamed: list[str] = []
    wire, mine = await swarm(blamed)
    assert mine.of_me().median is None
    await asked_once(mine)
    of_me = mine.of_me()
    assert of_me.observers == len(OTHERS)
    assert of_me.median == of_me.lowest
    assert of_me.median is not None
    assert of_me.median > 200_000, "three rounds took its work in"
    assert sorted(wire.asked) == sorted(ids(OTHERS)), "members, each once, and no stranger"
    assert blamed == []


async def test_no_more_are_asked_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opinions_module, "MAX_OBSERVERS", 2)
    wire, mine = await swarm([])
    await asked_once(mine)
    assert len(wire.asked) == mine.of_me().observers == 2


async def test_who_does_not_answer_is_left_out_and_not_blamed() -> None:
    blamed: list[str] = []
    wire, mine = await swarm(blamed)

    async def silence(peer: str, request: bytes) -> bytes:
        raise TransportError("no answer in time")

    wire.answers[OTHERS[0].peer_id] = silence
    await asked_once(mine)
    assert mine.of_me().observers == len(OTHERS) - 1
    assert blamed == []


async def test_an_answer_in_somebody_elses_name_is_blamed_and_left_out() -> None:
    blamed: list[str] = []
    wire, mine = await swarm(blamed)
    wire.answers[OTHERS[0].peer_id] = wire.answers[OTHERS[1].peer_id]
    await asked_once(mine)
    assert mine.of_me().observers == len(OTHERS) - 1
    assert blamed == ["bad-appraisal"]


async def test_a_question_about_nobody_is_refused() -> None:
    wire, _ = await swarm([])
    with pytest.raises(RemoteProtocolError) as caught:
        await wire.answers[OTHERS[0].peer_id](ME.peer_id, b"\xff\xfe")
    assert (caught.value.peer, caught.value.reason) == (ME.peer_id, "bad-question")
