"""What a member shows to anybody who asks what balances rest on: signed records, page by page.

Records come in one order, by round and then by id, so a reader goes on after the last one that it has, and
a page needs no memory of who has read what. Pages are unsigned: each record in them speaks for itself. What
a page leaves out can't be seen from it; a reader asks several members and takes the union.

Certified heads, commitments, results, verdicts, cases, vouchers, amendments and registrations of data are
shown, of rounds that have begun.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from dhtnode.amendments import Amendment
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Count, Digest, Signed, canonical, open_record, parse_canonical
from rewards.data import Registration
from training.chain import Certificate, open_certificate
from training.messages import Commitment, Result
from validation.cases import Case, open_case
from validation.messages import Verdict
from validation.voucher import Voucher

ENDPOINT = "disclosure"
MAX_QUESTION_BYTES = 64
MAX_PAGE_BYTES = 256 * 1024
"""The longest record, a case of 64 members, is half as long."""
MAX_PAGE_RECORDS = 1024
MAX_PAGE_ROUNDS = 64
"""Rounds that are looked up for one page, so that a question about empty ones costs no more. A guess."""
_OVERHEAD_BYTES = 8
_FRAME_BYTES = 128
_CERTIFICATE_START, _CASE_START = b"\x92", b"\x93"
"""Lists of two and three in msgpack; a record is one of four."""
_KINDS: dict[str, type[Body]] = {
    kind.KIND: kind for kind in (Commitment, Result, Verdict, Voucher, Amendment, Registration)
}

Shown = Certificate | Case | Signed[Body]


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, order=True):
    """Where a record stands in the order; as a question: what comes after it?"""

    round: Count
    """Of a head: the round that begins with it."""
    id: Digest = bytes(32)


START = Place(round=0)


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Some records, and where to go on; None after the last ones."""

    records: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_PAGE_RECORDS)]
    next: Place | None


Frame = TypeVar("Frame", Place, Page)


def question(after: Place) -> bytes:
    """Ask for the records after a place."""
    return _packed(after)


def page(asked: Place, held: Callable[[int], Mapping[bytes, bytes]], newest: int) -> bytes:
    """As many records as fit, after a place.

    Args:
        asked: the question.
        held: records of a round, by id.
        newest: later rounds are not shown.
    """
    room = MAX_PAGE_BYTES - _FRAME_BYTES
    wires: list[bytes] = []
    last, end = asked, min(newest + 1, asked.round + MAX_PAGE_ROUNDS)
    for round_no in range(asked.round, end):
        for id_, wire in sorted(held(round_no).items()):
            place = Place(round=round_no, id=id_)
            if place <= asked:
                continue
            room -= len(wire) + _OVERHEAD_BYTES
            if room < 0 or len(wires) == MAX_PAGE_RECORDS:
                return _packed(Page(records=tuple(wires), next=last))
            wires.append(wire)
            last = place
    return _packed(Page(records=tuple(wires), next=Place(round=end) if end <= newest else None))


def open_question(wire: bytes, sender: str) -> Place:
    """Check a question.

    Raises:
        RemoteProtocolError: reason `bad-question`.
    """
    return _open(wire, Place, MAX_QUESTION_BYTES, sender, "bad-question")


def open_page(wire: bytes, asked: Place, sender: str) -> Page:
    """Check the frame of a page; its records are checked one by one.

    Raises:
        RemoteProtocolError: reason `bad-page`: malformed, or it leads nowhere.
    """
    found = _open(wire, Page, MAX_PAGE_BYTES, sender, "bad-page")
    if found.next is not None and found.next <= asked:
        raise RemoteProtocolError(sender, "bad-page", "goes back to what was asked before")
    return found


def open_shown(wire: bytes, swarm_id: bytes, sender: str) -> Shown:
    """Check one record of a page, from itself.

    Raises:
        RemoteProtocolError: that of `open_certificate`, `open_case` or `open_record`.
    """
    if wire[:1] == _CERTIFICATE_START:
        return open_certificate(wire, swarm_id, sender)
    if wire[:1] == _CASE_START:
        return open_case(wire, swarm_id, sender)
    return open_record(wire, swarm_id, _KINDS, sender)


def place_of(shown: Shown) -> Place:
    """Where a record stands in the order."""
    match shown:
        case Certificate():
            return Place(round=shown.head.number, id=shown.id)
        case Case():
            return Place(round=shown.round_no, id=shown.id)
    return Place(round=shown.body.round, id=shown.id)  # type: ignore[attr-defined]  # all of _KINDS have one


def _packed(frame: Place | Page) -> bytes:
    return canonical(frame)


def _open(wire: bytes, kind: type[Frame], most: int, sender: str, reason: str) -> Frame:
    try:
        value: Any = parse_canonical(wire, most)
        return msgspec.convert(value, kind, strict=True, builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, reason, str(error)[:200]) from error
