"""All that has been said about one head, and how two nodes find out what the other lacks.

Gossip delivers at most once. Each node therefore asks a neighbour now and then: "I stand on this
head and hold these records", named by short prefixes, and gets what it lacks. Whatever was said
once and is still held by somebody reaches everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar, cast

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed
from training.messages import MAX_MEMBERS, Commitment

PREFIX_BYTES = 8
MAX_RECORDS_PER_SIGNER = 96
"""An honest member signs at most one result for each part and a handful of votes."""
MAX_BYTES_PER_SIGNER = 256 * 1024
"""A few proposals of the largest group, and everything else."""
MAX_SIGNERS = 4 * MAX_MEMBERS
"""Newcomers beyond it have to wait for a later round; members always find room."""
MAX_RECORDS = MAX_RECORDS_PER_SIGNER * MAX_SIGNERS
"""Their short names fit into one question to a neighbour."""

T = TypeVar("T", bound=Body)


class RecordPool:
    """Verified records of one base, each once, bounded for each signer.

    Args:
        base: the head they build on.
        members: signers for whom room is kept, whoever else has a lot to say.
    """

    def __init__(self, base: bytes, members: Collection[str] = ()) -> None:
        self.base = base
        self._members = frozenset(members)
        self._records: dict[bytes, Signed[Body]] = {}
        self._by_signer: dict[str, list[int]] = {}
        """Number and bytes of each signer's records."""
        self._strangers = 0
        self._commitments: dict[str, Signed[Commitment]] = {}
        self.equivocators: set[str] = set()
        """Signers of two commitments. Both are kept: together they are the proof."""

    def add(self, record: Signed[Body]) -> bool:
        """Keep a record.

        Returns:
            Whether it is new.

        Raises:
            RemoteProtocolError: the signer floods, or signed two commitments; of those the second
                is kept all the same, since a roster may name either.
        """
        if record.id in self._records:
            return False
        self._check_room(record)
        second = isinstance(record.body, Commitment) and record.signer in self._commitments
        if second and record.signer in self.equivocators:
            raise RemoteProtocolError(record.signer, "equivocation", "even more commitments in one round")
        self._keep(record)
        if second:
            self.equivocators.add(record.signer)
            raise RemoteProtocolError(record.signer, "equivocation", "two commitments in one round")
        if isinstance(record.body, Commitment):
            self._commitments[record.signer] = cast("Signed[Commitment]", record)
        return True

    def _check_room(self, record: Signed[Body]) -> None:
        signer = record.signer
        if signer not in self._by_signer:
            if signer not in self._members and self._strangers >= MAX_SIGNERS - len(self._members):
                raise RemoteProtocolError(signer, "flood", "too many signers in one round")
            return
        count, size = self._by_signer[signer]
        if count >= MAX_RECORDS_PER_SIGNER or size + len(record.wire) > MAX_BYTES_PER_SIGNER:
            raise RemoteProtocolError(signer, "flood", f"{count} records, {size} bytes in one round")

    def _keep(self, record: Signed[Body]) -> None:
        if record.signer not in self._by_signer:
            self._by_signer[record.signer] = [0, 0]
            self._strangers += record.signer not in self._members
        self._by_signer[record.signer][0] += 1
        self._by_signer[record.signer][1] += len(record.wire)
        self._records[record.id] = record

    def __contains__(self, record: Signed[Body]) -> bool:
        return record.id in self._records

    def knows(self, signer: str) -> bool:
        """Whether anything by this signer is here."""
        return signer in self._by_signer

    def get(self, record_id: bytes, kind: type[T]) -> Signed[T] | None:
        record = self._records.get(record_id)
        return cast("Signed[T]", record) if record is not None and isinstance(record.body, kind) else None

    def of(self, kind: type[T]) -> list[Signed[T]]:
        return [
            cast("Signed[T]", record) for record in self._records.values() if isinstance(record.body, kind)
        ]

    def all(self) -> Iterable[Signed[Body]]:
        return self._records.values()

    @property
    def commitments(self) -> dict[str, Signed[Commitment]]:
        """The commitment of each signer that signed only one."""
        return {peer: record for peer, record in self._commitments.items() if peer not in self.equivocators}

    def have(self) -> list[bytes]:
        """Short names of what is here."""
        return [record_id[:PREFIX_BYTES] for record_id in self._records]

    def missing_from(self, have: Iterable[bytes]) -> list[Signed[Body]]:
        """Records that somebody with `have` lacks."""
        theirs = set(have)
        return [
            record for record_id, record in self._records.items() if record_id[:PREFIX_BYTES] not in theirs
        ]
