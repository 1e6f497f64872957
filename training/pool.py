"""All that has been said about one head, and how two nodes find out what the other lacks.

Gossip delivers at most once. Each node therefore asks a neighbour now and then: "I stand on this
head and hold these records", named by short prefixes, and gets what it lacks. Whatever was said
once and is still held by somebody reaches everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed
from training.messages import MAX_MEMBERS, Commitment

PREFIX_BYTES = 8
MAX_RECORDS_PER_SIGNER = 3 * MAX_MEMBERS
"""An honest member signs a handful of votes and at most one result for each part."""
MAX_SIGNERS = 4 * MAX_MEMBERS
"""Newcomers beyond the largest round group have to wait for a later round."""

T = TypeVar("T", bound=Body)


class RecordPool:
    """Verified records of one base, each once, bounded for each signer."""

    def __init__(self, base: bytes) -> None:
        self.base = base
        self._records: dict[bytes, Signed[Body]] = {}
        self._by_signer: dict[str, int] = {}
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
        count = self._by_signer.get(record.signer, 0)
        if count >= MAX_RECORDS_PER_SIGNER:
            raise RemoteProtocolError(record.signer, "flood", f"{count} records in one round")
        if count == 0 and len(self._by_signer) >= MAX_SIGNERS:
            raise RemoteProtocolError(record.signer, "flood", "too many signers in one round")
        second = isinstance(record.body, Commitment) and record.signer in self._commitments
        if second and record.signer in self.equivocators:
            raise RemoteProtocolError(record.signer, "equivocation", "even more commitments in one round")
        self._records[record.id] = record
        self._by_signer[record.signer] = count + 1
        if second:
            self.equivocators.add(record.signer)
            raise RemoteProtocolError(record.signer, "equivocation", "two commitments in one round")
        if isinstance(record.body, Commitment):
            self._commitments[record.signer] = cast("Signed[Commitment]", record)
        return True

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
