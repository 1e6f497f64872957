"""What a peer sends that keeps no rule: records for the topic, and answers to neighbours' questions.

A stranger sends them among real nodes (`tests/swarm/stranger.py`) and in the simulator.
"""

from __future__ import annotations

import itertools
import random

import msgspec

from dhtnode.identity import Identity
from dhtnode.manifest import Terms
from dhtnode.presence import Presence
from dhtnode.records import Body, canonical, sign
from training.chain import Certificate
from training.messages import Commitment, Head, Ready, Result, Vote
from training.segments import ONE_SEGMENT
from training.sync import SyncReply

OTHER_SWARM = bytes(31) + b"\1"
QUESTION = b"rubbish"
REFUSED = {
    "bad-antientropy",
    "bad-certificate",
    "bad-commitment",
    "bad-signature",
    "bad-sync",
    "equivocation",
    "flood",
    "malformed",
    "oversized",
    "schema",
    "unknown-kind",
}
"""What all of it is refused for, wherever it comes in."""


class Rubbish:
    """One peer's.

    Args:
        identity: its key.
        swarm_id: signature domain.
        terms: the swarm's.
        seed: for bytes without any form.
    """

    def __init__(self, identity: Identity, swarm_id: bytes, terms: Terms, seed: int = 0) -> None:
        self.identity, self.swarm_id, self.terms = identity, swarm_id, terms
        self.heard: list[bytes] = []
        """Records of others, to say them again."""
        self.newest: Certificate | None = None
        self._replies = itertools.cycle(
            [self.garbage, self._truncated_reply, self._uncertified, self._bad_records]
        )
        self._rng = random.Random(seed)  # noqa: S311  no secret

    def records(self, head: Head) -> list[bytes]:
        """Garbage, damaged, replayed, of another swarm, and lies with a good signature."""
        known = self.heard[-1] if self.heard else self._signed(self._commitment(head))
        vote = {"base": head.id, "round": -1, "step": "close", "value": bytes(32), "view": 0}
        result = Result(
            round=head.number, base=head.id, roster=bytes(32), part=0, included=(0, 1), root=bytes(32)
        )
        return [
            self._rng.randbytes(300),
            bytes(70_000),
            known + bytes(60_000),
            known[:-7],
            known[:-1] + bytes([known[-1] ^ 1]),
            canonical(["vote", self.identity.peer_id, vote, bytes(64)]),
            self._signed(Presence(addresses=(), round=0, head=bytes(32), made_at_s=0)),
            self._signed(self._commitment(head), OTHER_SWARM),
            self._signed(self._commitment(head, steps=2**31)),
            self._signed(self._commitment(head, weight=2**31)),
            self._signed(self._commitment(head, start=bytes(32))),
            self._signed(self._commitment(head)),  # with the one before: two commitments in one round
            self._signed(Ready(round=head.number, base=head.id)),  # and nothing follows
            self._signed(Vote(round=head.number, base=head.id, step="roster", view=0, value=bytes(32))),
            self._signed(result),
            *self.heard[:3],
        ]

    def reply(self) -> bytes:
        """To who asks what it lacks: each time something else."""
        return next(self._replies)()

    def garbage(self) -> bytes:
        return self._rng.randbytes(500)

    def _signed(self, body: Body, swarm_id: bytes | None = None) -> bytes:
        return sign(self.identity, swarm_id or self.swarm_id, body).wire

    def _commitment(self, head: Head, **changes: object) -> Commitment:
        steps = self.terms.inner.steps_at(head.number)
        tokens = steps * self.terms.inner.batch_size * 16
        honest = Commitment(
            round=head.number,
            base=head.id,
            start=head.state,
            steps=steps,
            tokens=tokens,
            weight=tokens,
            parts=self._rng.randbytes(32),
            segments=ONE_SEGMENT,
            loss_micro=1,
            bandwidth=1,
            device="cpu/fp32",
            link=self._rng.randbytes(32),
            private=self.terms.data.mode == "private",
        )
        return msgspec.structs.replace(honest, **changes)

    def _truncated_reply(self) -> bytes:
        return self._framed(None, ())[:-3]

    def _uncertified(self) -> bytes:
        """The swarm's own head, as if it had one vote."""
        newest = self.newest
        wire = Certificate(newest.head, newest.votes[:1]).wire if newest else b"nothing"
        return self._framed(wire, ())

    def _bad_records(self) -> bytes:
        return self._framed(None, (b"no record", *(wire[:-1] for wire in self.heard[-2:])))

    def _framed(self, certificate: bytes | None, records: tuple[bytes, ...]) -> bytes:
        reply = SyncReply(certificate=certificate, records=records, since=0, root=bytes(32))
        return canonical(msgspec.to_builtins(reply, builtin_types=(bytes,)))
