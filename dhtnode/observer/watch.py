"""All that the observer knows of a swarm, and how it came to believe it. Pure: bytes in, sightings out.

Nothing is taken on anybody's word. Records and presence are checked against their signer's key,
certificates against their votes. Where heads come from: the first from a member, which shows its
certificate; later ones are assembled here from votes, or shown again where gossip had a gap.

What strangers send is bounded: few bases at a time, few signers in a base (see `RecordPool`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest
from dhtnode.observer.following import FollowedRound
from dhtnode.observer.sightings import (
    Channel,
    Headed,
    Present,
    Recorded,
    Rejected,
    Sighting,
    Summary,
)
from dhtnode.presence import Presence
from dhtnode.records import Body, Signed, open_record
from training.chain import Certificate, heavier, open_certificate
from training.member import base_of
from training.messages import Commitment, Promise, Proposal, Result, Vote
from training.pool import RecordPool
from training.sync import open_sync_reply, sync_request
from validation.entry import Entry
from validation.messages import SPOKEN, Verdict
from validation.voucher import Voucher

MAX_BASES = 8
"""Heads whose records are kept: the current one, the one before, and what is ahead of us. A guess."""
MAX_COUNTED = 1024
"""Signers with a count of their own, and members whose presence is kept: keys cost nothing."""
MAX_VERDICTS = 4096
"""Those whose repetition is noticed."""
OTHERS = "others"


class Watch:
    """What has been seen, verified and counted.

    Args:
        manifest: the swarm; its id is the domain of all signatures.
        identity: own key, of no member.
    """

    def __init__(self, manifest: Manifest, identity: Identity) -> None:
        self.head: Certificate | None = None
        self.present: dict[str, Present] = {}
        self.rounds = 0
        self._swarm_id = manifest.swarm_id
        self._total = manifest.terms.round.rounds
        self._identity = identity
        self._round: FollowedRound | None = None
        self._pools: dict[bytes, RecordPool] = {}
        self._verdicts: dict[bytes, None] = {}
        self._headed: Headed | None = None
        self._assembled = 0
        self._records: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._rejected: Counter[str] = Counter()
        self._sightings: list[Sighting] = []

    @property
    def finished(self) -> bool:
        """Whether the swarm has played all its rounds."""
        return self.head is not None and self.head.head.number >= self._total

    def on_gossip(self, author: str, data: bytes) -> list[Sighting]:
        """Take in a message of the swarm's topic."""
        self._take(data, author, "gossip")
        return self._told()

    def on_sync(self, peer: str, reply: bytes) -> list[Sighting]:
        """Take in a member's answer to `sync_request`."""
        try:
            answer = open_sync_reply(reply, peer)
            for wire in answer.records:
                self._take(wire, peer, "sync")
            if answer.certificate is not None:
                certificate = open_certificate(answer.certificate, self._swarm_id, peer)
                if self.head is None or heavier(certificate.head, self.head.head):
                    self._move(certificate, "sync")
        except RemoteProtocolError as error:
            self._blame(error)
        return self._told()

    def on_presence(self, entries: Mapping[str, bytes]) -> list[Sighting]:
        """Take in DHT entries: subkey -> record."""
        for peer, wire in entries.items():
            try:
                record = open_record(wire, self._swarm_id, {Presence.KIND: Presence}, peer)
            except RemoteProtocolError as error:
                self._blame(error)
                continue
            if record.signer == peer:
                self._meet(peer, record.body)
            else:
                self._blame(RemoteProtocolError(peer, "bad-presence", f"signed by {record.signer}"))
        return self._told()

    def on_fault(self, error: RemoteProtocolError) -> list[Sighting]:
        """Count what the client found wrong before there was anything to verify."""
        self._blame(error)
        return self._told()

    def sync_request(self) -> bytes:
        """What to ask a member: its certificate if it is heavier than ours, and records we lack."""
        return sync_request(self.head.head if self.head else None, self._round.pool if self._round else None)

    def summary(self, seconds: float) -> Summary:
        """Everything so far."""
        return Summary(
            seconds=round(seconds, 3),
            rounds=self.rounds,
            assembled=self._assembled,
            head=self._headed,
            members=tuple(sorted(self.present)),
            records={signer: dict(kinds) for signer, kinds in self._records.items()},
            rejected=dict(self._rejected),
        )

    def _take(self, wire: bytes, sender: str, via: Channel) -> None:
        try:
            record = open_record(wire, self._swarm_id, SPOKEN, sender)
            if not self._is_new(record):
                return
        except RemoteProtocolError as error:
            self._blame(error)
            return
        known = record.signer in self._records or len(self._records) < MAX_COUNTED
        self._records[record.signer if known else OTHERS][record.body.KIND] += 1
        if isinstance(record.body, Entry):
            return  # is about no round
        self._sightings.append(_recorded(record, via))
        if self._round is not None and base_of(record) == self._round.pool.base:
            self._round.on_record(record)
        self._follow()

    def _is_new(self, record: Signed[Body]) -> bool:
        """Keep a record, of a round or beside the rounds.

        Raises:
            RemoteProtocolError: its signer says too much, or two things at once.
        """
        if not isinstance(record.body, Verdict | Entry | Voucher):
            return self._pool(base_of(record)).add(record)
        new = record.id not in self._verdicts
        self._verdicts[record.id] = None
        if len(self._verdicts) > MAX_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]
        return new

    def _pool(self, base: bytes) -> RecordPool:
        """The records of a base; the oldest other one makes room for a new one."""
        if base not in self._pools:
            if len(self._pools) >= MAX_BASES:
                current = self._round.pool.base if self._round else b""
                del self._pools[next(key for key in self._pools if key != current)]
            self._pools[base] = RecordPool(base)
        return self._pools[base]

    def _with_room(self, certificate: Certificate) -> RecordPool:
        """A pool that has room for the members, with what came before we knew who they are."""
        pool = RecordPool(certificate.id, certificate.head.members)
        for record in self._pool(certificate.id).all():
            with suppress(RemoteProtocolError):  # was blamed when it came
                pool.add(record)
        return pool

    def _follow(self) -> None:
        """Move on for as long as votes that are already here lead further."""
        while self._round is not None and self._round.outcome is not None:
            self._assembled += 1
            self._move(self._round.outcome, "votes")

    def _move(self, certificate: Certificate, source: Literal["votes", "sync"]) -> None:
        if self.head is not None:
            self.rounds += max(0, certificate.head.number - self.head.head.number)
        self.head = certificate
        self._headed = _headed(certificate, source)
        self._sightings.append(self._headed)
        self._round = None
        if not self.finished:
            pool = self._pools[certificate.id] = self._with_room(certificate)
            self._round = FollowedRound(certificate.head, pool, self._identity, self._swarm_id, self._blame)
        if source == "sync":
            self._follow()

    def _meet(self, peer: str, body: Presence) -> None:
        known = self.present.get(peer)
        room = known is not None or len(self.present) < MAX_COUNTED
        if not room or (known is not None and body.made_at_s <= known.made_at_s):
            return
        seen = Present(
            peer=peer,
            addresses=body.addresses,
            round=body.round,
            head=body.head.hex(),
            made_at_s=body.made_at_s,
        )
        self.present[peer] = seen
        if known is None or known.addresses != seen.addresses:
            self._sightings.append(seen)

    def _blame(self, error: RemoteProtocolError) -> None:
        self._rejected[error.reason] += 1
        self._sightings.append(Rejected(peer=error.peer, reason=error.reason, detail=error.detail))

    def _told(self) -> list[Sighting]:
        told, self._sightings = self._sightings, []
        return told


def _recorded(record: Signed[Body], via: Channel) -> Recorded:
    return Recorded(
        via=via,
        kind=record.body.KIND,
        signer=record.signer,
        round=record.body.round,  # type: ignore[attr-defined]  # every kind but entries has one
        base=base_of(record).hex(),
        id=record.id.hex(),
        detail=_detail(record.body),
    )


def _detail(body: Body) -> str:
    match body:
        case Verdict():
            return f"{body.outcome} for {body.worker[-8:]} by {body.role}"
        case Commitment():
            return f"{body.steps} steps, {body.tokens:,} tokens, loss {body.loss_micro / 1e6:.4f}"
        case Vote():
            return f"{body.step}, view {body.view}, for {body.value.hex()[:12]}"
        case Promise():
            return f"{body.step}, to view {body.view}"
        case Proposal():
            return f"{body.step}, view {body.view}, {len(body.value)} bytes"
        case Result():
            return f"part {body.part} of {len(body.included)} members, root {body.root.hex()[:12]}"
    return ""


def _headed(certificate: Certificate, source: Literal["votes", "sync"]) -> Headed:
    head = certificate.head
    return Headed(
        number=head.number,
        id=head.id.hex(),
        state=head.state.hex(),
        members=head.members,
        voters=tuple(sorted(vote.signer for vote in certificate.votes)),
        marks=head.marks,
        tokens=head.tokens,
        source=source,
    )
