"""Offences in the real node: it works with honest numbers, and others go out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dhtnode.digest import DIGEST_BYTES
from dhtnode.net.streams import Stream
from dhtnode.records import Signed
from tests.adversary.offences import Offence, offence
from training.contribution import Contribution, result_root
from training.events import Plan, Work
from training.exchange import _ABSENT, Exchange
from training.gathering import Gathering
from training.inner import LocalWork
from training.messages import Commitment
from training.state import State
from training.worker import Worker


def offend(name: str) -> None:
    """From now on the node commits the offence of that name, or as a mole all of them in turn."""
    train, reduce, commit = Worker.train, Worker.reduce, Gathering.commit
    send_part, result, give = Exchange._send_part, Exchange.result, Exchange._give_result
    now = Offence()
    made: list[Contribution] = []
    """Its newest work, to whose digests it commits."""
    hidden: dict[bytes, list[bytes]] = {}
    """What it goes on with, by the root that it announced."""

    async def note_work(
        self: Worker, state: State, base: bytes, *rest: Any
    ) -> tuple[LocalWork, Contribution] | None:
        nonlocal now
        now = offence(name, state.round_no)
        done = await train(self, state, base, *rest)
        made[:] = [] if done is None else [done[1]]
        return done

    def commit_to_something_else(self: Gathering, work: Work, now_s: float) -> Signed[Commitment]:
        shipped = now.ships(made[0], self._head.id)
        return commit(self, now.claims(replace(work, parts=shipped.root)), now_s)

    async def send_something_else(self: Exchange, plan: Plan, part: int, to: str, own: Contribution) -> None:
        await send_part(self, plan, part, to, now.ships(own, plan.base))

    async def announce_something_else(
        self: Worker, senders: Sequence[tuple[int, Sequence[bytes]]], owned: Sequence[int]
    ) -> list[bytes]:
        honest = await reduce(self, senders, owned)
        announced = now.announces(honest)
        hidden[result_root(announced)] = honest
        return announced

    async def give_nothing(self: Exchange, stream: Stream) -> None:
        if now.serves:
            await give(self, stream)
            return
        await stream.read_exactly(DIGEST_BYTES)
        stream.write(_ABSENT)
        await stream.drain()
        await stream.ended()

    Worker.train = note_work  # type: ignore[method-assign, assignment]
    Worker.reduce = announce_something_else  # type: ignore[method-assign]
    Gathering.commit = commit_to_something_else  # type: ignore[method-assign]
    Exchange._send_part = send_something_else  # type: ignore[method-assign]
    Exchange._give_result = give_nothing  # type: ignore[method-assign]
    Exchange.result = lambda self, root: hidden.get(root) or result(self, root)  # type: ignore[method-assign]
