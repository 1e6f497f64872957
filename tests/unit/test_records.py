"""A record has one byte form, and nothing but the signer's own bytes opens. Peers may send anything."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated, Any, ClassVar

import msgpack
import msgspec
import msgspec.inspect
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import rewards
import training
import validation
from dhtnode.errors import LocalProtocolError, RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Count, Digest, canonical, open_record, parse_canonical, sign
from tests.unit.parties import plain
from training.messages import Commitment, Roster
from validation.messages import Verdict

SWARM = b"s" * 32
ROOMS = {"training", "validation", "rewards"}
ALICE, BOB = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2))


class Note(Body, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "note"
    MAX_BYTES: ClassVar[int] = 600
    round: Count
    state: Digest
    words: Annotated[tuple[str, ...], msgspec.Meta(max_length=4)] = ()


class Memo(Body, frozen=True, kw_only=True):
    """The same fields under another kind."""

    KIND: ClassVar[str] = "memo"
    MAX_BYTES: ClassVar[int] = 2000
    round: Count
    state: Digest
    words: Annotated[tuple[str, ...], msgspec.Meta(max_length=4)] = ()


KINDS: dict[str, type[Note | Memo]] = {"note": Note, "memo": Memo}
notes = st.builds(
    Note,
    round=st.integers(0, 2**62),
    state=st.binary(min_size=32, max_size=32),
    words=st.lists(st.text(max_size=5), max_size=4).map(tuple),
)
NOTE = Note(round=7, state=bytes(32))

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@given(values)
def test_canonical_bytes_come_back_as_the_same_value(value: Any) -> None:
    data = canonical(value)
    assert parse_canonical(data, len(data)) == value
    with pytest.raises(ValueError, match="allowed"):
        parse_canonical(data, len(data) - 1)


@given(st.dictionaries(st.text(max_size=4), scalars, min_size=2, max_size=5))
def test_key_order_does_not_matter_but_only_one_is_accepted(value: dict[str, Any]) -> None:
    backwards = dict(sorted(value.items(), reverse=True))
    assert canonical(backwards) == canonical(value)
    with pytest.raises(ValueError, match="not in canonical form"):
        parse_canonical(msgpack.packb(backwards), 10_000)


def in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value


@given(values)
def test_the_form_is_msgpack_with_sorted_keys(value: Any) -> None:
    assert canonical(value) == msgpack.packb(in_order(value))


@given(notes)
def test_a_struct_has_the_form_of_the_map_of_its_fields(note: Note) -> None:
    assert canonical([note]) == msgpack.packb([in_order(plain(note))])


def test_nothing_that_travels_has_a_float_in_it() -> None:
    """Structs are not looked into when they are encoded, so their types have to keep floats out."""
    for room in (training, validation, rewards):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            importlib.import_module(module.name)
    kinds = [kind for kind in structs_below(msgspec.Struct) if kind.__module__.split(".")[0] in ROOMS]
    assert {Commitment, Verdict, Roster} <= set(kinds)
    assert not [kind.__name__ for kind in kinds if "Float" in repr(msgspec.inspect.type_info(kind))]


def structs_below(kind: type[msgspec.Struct]) -> set[type[msgspec.Struct]]:
    return {kind}.union(*(structs_below(below) for below in kind.__subclasses__()))


@pytest.mark.parametrize("value", [1.5, {1: 2}, {"a": {b"b": 1}}, object(), float("nan")])
def test_what_has_no_single_form_is_our_own_error(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        canonical(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xcc\x01",  # the integer 1 in a longer form than it needs
        b"\xca\x3f\x80\x00\x00",  # a float
        b"\x82\xa1a\x01\xa1a\x02",  # a key twice
        b"\x01\x01",  # more behind the value
        b"\x91" * 5000 + b"\x01",  # deep
        b"\xdd\xff\xff\xff\xff",  # a list of four thousand million that is not there
        b"\xc7\x04\x01abcd",  # an extension type
        b"\xd6\xff\x00\x00\x00\x00",  # a time stamp
        b"\xa1\xff",  # text that is not UTF-8
    ],
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="canonical"):
        parse_canonical(data, 10_000)


@given(notes)
def test_a_record_opens_as_what_was_signed(note: Note) -> None:
    record = sign(ALICE, SWARM, note)
    opened = open_record(record.wire, SWARM, KINDS, sender=BOB.peer_id)
    assert (opened.signer, opened.body, opened.id, opened.wire) == (
        ALICE.peer_id,
        note,
        record.id,
        record.wire,
    )


def test_a_record_is_named_by_what_it_says_and_who_says_it() -> None:
    names = {
        sign(ALICE, SWARM, NOTE).id,
        sign(BOB, SWARM, NOTE).id,
        sign(ALICE, b"t" * 32, NOTE).id,
        sign(ALICE, SWARM, Memo(round=7, state=bytes(32))).id,
    }
    assert len(names) == 4
    assert sign(ALICE, SWARM, NOTE).id in names


@given(notes, st.data())
def test_any_changed_byte_is_refused_and_blamed(note: Note, data: st.DataObject) -> None:
    wire = bytearray(sign(ALICE, SWARM, note).wire)
    position = data.draw(st.integers(0, len(wire) - 1))
    wire[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteProtocolError) as caught:
        open_record(bytes(wire), SWARM, KINDS, sender=BOB.peer_id)
    assert caught.value.peer in {BOB.peer_id, ALICE.peer_id}


@given(notes, st.data())
def test_truncated_or_extended_records_are_refused(note: Note, data: st.DataObject) -> None:
    wire = sign(ALICE, SWARM, note).wire
    cut = wire[: data.draw(st.integers(0, len(wire) - 1))]
    for other in (cut, wire + data.draw(st.binary(min_size=1, max_size=9)), wire + wire):
        with pytest.raises(RemoteProtocolError):
            open_record(other, SWARM, KINDS)


@given(
    st.binary(max_size=400) | values.map(canonical) | st.lists(values, min_size=4, max_size=4).map(canonical)
)
@example(canonical(["note", ALICE.peer_id, {"round": 1, "state": b"", "words": []}, bytes(64)]))
@example(canonical(["note", "1" * 52, plain(NOTE), bytes(64)]))
@example(canonical(["note", "\ud7ff" * 52, plain(NOTE), bytes(64)]))
def test_garbage_is_a_peers_fault_and_never_another_error(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        open_record(wire, SWARM, KINDS, sender="sender")
    assert caught.value.reason in {"oversized", "malformed", "unknown-kind", "schema", "bad-signature"}
    assert "\n" not in str(caught.value)


fields = st.sampled_from(["round", "state", "words", "more"])


@given(fields, values)
def test_a_signer_can_not_break_the_schema(field: str, value: Any) -> None:
    body = plain(NOTE) | {field: value}
    payload = canonical(["dhtnode/1", SWARM, "note", ALICE.peer_id, body])
    wire = canonical(["note", ALICE.peer_id, body, ALICE.sign(payload)])
    try:
        outcome = canonical(plain(open_record(wire, SWARM, KINDS, sender="sender").body))
    except RemoteProtocolError as error:
        outcome = error.reason.encode()
    assert outcome in {canonical(body), b"schema", b"malformed", b"oversized"}


def test_defaults_can_not_be_left_out() -> None:
    """Otherwise a record would have two spellings."""
    body = {"round": 7, "state": bytes(32)}
    payload = canonical(["dhtnode/1", SWARM, "note", ALICE.peer_id, plain(NOTE)])
    with pytest.raises(RemoteProtocolError, match="not in canonical form"):
        open_record(canonical(["note", ALICE.peer_id, body, ALICE.sign(payload)]), SWARM, KINDS)


def test_a_record_belongs_to_its_swarm_kind_and_signer() -> None:
    record = sign(ALICE, SWARM, NOTE)
    with pytest.raises(RemoteProtocolError, match="bad-signature"):
        open_record(record.wire, b"t" * 32, KINDS)
    for kind, signer in (("memo", ALICE.peer_id), ("note", BOB.peer_id)):
        with pytest.raises(RemoteProtocolError, match="bad-signature"):
            open_record(canonical([kind, signer, plain(NOTE), record.signature]), SWARM, KINDS)
    with pytest.raises(RemoteProtocolError, match="unknown-kind"):
        open_record(record.wire, SWARM, {"memo": Memo})


def test_each_kind_has_its_own_cap() -> None:
    long = "x" * 700
    memo = sign(ALICE, SWARM, Memo(round=0, state=bytes(32), words=(long,)))
    assert open_record(memo.wire, SWARM, KINDS).body.words == (long,)
    with pytest.raises(LocalProtocolError, match="cap 600"):
        sign(ALICE, SWARM, Note(round=0, state=bytes(32), words=(long,)))
    body = plain(memo.body)
    with pytest.raises(RemoteProtocolError, match="oversized"):
        open_record(canonical(["note", ALICE.peer_id, body, bytes(64)]), SWARM, KINDS)
    with pytest.raises(RemoteProtocolError, match="oversized"):
        open_record(bytes(2001), SWARM, KINDS)
