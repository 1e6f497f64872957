"""A member that cheats: mole.py run SWARM.TOML ... The real node, but for what it sends.

Each round has its own offence, and the round after those is an honest one. The mole itself goes on
with honest numbers: it wants to stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dhtnode.app.effects import Performer
from dhtnode.cli import main
from dhtnode.records import Signed
from training.contribution import Contribution, result_root
from training.events import Plan, Train, Work
from training.exchange import Exchange
from training.gathering import Gathering
from training.messages import Commitment
from training.worker import Worker
from validation.events import NodeEffect

NAN, INFINITE = np.float32(np.nan).tobytes(), np.float32(np.inf).tobytes()
ZERO = bytes(4)
Sender = tuple[int, Sequence[bytes]]
OFFENCES = ("nan", "infinite", "another", "short", "greedy", "result", "none")
HONEST_ROUNDS = 4
"""Until the others have learned how long a round takes."""
offence = "none"

perform, contribution_of = Performer.perform, Contribution.of
send_part, reduce, result = Exchange._send_part, Worker.reduce, Exchange.result
commit = Gathering.commit
hidden: dict[bytes, list[bytes]] = {}
"""What the mole goes on with, by the root that it announced."""


def spoil(chunks: Any, first: bytes) -> list[bytes]:
    """Chunks whose first scale is something else."""
    return [first + chunk[len(first) :] for chunk in chunks]


def note_round(self: Performer, effect: NodeEffect) -> None:
    global offence
    if isinstance(effect, Train):
        number = effect.head.number
        offence = OFFENCES[number % len(OFFENCES)] if number >= HONEST_ROUNDS else "none"
    perform(self, effect)


def commit_to_nonsense(signer: str, base: bytes, *rest: Any) -> Contribution:
    """Digests that fit, of scales that are no numbers."""
    honest = contribution_of(signer, base, *rest)
    bad = {"nan": NAN, "infinite": INFINITE}.get(offence)
    return honest if bad is None else Contribution.of_chunks(signer, base, spoil(honest.chunks_K, bad))


async def send_something_else(self: Exchange, plan: Plan, part: int, to: str, own: Contribution) -> None:
    if offence == "another":
        own = replace(own, chunks_K=tuple(chunk[:-1] + bytes([chunk[-1] ^ 1]) for chunk in own.chunks_K))
    if offence == "short":
        own = replace(own, chunks_K=tuple(chunk[:-1] for chunk in own.chunks_K))
    await send_part(self, plan, part, to, own)


def claim_too_much(self: Gathering, work: Work, now_s: float) -> Signed[Commitment]:
    return commit(self, replace(work, weight=1000 * work.weight) if offence == "greedy" else work, now_s)


async def announce_nonsense(self: Worker, senders: Sequence[Sender], owned: Sequence[int]) -> list[bytes]:
    numbers = [
        (weight, spoil(chunks, ZERO) if chunks[0][:4] in (NAN, INFINITE) else chunks)
        for weight, chunks in senders
    ]
    honest = await reduce(self, numbers, owned)
    if offence != "result":
        return honest
    served = spoil(honest, NAN)
    hidden[result_root(served)] = honest
    return served


def use_numbers(self: Exchange, root: bytes) -> list[bytes]:
    return hidden.get(root) or result(self, root)


Performer.perform = note_round  # type: ignore[method-assign]
Contribution.of = commit_to_nonsense  # type: ignore[method-assign, assignment]
Exchange._send_part = send_something_else  # type: ignore[method-assign]
Exchange.result = use_numbers  # type: ignore[method-assign]
Worker.reduce = announce_nonsense  # type: ignore[method-assign]
Gathering.commit = claim_too_much  # type: ignore[method-assign]
main()
