"""How two neighbours find out what the other lacks: one question, one bounded answer.

Frames are canonical msgpack and unsigned: the records and the certificate in an answer speak for
themselves and are checked one by one; a question moves nobody.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Count, Digest, canonical, parse_canonical
from training.chain import MAX_CERTIFICATE_BYTES, NOTHING
from training.messages import Head
from training.pool import MAX_RECORDS, PREFIX_BYTES, RecordPool

MAX_SYNC_BYTES = 256 * 1024
MAX_REPLY_RECORDS = 1024
"""Far more than fit into MAX_SYNC_BYTES: no record is smaller than its signature and its base."""
_RECORD_OVERHEAD_BYTES = 8

Prefix = Annotated[bytes, msgspec.Meta(min_length=PREFIX_BYTES, max_length=PREFIX_BYTES)]


class SyncRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """I stand on this head and hold these records of it: what do you know that I don't?"""

    head: Digest
    number: Count
    tokens: Count
    have: Annotated[tuple[Prefix, ...], msgspec.Meta(max_length=MAX_RECORDS)]


class SyncReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A heavier head's certificate, if there is one, records that the asker lacks, and what else is held."""

    certificate: Annotated[bytes, msgspec.Meta(max_length=MAX_CERTIFICATE_BYTES)] | None
    records: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_REPLY_RECORDS)]
    since: Count
    root: Digest
    """As in `Held`."""


class Held(NamedTuple):
    """Names all that a node holds beside the rounds in progress: equal sets have equal roots."""

    since: int
    """The first round that counts; nodes in which it differs have nothing to compare."""
    root: bytes
    """32 bytes."""


HOLDS_NOTHING = Held(0, NOTHING)
Frame = TypeVar("Frame", SyncRequest, SyncReply)


def sync_request(head: Head | None, pool: RecordPool | None) -> bytes:
    """The question of a node that holds this head and these records."""
    request = SyncRequest(
        head=head.id if head else NOTHING,
        number=head.number if head else 0,
        tokens=head.tokens if head else 0,
        have=tuple(pool.have()) if pool else (),
    )
    return canonical(request)


def sync_reply(
    request: SyncRequest, certificate: bytes | None, pools: list[RecordPool], held: Held = HOLDS_NOTHING
) -> bytes:
    """The answer of a node that holds these records, as many as fit of those that the asker lacks."""
    room = MAX_SYNC_BYTES - MAX_CERTIFICATE_BYTES
    wires: list[bytes] = []
    for pool in pools:
        if pool.base == request.head:
            for record in pool.missing_from(request.have):
                room -= len(record.wire) + _RECORD_OVERHEAD_BYTES
                if room < 0 or len(wires) == MAX_REPLY_RECORDS:
                    break
                wires.append(record.wire)
    reply = SyncReply(certificate=certificate, records=tuple(wires), since=held.since, root=held.root)
    return canonical(reply)


def open_sync_request(wire: bytes, sender: str) -> SyncRequest:
    """Check a neighbour's question.

    Raises:
        RemoteProtocolError: reason `bad-sync`.
    """
    return _open(wire, SyncRequest, sender)


def open_sync_reply(wire: bytes, sender: str) -> SyncReply:
    """Check the frame of a neighbour's answer; its records and certificate are checked one by one.

    Raises:
        RemoteProtocolError: reason `bad-sync`.
    """
    return _open(wire, SyncReply, sender)


def _open(wire: bytes, kind: type[Frame], sender: str) -> Frame:
    try:
        value: Any = parse_canonical(wire, MAX_SYNC_BYTES)
        return msgspec.convert(value, kind, strict=True, builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-sync", str(error)[:200]) from error
