"""How a node that was away gets what it lacks: it compares roots with a neighbour, and pulls.

Gossip delivers at most once. Naming all that is held in every question to a neighbour does not scale:
a million records have 16 MB of names. Here a question names buckets of the neighbour's set
(`idtree`), its answer tells their digests or, where they are small, the names in them. Only what differs is
looked into, down to the names that the asker lacks, and those records are asked for.

- Who answers keeps no state: any question can go to any neighbour, and the next one to another.
- Who asks only ever adds. Nothing that a neighbour says makes a node drop or doubt what it holds.
- A record is believed for its own signature, never for who sent it.
- A neighbour that lies wastes at most `MAX_QUESTIONS` questions. Each must bring something new, a bucket
  that was asked for or a record, or the exchange ends.

Each side pulls for itself. Two nodes that each pull from the other hold the union, and equal sets cost
one question.

Frames are canonical msgpack and unsigned, as in `training.sync`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any, TypeVar

import msgspec

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Digest, canonical, parse_canonical
from validation.idtree import FANOUT, LEAF_IDS, MAX_DEPTH, IdTree

MAX_QUESTION_BYTES = 32 * 1024
MAX_ANSWER_BYTES = 256 * 1024
NAME_BYTES = 16
"""Enough that nobody makes a record with the name of an honest one: 2^128 tries."""
DIGEST_BYTES = 32
MAX_PREFIXES = 256
MAX_WANTED = 512
MAX_RECORDS = 1024
"""In one answer: more than fit, no record is smaller than its signature."""
MAX_QUESTIONS = 512
"""In one exchange: a million records of which one in a hundred differs take half as many."""
MAX_WAITING = 8192
"""Names to be fetched before more buckets are looked into."""
MAX_PENDING = 2**16
"""Buckets to look into. The deepest come first, so that honest sets of any size stay far below."""
_OVERHEAD_BYTES = 8
_BUCKET_OVERHEAD_BYTES = 40

Prefix = Annotated[bytes, msgspec.Meta(max_length=MAX_DEPTH)]
"""Half-bytes, one in each byte."""


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is in these buckets of yours, and give me these records."""

    prefixes: Annotated[tuple[Prefix, ...], msgspec.Meta(max_length=MAX_PREFIXES)]
    wanted: Annotated[bytes, msgspec.Meta(max_length=MAX_WANTED * NAME_BYTES)]
    """Names, one after the other."""


class Bucket(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bucket of the answering node's set: its children's digests, or what is in it."""

    prefix: Prefix
    digests: Annotated[bytes, msgspec.Meta(max_length=FANOUT * DIGEST_BYTES)]
    names: Annotated[bytes, msgspec.Meta(max_length=LEAF_IDS * NAME_BYTES)]


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """As much as fits of what was asked for."""

    root: Digest
    """Of the answering node's whole set."""
    buckets: Annotated[tuple[Bucket, ...], msgspec.Meta(max_length=MAX_PREFIXES)]
    records: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_RECORDS)]


Frame = TypeVar("Frame", Question, Answer)


def answer(wire: bytes, sender: str, tree: IdTree, wire_of: Callable[[bytes], bytes | None]) -> bytes:
    """Answer a neighbour's question.

    Args:
        wire: the question.
        sender: the neighbour.
        tree: ids of what is held.
        wire_of: the record of an id, None if it is gone.

    Returns:
        At most MAX_ANSWER_BYTES. Buckets take at most half of it where records are asked for, too.

    Raises:
        RemoteProtocolError: reason `bad-antientropy`.
    """
    question = _open(wire, Question, MAX_QUESTION_BYTES, sender)
    room = MAX_ANSWER_BYTES - 1024
    least = room // 2 if question.wanted else 0
    buckets: list[Bucket] = []
    for prefix in question.prefixes:
        digests, ids = tree.bucket(_half_bytes(prefix, sender))
        names = b"".join(id_[:NAME_BYTES] for id_ in ids)
        bucket = Bucket(prefix=prefix, digests=b"".join(digests), names=names)
        size = len(bucket.digests) + len(names) + len(prefix) + _BUCKET_OVERHEAD_BYTES
        if room - size < least:
            break
        room -= size
        buckets.append(bucket)
    records: list[bytes] = []
    for name in _split(question.wanted, NAME_BYTES, sender):
        id_ = tree.find(name)
        record = wire_of(id_) if id_ is not None else None
        if record is not None and len(record) + _OVERHEAD_BYTES <= room:
            room -= len(record) + _OVERHEAD_BYTES
            records.append(record)
    reply = Answer(root=tree.root, buckets=tuple(buckets), records=tuple(records))
    return canonical(reply)


class Pull:
    """One exchange with one neighbour, at the side that asks.

    Args:
        tree: ids of what is held; the caller adds to it what comes out of `on_answer`.
        peer: the neighbour.
        open_id: checks a record from itself and returns its id; raises RemoteProtocolError.
        claimed: names that exchanges with other neighbours are about to get: shared, so that nothing
            is fetched twice at a time.
    """

    def __init__(
        self, tree: IdTree, peer: str, open_id: Callable[[bytes], bytes], claimed: set[bytes] | None = None
    ) -> None:
        self.asked = 0
        self.received = 0
        """Records that have come."""
        self._tree = tree
        self._peer = peer
        self._open_id = open_id
        self._claimed = claimed if claimed is not None else set()
        self._mine: dict[bytes, None] = {}
        """Names that this exchange has claimed and not got yet; who was asked for goes to the end."""
        self._prefixes: list[bytes] = [b""]
        """Buckets to look into; the deepest last, and first in turn: records begin to come at once."""
        self._first = digest("pull", peer)[0] % FANOUT
        """Neighbours are asked for different ends of the set."""
        self._asked_for: tuple[bytes, ...] = ()
        self._done = False

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to ask this neighbour."""
        return self._done or not (self._prefixes or self._mine)

    def question(self) -> bytes:
        """The next question, of at most MAX_QUESTION_BYTES."""
        self.asked += 1
        deepest = self._prefixes[-MAX_PREFIXES:] if len(self._mine) < MAX_WAITING else []
        self._asked_for = tuple(reversed(deepest))
        wanted = list(islice(self._mine, MAX_WANTED))
        for name in wanted:
            self._mine[name] = self._mine.pop(name)
        question = Question(prefixes=self._asked_for, wanted=b"".join(wanted))
        return canonical(question)

    def on_answer(self, wire: bytes) -> list[tuple[bytes, bytes]]:
        """Take in the answer to the last question.

        Returns:
            Ids and bytes of new records, each checked.

        Raises:
            RemoteProtocolError: the neighbour broke the protocol; the exchange is over. What came before
                in the same answer is lost with it, and is asked for again from another neighbour.
        """
        try:
            found = self._take(_open(wire, Answer, MAX_ANSWER_BYTES, self._peer))
        except RemoteProtocolError:
            self.give_up()
            raise
        if self.is_done or self.asked >= MAX_QUESTIONS:
            self.give_up()
        return found

    def give_up(self) -> None:
        """The neighbour is gone, or has said all it can: others may fetch what it did not send."""
        self._done = True
        self._claimed.difference_update(self._mine)
        self._mine.clear()

    def _take(self, reply: Answer) -> list[tuple[bytes, bytes]]:
        if reply.root == self._tree.root:
            self._prefixes.clear()
        taken = reply.buckets if self._prefixes else ()
        if tuple(bucket.prefix for bucket in taken) != self._asked_for[: len(taken)]:
            raise RemoteProtocolError(self._peer, "bad-antientropy", "buckets that were not asked for")
        if taken:
            del self._prefixes[-len(taken) :]
        found = [self._record(record) for record in reply.records]
        for bucket in taken:
            self._look_into(bucket)
        self.received += len(found)
        self._done = not taken and not found
        return found

    def _record(self, wire: bytes) -> tuple[bytes, bytes]:
        id_ = self._open_id(wire)
        name = id_[:NAME_BYTES]
        if name not in self._mine:
            raise RemoteProtocolError(self._peer, "bad-antientropy", "a record that was not asked for")
        del self._mine[name]
        self._claimed.discard(name)
        return id_, wire

    def _look_into(self, bucket: Bucket) -> None:
        prefix = _half_bytes(bucket.prefix, self._peer)
        digests = _split(bucket.digests, DIGEST_BYTES, self._peer)
        names = _split(bucket.names, NAME_BYTES, self._peer)
        if (digests and (names or len(prefix) == MAX_DEPTH)) or len(digests) not in (0, FANOUT):
            raise RemoteProtocolError(self._peer, "bad-antientropy", "a bucket of another shape")
        for place in range(len(digests)):
            half_byte = (self._first + place) % FANOUT
            if digests[half_byte] != self._tree.digest_of((*prefix, half_byte)):
                self._prefixes.append(bucket.prefix + bytes([half_byte]))
        if len(self._prefixes) > MAX_PENDING:
            raise RemoteProtocolError(self._peer, "bad-antientropy", "a set without end")
        for name in names:
            if self._tree.find(name) is None and name not in self._claimed:
                self._claimed.add(name)
                self._mine[name] = None


def _split(data: bytes, size: int, sender: str) -> list[bytes]:
    if len(data) % size:
        raise RemoteProtocolError(sender, "bad-antientropy", f"{len(data)} bytes are no row of {size}")
    return [data[start : start + size] for start in range(0, len(data), size)]


def _half_bytes(prefix: bytes, sender: str) -> tuple[int, ...]:
    if any(half_byte >= FANOUT for half_byte in prefix):
        raise RemoteProtocolError(sender, "bad-antientropy", "a prefix is made of half-bytes")
    return tuple(prefix)


def _open(wire: bytes, kind: type[Frame], most: int, sender: str) -> Frame:
    try:
        value: Any = parse_canonical(wire, most)
        return msgspec.convert(value, kind, strict=True, builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-antientropy", str(error)[:200]) from error
