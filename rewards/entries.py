"""What the ledger reads: one entry of fixed size for each signed record that bears on rewards.

An entry is derived from evidence that has been verified (`evidence.py`) and names the record it rests
on. It is packed so that the order of the bytes is the canonical order: by round, then kind, then record.
Within a round a case comes first, so that no credit of that round is paid to who is guilty; then the
shards, the work, and what members did for each other; bonds that are lost come last.

Two sets are merged as sets; an entry goes only with its record (`validation.kept`, or a branch that is left).
The root of a set is a digest over the digests of its epochs: a new entry changes one of them, and a stored
root is loaded without the entries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from dhtnode.digest import digest
from dhtnode.identity import peer_id_of, public_key_of

NOBODY = bytes(32)
ANY_HEAD = bytes(32)
"""In place of a head: the entry counts whichever chain is followed."""
_LAYOUT = Struct(">QB32s32s32s32sQI")
ENTRY_BYTES = _LAYOUT.size
"""149."""
ROUND_BYTES = 8


class Kind(IntEnum):
    """What an entry is about, in the order in which a round is booked."""

    CASE = 1
    """A key is guilty: its stake is burned."""
    SHARD = 2
    """Data was registered. `amount`: its size."""
    WORK = 3
    """A commitment whose work is in the round. `amount`: tokens; `ppm`: quality."""
    AUDIT = 4
    """A verdict. `other`: whose work was replayed, so many tokens: `amount`; `ppm`: 1,000,000 if it speaks
    for that work, else 0."""
    REDUCTION = 5
    """A result. `amount`: bytes of senders."""
    BOND = 6
    """A member answered for a newcomer, `other`, which was found false: so much is burned if that was on
    probation. `amount`: micro-credits."""


class Entry(NamedTuple):
    """One line of the ledger."""

    round: int
    kind: int
    record: bytes
    """Id of the record that it rests on; for a case, of the guilty's own record that it is about; for a
    bond, of the voucher."""
    head: bytes
    """Id of the head that the round ended with; it counts where that head is on the followed chain."""
    key: bytes
    """Raw public key of whose balance it changes."""
    other: bytes
    """Another key that it speaks about, or zeros."""
    amount: int
    ppm: int

    @property
    def packed(self) -> bytes:
        return _LAYOUT.pack(*self)


def unpacked(entries: bytes) -> Iterator[Entry]:
    """The entries in packed bytes, whose length is a multiple of `ENTRY_BYTES`."""
    return map(Entry._make, _LAYOUT.iter_unpack(entries))


def fields(entries: bytes) -> Iterator[tuple[int, int, bytes, bytes, bytes, bytes, int, int]]:
    """As `unpacked`, in plain tuples: what a million entries are read by."""
    return _LAYOUT.iter_unpack(entries)


def raw_key(peer_id: str) -> bytes:
    """The 32 bytes by which the ledger knows a member."""
    return public_key_of(peer_id).public_bytes_raw()


def peer_of(key: bytes) -> str:
    return peer_id_of(key)


def epoch_digest(epoch: int, entries: bytes) -> bytes:
    """The digest of all entries of one epoch, in canonical order."""
    return digest("ledger-epoch", epoch, hashlib.sha256(entries).digest())


def entries_root(epochs: Mapping[int, bytes]) -> bytes:
    """The root of a set, from the digests of those of its epochs that are not empty."""
    return digest("ledger", *(epochs[epoch] for epoch in sorted(epochs)))


class EntrySet:
    """A grow-only set of packed entries, in memory.

    Args:
        epoch_rounds: the manifest's length of an epoch.
        entries: packed, in any order, with any repetitions.
    """

    def __init__(self, epoch_rounds: int, entries: Iterable[bytes] = ()) -> None:
        self._epoch_rounds = epoch_rounds
        self._epochs: dict[int, set[bytes]] = {}
        self._digests: dict[int, bytes] = {}
        self.add(entries)

    def add(self, entries: Iterable[bytes]) -> int:
        """Take entries in. Returns how many are new."""
        new = 0
        for entry in entries:
            epoch = epoch_of(entry, self._epoch_rounds)
            known = self._epochs.setdefault(epoch, set())
            if entry not in known:
                known.add(entry)
                self._digests.pop(epoch, None)
                new += 1
        return new

    def merged(self, other: EntrySet) -> EntrySet:
        """The union."""
        return EntrySet(self._epoch_rounds, [*self, *other])

    def __iter__(self) -> Iterator[bytes]:
        """All entries in canonical order."""
        for epoch in sorted(self._epochs):
            yield from sorted(self._epochs[epoch])

    def __len__(self) -> int:
        return sum(map(len, self._epochs.values()))

    @property
    def packed(self) -> bytes:
        return b"".join(self)

    @property
    def root(self) -> bytes:
        for epoch in self._epochs.keys() - self._digests.keys():
            self._digests[epoch] = epoch_digest(epoch, b"".join(sorted(self._epochs[epoch])))
        return entries_root(self._digests)


def epoch_of(entry: bytes, epoch_rounds: int) -> int:
    return int.from_bytes(entry[:ROUND_BYTES], "big") // epoch_rounds
