"""Closed rounds and the verdicts on them, as the node's store has them: what is derived can be derived again.

The ledger's entries follow from these records. They are kept for as long as neighbours may ask for them
(`validation.holdings`), so that a node which was away can book what it has missed, and check it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import msgpack

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed, open_record
from dhtnode.store import Store, StoredRecord
from rewards.evidence import ClosedRound, close_round
from rewards.heads import HEAD
from rewards.rounds import pack_step
from training.chain import open_certificate
from training.messages import Commitment, Head, Result, decode_value
from validation.docket import ROUNDS_KEPT, ContradictionError, Docket, by_subject
from validation.messages import Verdict

ROUNDS_AT_HAND = 2 * ROUNDS_KEPT
"""Rounds that need not be read and checked again. A guess."""


class Archive:
    """One node's.

    Args:
        store: the node's, used from the event loop's thread only.
        swarm_id: signature domain.
        me: own peer id.
        chunk_count: of a whole update.
    """

    def __init__(self, store: Store, swarm_id: bytes, me: str, chunk_count: int) -> None:
        self._store = store
        self._swarm_id = swarm_id
        self._me = me
        self._chunk_count = chunk_count
        self._at_hand: dict[bytes, ClosedRound] = {}

    # Rounds

    def keep(self, closed: ClosedRound) -> None:
        """Write what a round is made of; its certificate is for `Heads`."""
        self._remember(closed)
        records: tuple[Signed[Any], ...] = (*closed.commitments_N, *closed.results)
        for record in records:
            self._store.add_record(
                StoredRecord(record.id, record.body.KIND, closed.number, record.signer, record.wire)
            )

    def round(self, head: bytes) -> ClosedRound | None:
        """The round that ended with a head; None if not all of it is here."""
        if head in self._at_hand:
            return self._at_hand[head]
        shown = self._wires(head)
        if shown is None:
            return None
        certificate = open_certificate(shown[0], self._swarm_id, self._me)
        work = [self._open(wire, Commitment) for wire in shown[2]]
        closed = close_round(certificate, work, [self._open(wire, Result) for wire in shown[3]])
        self._remember(closed)
        return closed

    def commitment(self, head: bytes, signer: str) -> Signed[Commitment] | None:
        """A member's, to the round that ended with a head; None if it was not in it, or that is not here."""
        if head in self._at_hand:
            return self._at_hand[head].by_signer.get(signer)
        stored = self._store.record(head)
        found = _head_of(stored.wire) if stored else None
        if found is None or signer not in found.members:
            return None
        for one in self._store.records(Commitment.KIND, found.number - 1, signer):
            if _base_of(one.wire) == found.parent:
                return self._open(one.wire, Commitment)
        return None

    def accepted(self, head: bytes) -> Iterator[tuple[str, bytes]]:
        """Signers and ids of the work that a round took in, as far as it is here."""
        stored = self._store.record(head)
        for id_ in _head_of(stored.wire).accepted if stored else ():
            work = self._store.record(id_)
            if work is not None:
                yield work.signer, id_

    def members(self, head: bytes) -> tuple[str, ...]:
        """Who was in the round that ended with a head; nobody if that is not here."""
        stored = self._store.record(head)
        return _head_of(stored.wire).members if stored else ()

    def electors(self, head: bytes) -> tuple[str, ...]:
        """Who has certified it."""
        stored = self._store.record(head)
        return _head_of(stored.wire).electors if stored else ()

    def votes(self, head: bytes) -> dict[str, int]:
        """What each of them counts for in it, in halves."""
        stored = self._store.record(head)
        if stored is None:
            return {}
        found = _head_of(stored.wire)
        return dict(zip(found.members, found.votes, strict=True))

    def step(self, head: bytes) -> tuple[bytes, bytes] | None:
        """As `rounds.answer_question` asks for it; own records were checked when they came."""
        shown = self._wires(head)
        return (pack_step(shown[0], shown[2], shown[3]), shown[1]) if shown else None

    def _wires(self, id_: bytes) -> tuple[bytes, bytes, list[bytes], list[bytes]] | None:
        """Of a head: its certificate, the head before it, commitments in their order, results."""
        stored = self._store.record(id_)
        if stored is None or stored.kind != HEAD:
            return None
        head = _head_of(stored.wire)
        if head.number == head.since:
            return stored.wire, head.parent, [], []
        work = {
            one.signer: one.wire
            for one in self._store.records(Commitment.KIND, head.number - 1)
            if _base_of(one.wire) == head.parent
        }
        results = [self._store.record(result) for result in head.results]
        if not work.keys() >= set(head.members) or None in results:
            return None
        wires = [one.wire for one in results if one is not None]
        return stored.wire, head.parent, [work[peer] for peer in head.members], wires

    def _remember(self, closed: ClosedRound) -> None:
        self._at_hand[closed.certificate.id] = closed
        while len(self._at_hand) > ROUNDS_AT_HAND:
            del self._at_hand[next(iter(self._at_hand))]

    # Verdicts

    def keep_verdict(self, verdict: Signed[Verdict]) -> None:
        body = verdict.body
        self._store.add_record(StoredRecord(verdict.id, body.KIND, body.round, verdict.signer, verdict.wire))

    def drop_verdict(self, verdict: Signed[Verdict]) -> None:
        self._store.drop_records([verdict.id])

    def verdict(self, id_: bytes) -> Signed[Verdict] | None:
        stored = self._store.record(id_)
        return self._open(stored.wire, Verdict) if stored and stored.kind == Verdict.KIND else None

    def verdicts(self, round_no: int, head: bytes) -> list[Signed[Verdict]]:
        """Those on a round that ended with this head; what they judge comes before who judges that."""
        return sorted((self._open(wire, Verdict) for _, wire in self._on(round_no, head)), key=by_subject)

    def names(self, round_no: int, head: bytes) -> Iterator[bytes]:
        """The ids of the same."""
        return (id_ for id_, _ in self._on(round_no, head))

    def docket(self, closed: ClosedRound) -> Docket:
        """A round as it stood when it was judged: what is said late is held against the same rules."""
        docket = Docket()
        docket.open(closed.adopted(self._chunk_count), self._chunk_count)
        for verdict in self.verdicts(closed.number, closed.certificate.id):
            with suppress(RemoteProtocolError, ContradictionError):  # an own word that nobody took in
                docket.add(verdict)
        docket.changes()
        return docket

    def _on(self, round_no: int, head: bytes) -> Iterator[tuple[bytes, bytes]]:
        for stored in self._store.records(Verdict.KIND, round_no):
            if _base_of(stored.wire) == head:
                yield stored.id, stored.wire

    def _open(self, wire: bytes, kind: type[Body]) -> Signed[Any]:
        return open_record(wire, self._swarm_id, {kind.KIND: kind}, self._me)


def _base_of(wire: bytes) -> bytes:
    """Of an own record, unopened."""
    return cast("bytes", msgpack.unpackb(wire)[2]["base"])


def _head_of(certificate: bytes) -> Head:
    return decode_value(msgpack.unpackb(certificate)[0], Head)
