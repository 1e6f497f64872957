"""The followed chain on the disk: which head each closed round ended with.

Entries count where their head is on the chain that the swarm stands on. So every certified head that this
node has adopted is kept, and the chain is walked from the newest one back.

A node that was away and fetched a state has a gap there: see `evidence.followed_over_gaps`.
"""

from __future__ import annotations

from typing import Any

import msgpack

from dhtnode.store import Store, StoredRecord
from rewards.evidence import followed_over_gaps
from training.chain import NOTHING, Certificate
from training.messages import Head, decode_value

HEAD = "head"
"""Kind of a certificate among a store's records; its signer there is the branch's founder."""
_NEWEST = "ledger.head"


class Heads:
    """Certified heads of one node.

    Args:
        store: the node's; only `adopt` writes.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.newest = store.fact(_NEWEST) or NOTHING
        """Id of the head that the node stands on."""
        self.followed = self._walk()
        """For each closed round that is known, the id of the head that it ended with."""

    def adopt(self, certificate: Certificate) -> None:
        """The node stands on this head from now on."""
        if certificate.id == self.newest:
            return
        head = certificate.head
        kept = StoredRecord(certificate.id, HEAD, head.number, head.founder, certificate.wire)
        with self._store.batch():
            self._store.add_record(kept)
            self._store.set_fact(_NEWEST, certificate.id)
        goes_on = head.parent == self.newest and head.number > head.since
        self.newest = certificate.id
        if goes_on:
            self.followed[head.number - 1] = certificate.id
        else:
            self.followed = self._walk()

    def _walk(self) -> dict[int, bytes]:
        heads = {record.id: _head(record.wire) for record in self._store.all_records(HEAD)}
        return followed_over_gaps(heads, self.newest)


def _head(wire: bytes) -> Head:
    """Of an own certificate; its votes were checked when it came."""
    packed: list[Any] = msgpack.unpackb(wire)
    return decode_value(packed[0], Head)
