"""Records of rounds that have not begun here: kept for a moment, since they cannot be judged yet."""

from __future__ import annotations

from training.events import RecordArrived

MAX_RECORDS = 2048
MAX_BYTES = 4 * 2**20


class EarlyRecords:
    """A bounded waiting room.

    When it is full everybody has to leave it: it holds junk, or the node is far behind. What matters
    is asked for again.
    """

    def __init__(self) -> None:
        self._waiting: dict[bytes, list[RecordArrived]] = {}
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def add(self, base: bytes, event: RecordArrived) -> None:
        if self._count >= MAX_RECORDS or self._bytes + len(event.record.wire) > MAX_BYTES:
            self._waiting.clear()
            self._count = self._bytes = 0
        self._waiting.setdefault(base, []).append(event)
        self._count += 1
        self._bytes += len(event.record.wire)

    def take(self, base: bytes) -> list[RecordArrived]:
        """What waits for a round that begins now, in the order in which it came."""
        taken = self._waiting.pop(base, [])
        self._count -= len(taken)
        self._bytes -= sum(len(event.record.wire) for event in taken)
        return taken
