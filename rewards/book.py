"""The ledger on the disk: entries, a digest for each epoch, and a snapshot of the balances at its end.

The root is read from the digests, without the entries; balances are folded from the newest snapshot
that still holds. A new entry takes away the digest of its own epoch and all snapshots from there on. A
snapshot names the head on which it was made: on another chain it does not hold.

A ledger would grow for ever, so old epochs are folded away: their digests and the balances at their end
stay, their entries go, and no more are taken in. Nodes should do so only with epochs whose digests agree.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from dhtnode.store import Store, StoredEpoch
from rewards.entries import (
    ANY_HEAD,
    ROUND_BYTES,
    Kind,
    entries_root,
    epoch_digest,
    epoch_of,
    fields,
    unpacked,
)
from rewards.ledger import Ledger, Rules
from rewards.snapshot import decode_ledger, encode_ledger

LAST = 2**62
"""No epoch is later."""
PARAMETERS = "ledger.parameters"
"""Fact of a store: how many the model has, for readers that do not build it. 8 bytes."""
_FIRST_EPOCH = "ledger.first_epoch"
_LACKED = "ledger.lacked"
"""Fact of a store: rounds that were missing in what is folded away. 8 bytes."""


class FoldedAwayError(Exception):
    """The entries that this would take are gone: the chain has left what the balances were made of, or
    somebody asks for what was long ago.
    """


class Book:
    """One node's ledger. Belongs to the thread that opened the store.

    Args:
        store: the node's. Of one that was opened for reading nothing is kept that was worked out.
        rules: of its swarm, with a registry of all the shards that are in it.
    """

    def __init__(self, store: Store, rules: Rules) -> None:
        self.rules = rules
        """Whoever learns of an amendment or of a shard puts others here."""
        self._store = store
        self._epoch_rounds = rules.section.epoch_rounds

    def add(self, entries: Iterable[bytes]) -> int:
        """Keep packed entries, but for those of epochs that are folded away. Returns how many are new."""
        with self._store.batch():
            first = self.first_epoch
            late = (entry for entry in entries if epoch_of(entry, self._epoch_rounds) >= first)
            new = [entry for entry in late if self._store.add_entry(entry)]
            self._have_changed(new)
        return len(new)

    def drop(self, round_no: int, record: bytes) -> bool:
        """A record of a round is not kept any more. Returns whether it had an entry."""
        with self._store.batch():
            start, end = (number.to_bytes(ROUND_BYTES, "big") for number in (round_no, round_no + 1))
            packed = self._store.entries(start, end)
            gone = [entry.packed for entry in unpacked(packed) if entry.record == record]
            for one in gone:
                self._store.drop_entry(one)
            self._have_changed(gone)
        return bool(gone)

    def leave(self, followed: Mapping[int, bytes]) -> int:
        """The node follows another chain: entries of rounds that this has closed otherwise go.

        They are credited to nobody, and nodes on one chain must have one root. Returns how many went.
        """
        with self._store.batch():
            start = self.first_round.to_bytes(ROUND_BYTES, "big")
            packed = self._store.entries(start, LAST.to_bytes(ROUND_BYTES, "big"))
            gone = [
                entry.packed
                for entry in unpacked(packed)
                if entry.head not in (ANY_HEAD, followed.get(entry.round, entry.head))
            ]
            for one in gone:
                self._store.drop_entry(one)
            self._have_changed(gone)
        return len(gone)

    def _have_changed(self, entries: Iterable[bytes]) -> None:
        """The digests of these entries' epochs, and the snapshots from there on, are not true any more."""
        changed = {epoch_of(entry, self._epoch_rounds) for entry in entries}
        for epoch in changed:
            self._store.set_epoch(StoredEpoch(epoch, None, None, None))
        if changed:
            self._store.forget_snapshots_from(min(changed))

    def work_out_again(self, round_no: int) -> None:
        """Rules have changed that hold from a round on: the snapshots from there on are not true any more.

        But for those before which all is folded away.
        """
        self._store.forget_snapshots_from(max(self.first_epoch, round_no // self._epoch_rounds))

    def root(self, last_epoch: int = LAST) -> bytes:
        """Of all entries up to an epoch: equal on two nodes that hold the same."""
        digests = {}
        for epoch, digest in self._store.epoch_digests().items():
            if epoch <= last_epoch:
                digests[epoch] = digest or self._digest_again(epoch)
        return entries_root(digests)

    def heads(self) -> set[bytes]:
        """Ids of the heads whose rounds are booked, and not folded away."""
        packed = self._store.entries(bytes(ROUND_BYTES), LAST.to_bytes(ROUND_BYTES, "big"))
        return {head for _, kind, _, head, *_ in fields(packed) if kind == Kind.WORK}

    def is_sound(self, epoch: int) -> bool:
        """Whether an epoch's entries are those that its digest was made of: for idle moments."""
        kept = self._store.epoch(epoch)
        return (
            kept is None
            or epoch < self.first_epoch
            or kept.digest in (None, epoch_digest(epoch, self.entries(epoch)))
        )

    def entries(self, epoch: int) -> bytes:
        """All entries of an epoch, packed, in canonical order."""
        start, end = (number * self._epoch_rounds for number in (epoch, epoch + 1))
        return self._store.entries(start.to_bytes(ROUND_BYTES, "big"), end.to_bytes(ROUND_BYTES, "big"))

    def ledger(
        self, followed: Mapping[int, bytes], watched: tuple[bytes, int] | None = None, last_epoch: int = LAST
    ) -> Ledger:
        """The ledger at the end of an epoch, or after the newest entries.

        Args:
            followed: for each closed round, the id of the head that it ended with.
            watched: a key, and the round from which on all its changes are to be listed.
            last_epoch: later ones do not count.

        Raises:
            FoldedAwayError: what it asks for can't be told any more.
        """
        epochs = [epoch for epoch in self._store.epoch_digests() if epoch <= last_epoch]
        usable = epochs
        if watched is not None:
            usable = [epoch for epoch in epochs if self._last_round(epoch) < watched[1]]
        ledger, done = self._newest_snapshot(usable, followed, watched[0] if watched else None)
        is_whole = True
        for epoch in epochs[done:]:
            entries = self.entries(epoch)
            ledger.fold(entries, followed)
            is_whole = is_whole and _rounds_of(entries) <= followed.keys()
            if is_whole and self._last_round(epoch) in followed:
                self._keep_snapshot(epoch, ledger, followed[self._last_round(epoch)])
        return ledger

    @property
    def first_epoch(self) -> int:
        """The first that is not folded away."""
        return int.from_bytes(self._store.fact(_FIRST_EPOCH) or b"", "big")

    @property
    def first_round(self) -> int:
        """The first whose entries are not folded away."""
        return self.first_epoch * self._epoch_rounds

    def missing(self, followed: Mapping[int, bytes], booked: Container[int], end: int) -> int:
        """How many rounds before `end` are in nobody's balance here.

        Args:
            followed: as for `ledger`.
            booked: rounds that have entries.
            end: the first round that does not matter.
        """
        lacked = int.from_bytes(self._store.fact(_LACKED) or b"", "big")
        rounds = range(self.first_round, max(self.first_round, end))
        return lacked + sum(round_no not in followed or round_no not in booked for round_no in rounds)

    def fold_away(self, epoch: int, followed: Mapping[int, bytes]) -> bool:
        """Forget the entries up to the end of an epoch. Returns False, and does not, without its balances."""
        kept = self._store.epoch(epoch)
        head = followed.get(self._last_round(epoch))
        if kept is None or kept.snapshot is None or kept.head != head:
            return False
        self.root(epoch)  # the digests of all these epochs are on the disk afterwards
        end = (epoch + 1) * self._epoch_rounds
        lacked = self.missing(followed, self._store.entry_rounds(Kind.REDUCTION), end)
        with self._store.batch():
            self._store.set_fact(_LACKED, lacked.to_bytes(8, "big"))
            self._store.fold_entries_away(end.to_bytes(ROUND_BYTES, "big"), epoch)
            self._store.set_fact(_FIRST_EPOCH, (epoch + 1).to_bytes(8, "big"))
        return True

    def _newest_snapshot(
        self, epochs: list[int], followed: Mapping[int, bytes], watched: bytes | None
    ) -> tuple[Ledger, int]:
        """The ledger to go on from, and how many of the epochs are in it."""
        for place in reversed(range(len(epochs))):
            kept = self._store.epoch(epochs[place])
            if kept and kept.snapshot and kept.head == followed.get(self._last_round(kept.number)):
                return decode_ledger(kept.snapshot, self.rules, watched), place + 1
        if self.first_epoch:
            raise FoldedAwayError(f"epochs before {self.first_epoch} are folded away")
        return Ledger(self.rules, watched), 0

    def _keep_snapshot(self, epoch: int, ledger: Ledger, head: bytes) -> None:
        """Remember the ledger at the end of an epoch, if the head of each round with entries so far is known.

        A node that has entries of a round and does not know its head yet would keep a snapshot without
        them, and the epoch's last head alone does not tell. A round without entries does no harm: when
        they come, the snapshots go.
        """
        kept = self._store.epoch(epoch)
        if kept is not None and kept.head != head and self._store.writes:
            self._store.set_epoch(StoredEpoch(epoch, kept.digest, head, encode_ledger(ledger)))

    def _digest_again(self, epoch: int) -> bytes:
        found = epoch_digest(epoch, self.entries(epoch))
        kept = self._store.epoch(epoch)
        if kept is not None and self._store.writes:
            self._store.set_epoch(StoredEpoch(epoch, found, kept.head, kept.snapshot))
        return found

    def _last_round(self, epoch: int) -> int:
        return (epoch + 1) * self._epoch_rounds - 1


def _rounds_of(entries: bytes) -> set[int]:
    """The rounds of packed entries that count on one chain alone."""
    return {round_no for round_no, _, _, head, *_ in fields(entries) if head != ANY_HEAD}
