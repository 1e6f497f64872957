"""How two neighbours find out what the other lacks: one question, one bounded answer.

Frames are canonical msgpack and unsigned: the records and the certificate in an answer speak for
themselves and are checked one by one; a question moves nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import msgspec

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Count, Digest, canonical, parse_canonical
from training.chain import MAX_CERTIFICATE_BYTES, NOTHING
from training.messages import Head
from training.pool import MAX_RECORDS, PREFIX_BYTES, RecordPool

MAX_SYNC_BYTES = 256 * 1024
MAX_EVIDENCE = 1024
"""Names of evidence in one question: with a full pool's it fits into MAX_SYNC_BYTES."""
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
    evidence: Annotated[tuple[Prefix, ...], msgspec.Meta(max_length=MAX_EVIDENCE)]
    """The same for what was found out about others' work."""


class SyncReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A heavier head's certificate, if there is one, and records and evidence that the asker lacks."""

    certificate: Annotated[bytes, msgspec.Meta(max_length=MAX_CERTIFICATE_BYTES)] | None
    records: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_REPLY_RECORDS)]
    evidence: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_REPLY_RECORDS)]


Frame = TypeVar("Frame", SyncRequest, SyncReply)


def sync_request(head: Head | None, pool: RecordPool | None, evidence: Collection[bytes] = ()) -> bytes:
    """The question of a node that holds this head, these records, and evidence of these ids."""
    request = SyncRequest(
        head=head.id if head else NOTHING,
        number=head.number if head else 0,
        tokens=head.tokens if head else 0,
        have=tuple(pool.have()) if pool else (),
        evidence=tuple(id_[:PREFIX_BYTES] for id_ in list(evidence)[:MAX_EVIDENCE]),
    )
    return canonical(msgspec.to_builtins(request, builtin_types=(bytes,)))


def sync_reply(
    request: SyncRequest,
    certificate: bytes | None,
    pools: list[RecordPool],
    evidence: Mapping[bytes, bytes] = MappingProxyType({}),
) -> bytes:
    """The answer of a node that holds these records, and evidence by id.

    As much as fits of what the asker lacks: records before evidence, what came first before others.
    """
    room = MAX_SYNC_BYTES - MAX_CERTIFICATE_BYTES
    wires: list[bytes] = []
    for pool in pools:
        if pool.base == request.head:
            for record in pool.missing_from(request.have):
                room -= len(record.wire) + _RECORD_OVERHEAD_BYTES
                if room < 0 or len(wires) == MAX_REPLY_RECORDS:
                    break
                wires.append(record.wire)
    shown: list[bytes] = []
    theirs = set(request.evidence)
    for id_, wire in evidence.items():
        if id_[:PREFIX_BYTES] in theirs:
            continue
        room -= len(wire) + _RECORD_OVERHEAD_BYTES
        if room < 0 or len(shown) == MAX_REPLY_RECORDS:
            break
        shown.append(wire)
    reply = SyncReply(certificate=certificate, records=tuple(wires), evidence=tuple(shown))
    return canonical(msgspec.to_builtins(reply, builtin_types=(bytes,)))


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
