"""The followed chain on the disk: which head each closed round ended with.

Entries count where their head is on the chain that the swarm stands on. So every certified head that this
node has adopted is kept, and the chain is walked from the newest one back.

A node that was away and fetched a state has a gap there: see `evidence.followed_over_gaps`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, NamedTuple

import msgpack

from dhtnode.store import Store, StoredRecord
from rewards.evidence import followed_over_gaps
from training.chain import NOTHING, Certificate
from training.messages import Head, decode_value

HEAD = "head"
"""Kind of a certificate among a store's records; its signer there is the branch's founder."""
_NEWEST = "ledger.head"


class _Place(NamedTuple):
    """A certified head's place in its chain."""

    number: int
    since: int
    parent: bytes
    branch: bytes


class Heads:
    """Certified heads of one node.

    Args:
        store: the node's; only `adopt` and `learn` write.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.newest = store.fact(_NEWEST) or NOTHING
        """Id of the head that the node stands on."""
        self._places = {record.id: _place(_head(record.wire)) for record in store.all_records(HEAD)}
        self.followed = self._walk()
        """For each closed round that is known, the id of the head that it ended with."""

    def adopt(self, certificate: Certificate) -> None:
        """The node stands on this head from now on."""
        if certificate.id == self.newest:
            return
        head = certificate.head
        with self._store.batch():
            self._keep(certificate)
            self._store.set_fact(_NEWEST, certificate.id)
        goes_on = head.parent == self.newest and head.number > head.since
        self.newest = certificate.id
        if goes_on:
            self.followed[head.number - 1] = certificate.id
        else:
            self.followed = self._walk()

    def learn(self, certificates: Iterable[Certificate]) -> None:
        """Fill a gap: these heads lie before those that are known."""
        for certificate in certificates:
            self._keep(certificate)
        self.followed = self._walk()

    def forget_before(self, number: int) -> None:
        """Heads with smaller numbers have gone from the store."""
        self._places = {id_: place for id_, place in self._places.items() if place.number >= number}
        self.followed = {round_no: id_ for round_no, id_ in self.followed.items() if round_no + 1 >= number}

    def lacking(self, held: Container[bytes], since: int) -> bytes | None:
        """Id of the newest head, back along the chain, whose round is not held; None if all are.

        Args:
            held: ids of the heads whose rounds are.
            since: the first round that is wanted.
        """
        id_, number = self.newest, self._places[self.newest].number if self.newest in self._places else 0
        while id_ != NOTHING and number > since:
            place = self._places.get(id_)
            if place is None:
                return id_
            closes = place.number > place.since
            if closes and id_ not in held:
                return id_
            id_, number = place.parent, place.number - closes
        return None

    def _keep(self, certificate: Certificate) -> None:
        head = certificate.head
        self._places[certificate.id] = _place(head)
        kept = StoredRecord(certificate.id, HEAD, head.number, head.founder, certificate.wire)
        self._store.add_record(kept)

    def _walk(self) -> dict[int, bytes]:
        return followed_over_gaps(self._places, self.newest)


def _place(head: Head) -> _Place:
    return _Place(head.number, head.since, head.parent, head.branch)


def newest_head(store: Store) -> Head | None:
    """That which the node of a store stands on; None before its first."""
    kept = store.record(store.fact(_NEWEST) or NOTHING)
    return _head(kept.wire) if kept else None


def _head(wire: bytes) -> Head:
    """Of an own certificate; its votes were checked when it came."""
    packed: list[Any] = msgpack.unpackb(wire)
    return decode_value(packed[0], Head)
