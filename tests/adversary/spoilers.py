"""Members that work honestly and spoil the ledger: they forge and repeat others' records, or flood.

They plug into the real node (`cheat.py`). Both serve what they have made to whoever asks for evidence, as any
neighbour would; the flood begins when there is a file `flood` in the node's home.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable

from dhtnode.app.effects import TOPIC
from dhtnode.app.gaps import Gaps
from dhtnode.app.session import Session
from dhtnode.app.standing import Standing
from dhtnode.errors import TransportError
from dhtnode.records import canonical, parse_canonical, sign
from training.messages import Commitment
from validation.messages import Verdict

PAUSE_S = 1.0
MOST_MADE = 20_000
"""Records that a flooder keeps for whoever compares sets with it."""
made: dict[bytes, bytes] = {}
shown: Counter[str] = Counter()
"""How often each peer has asked for rounds."""


def beside(work: Callable[[Session], object]) -> None:
    """Let something run beside an honest node's work."""
    honest = Session._keep_reporting

    async def both(self: Session) -> None:
        await asyncio.gather(honest(self), work(self))  # type: ignore[call-overload]

    Session._keep_reporting = both  # type: ignore[method-assign]


def serve_what_was_made() -> None:
    honest = Standing.record
    Standing.record = lambda self, id_: made.get(id_) or honest(self, id_)  # type: ignore[method-assign]


async def forge(session: Session) -> None:
    """Others' commitments and verdicts with other numbers in them, and old ones once more."""
    validator, network = session._validator, session._network
    while True:
        await asyncio.sleep(PAUSE_S)
        old = [record.wire for record in session._store.records(Commitment.KIND, 0)]
        forged = [richer(wire) for wire in old]
        for verdict in session._store.all_records(Verdict.KIND)[-8:]:
            if verdict.signer != network.peer_id:
                name = os.urandom(32)
                made[name] = richer(verdict.wire)
                validator.holdings.add(name, verdict.round_no)
        for wire in (*old, *forged):
            try:
                await network.publish(TOPIC, wire)
            except TransportError:
                break


def richer(wire: bytes) -> bytes:
    """A record as it would suit its thief; its signature is of the honest one."""
    kind, signer, body, signature = parse_canonical(wire, 1024)
    more = {"tokens": 10**9, "weight": 1} if kind == Commitment.KIND else {"outcome": "fail"}
    return canonical([kind, signer, {**body, **more}, signature])


async def show_forged_rounds(self: Gaps, peer: str, question: bytes) -> bytes:
    """Whoever was away is shown rounds with more work in them, or next time with the same work twice."""
    wires = parse_canonical(self._standing.answer_rounds(question, peer), 2**18)
    steps = [parse_canonical(wire, 2**18) for wire in wires]
    shown[peer] += 1
    if shown[peer] % 2:
        forged = [[head, [richer(one) for one in work], done] for head, work, done in steps]
    else:
        forged = [[head, [*work, *work], done] for head, work, done in steps]
    return canonical([canonical(step) for step in forged])


async def flood(session: Session) -> None:
    """Verdicts without end, each well signed and about nothing, gossiped and shown to whoever asks."""
    validator, network, home = session._validator, session._network, session._options.home.root
    while True:
        await asyncio.sleep(0.0 if (home / "flood").exists() else PAUSE_S)
        head = validator.member.certificate
        if head is None or not (home / "flood").exists():
            continue
        body = Verdict(
            round=max(0, head.head.number - 1),
            base=os.urandom(32),
            about="work",
            target=os.urandom(32),
            worker=head.head.founder,
            outcome="pass",
            distance=None,
            role="audit",
            preimage=os.urandom(32),
            replayed=os.urandom(32),
            device="cpu/flood",
        )
        record = sign(session._identity, session._swarm_id, body)
        if len(made) < MOST_MADE:
            made[record.id] = record.wire
            validator.holdings.add(record.id, body.round)
        try:
            await network.publish(TOPIC, record.wire)
        except TransportError:
            await asyncio.sleep(PAUSE_S)


def forger() -> None:
    serve_what_was_made()
    Gaps._answer_rounds = show_forged_rounds  # type: ignore[method-assign]
    beside(forge)


def flooder() -> None:
    serve_what_was_made()
    beside(flood)


SPOILERS: dict[str, Callable[[], None]] = {"forger": forger, "flooder": flooder}
