"""Record kinds carry their own bounds: what lies outside never becomes a record."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, canonical, open_record, sign
from tests.unit.parties import (
    SWARM,
    certified,
    commit,
    head_of,
    over_the_wire,
    people,
    plain,
    plan_of,
    result_of,
)
from training.messages import (
    KINDS,
    MAX_BANDWIDTH,
    MAX_MEMBERS,
    MAX_PROPOSAL_BYTES,
    MAX_VALUE_BYTES,
    MAX_VIEW,
    WHOLE,
    Commitment,
    Head,
    Leave,
    Promise,
    Proposal,
    Ready,
    Result,
    Roster,
    Vote,
    decode_value,
    encode_value,
    value_digest,
)

PEOPLE = people(4)
HEAD = head_of(PEOPLE)
ME = PEOPLE[0]
NAMES = tuple(digest("name", number) for number in range(MAX_MEMBERS))

GOOD: dict[str, Body] = {
    "ready": Ready(round=7, base=HEAD.id),
    "leave": Leave(round=7, base=HEAD.id),
    "commitment": commit(ME, HEAD).body,
    "proposal": Proposal(round=7, base=HEAD.id, step="roster", view=0, value=b"value", promises=()),
    "vote": Vote(round=7, base=HEAD.id, step="roster", view=3, value=bytes(32)),
    "promise": Promise(round=7, base=HEAD.id, step="roster", view=3, voted_view=None, voted=None),
    "result": result_of(ME, plan_of(PEOPLE, HEAD), 0).body,
}


def test_every_kind_is_tried_here() -> None:
    assert set(GOOD) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_the_same_after_the_wire(kind: str) -> None:
    record = sign(ME, SWARM, GOOD[kind])
    assert over_the_wire(record) == record


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_record_fits_its_cap(kind: str) -> None:
    largest: dict[str, dict[str, Any]] = {
        "ready": {"round": 2**62},
        "leave": {"round": 2**62},
        "commitment": {
            "round": 2**62,
            "steps": 2**31,
            "tokens": 2**62,
            "weight": 2**31,
            "loss_micro": 2**53,
            "bandwidth": MAX_BANDWIDTH,
            "device": "x" * 80,
            "dated": bytes(32),
        },
        "proposal": {
            "value": bytes(MAX_VALUE_BYTES),
            "promises": tuple(_promise(n) for n in range(MAX_MEMBERS)),
        },
        "vote": {"round": 2**62, "step": "roster", "view": MAX_VIEW},
        "promise": {
            "round": 2**62,
            "step": "roster",
            "view": MAX_VIEW,
            "voted_view": MAX_VIEW,
            "voted": bytes(32),
        },
        "result": {"round": 2**62, "part": MAX_MEMBERS - 1, "included": tuple(range(MAX_MEMBERS))},
    }
    record = sign(ME, SWARM, msgspec.structs.replace(GOOD[kind], **largest[kind]))
    assert over_the_wire(record) == record
    assert len(record.wire) <= KINDS[kind].MAX_BYTES


def _promise(number: int) -> bytes:
    body = Promise(
        round=2**62, base=HEAD.id, step="roster", view=MAX_VIEW, voted_view=MAX_VIEW, voted=bytes(32)
    )
    return sign(people(MAX_MEMBERS)[number], SWARM, body).wire


OUTSIDE: list[tuple[str, str, Any]] = [
    *((kind, "round", value) for kind in KINDS for value in (-1, 2**62 + 1, None, "7", 7.0)),
    *((kind, "base", value) for kind in KINDS for value in (bytes(31), bytes(33), "x" * 32, None)),
    ("commitment", "steps", 0),
    ("commitment", "steps", 2**31 + 1),
    ("commitment", "tokens", -1),
    ("commitment", "weight", 0),
    ("commitment", "weight", -1),
    ("commitment", "weight", 2**31 + 1),
    ("commitment", "loss_micro", -1),
    ("commitment", "bandwidth", -1),
    ("commitment", "bandwidth", MAX_BANDWIDTH + 1),
    ("commitment", "device", ""),
    ("commitment", "device", "x" * 81),
    ("commitment", "parts", bytes(31)),
    ("commitment", "dated", bytes(31)),
    ("commitment", "dated", None),
    *((kind, "roster", value) for kind in ("vote", "proposal", "promise") for value in (bytes(31), None)),
    ("proposal", "view", MAX_VIEW + 1),
    ("proposal", "view", -1),
    ("proposal", "step", "found"),
    ("proposal", "value", bytes(MAX_VALUE_BYTES + 1)),
    ("proposal", "promises", (b"",) * (MAX_MEMBERS + 1)),
    ("vote", "step", "other"),
    ("vote", "view", MAX_VIEW + 1),
    ("vote", "value", b""),
    ("promise", "step", "found"),
    ("promise", "voted", b"short"),
    ("promise", "voted_view", MAX_VIEW + 1),
    ("result", "part", MAX_MEMBERS),
    ("result", "part", -1),
    ("result", "included", ()),
    ("result", "included", (MAX_MEMBERS,)),
    ("result", "included", (0,) * (MAX_MEMBERS + 1)),
]


def opened(kind: str, body: dict[str, Any]) -> str:
    """Why a body is refused that its signer did sign just so."""
    payload = msgpack.packb(["dhtnode/1", SWARM, kind, ME.peer_id, dict(sorted(body.items()))])
    wire = msgpack.packb([kind, ME.peer_id, dict(sorted(body.items())), ME.sign(payload)])
    with pytest.raises(RemoteProtocolError) as caught:
        open_record(wire, SWARM, KINDS, "sender")
    return caught.value.reason


@pytest.mark.parametrize(("kind", "field", "value"), OUTSIDE)
def test_a_value_out_of_bounds_is_refused(kind: str, field: str, value: Any) -> None:
    assert opened(kind, {**plain(GOOD[kind]), field: value}) in {"schema", "malformed", "oversized"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_may_lack_and_none_may_be_added(kind: str) -> None:
    body = plain(GOOD[kind])
    for field in body:
        assert opened(kind, {name: value for name, value in body.items() if name != field}) == "schema"
    assert opened(kind, {**body, "more": 1}) == "schema"


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_is_bound_to_its_kind(kind: str) -> None:
    for other in KINDS:
        if other != kind:
            wire = canonical([other, ME.peer_id, plain(GOOD[kind]), sign(ME, SWARM, GOOD[kind]).signature])
            with pytest.raises(RemoteProtocolError) as caught:
                open_record(wire, SWARM, KINDS, "sender")
            assert caught.value.reason in {"schema", "bad-signature", "oversized"}


@settings(max_examples=200)
@given(kind=st.sampled_from(sorted(KINDS)), place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_no_byte_of_a_record_can_be_changed(kind: str, place: int, flip: int) -> None:
    wire = bytearray(sign(ME, SWARM, GOOD[kind]).wire)
    wire[place % len(wire)] ^= flip
    with pytest.raises(RemoteProtocolError):
        open_record(bytes(wire), SWARM, KINDS, "sender")


def test_a_commitment_that_dates_nothing_leaves_the_field_out() -> None:
    assert "dated" not in plain(GOOD["commitment"])
    assert opened("commitment", {**plain(GOOD["commitment"]), "dated": None}) == "malformed"


# Values


def test_values_are_the_same_after_the_wire() -> None:
    roster = Roster(commitments=NAMES, votes=(WHOLE,) * len(NAMES))
    assert decode_value(encode_value(roster), Roster) == roster
    assert decode_value(encode_value(HEAD), Head) == HEAD


def test_the_largest_values_fit_a_proposal_with_all_promises() -> None:
    head = head_of(
        people(MAX_MEMBERS), accepted=NAMES, results=NAMES, tokens=2**62, number=2**62, marks=2**62
    )
    assert len(encode_value(head)) <= MAX_VALUE_BYTES
    promises = sum(len(_promise(number)) + 3 for number in range(MAX_MEMBERS))
    assert len(encode_value(head)) + promises + 1024 <= MAX_PROPOSAL_BYTES


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x80",
        canonical({"commitments": [], "votes": []}),
        canonical({"commitments": [bytes(31)], "votes": [0]}),
        canonical({"commitments": [bytes(32)] * (MAX_MEMBERS + 1), "votes": [0]}),
        canonical({"commitments": [bytes(32)], "votes": [0], "more": 1}),
        canonical({"commitments": [bytes(32)]}),
        canonical({"commitments": [bytes(32)], "votes": [WHOLE + 1]}),
        canonical({"commitments": [bytes(32)], "votes": [-1]}),
        canonical({"commitments": [bytes(32)], "votes": [0] * (MAX_MEMBERS + 1)}),
        canonical([bytes(32)]),
        msgpack.packb({"commitments": [bytes(32)], "votes": [0]}) + b"\x00",
        bytes(MAX_VALUE_BYTES + 1),
    ],
    ids=[
        *("nothing", "empty", "nobody", "short", "crowd", "more", "voteless", "heavy", "negative", "votes"),
        *("list", "tail", "oversized"),
    ],
)
def test_what_is_no_roster(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whichever way it is wrong
        decode_value(value, Roster)


def test_a_roster_is_no_head() -> None:
    with pytest.raises(ValueError, match="unknown field"):
        decode_value(encode_value(Roster(commitments=(bytes(32),), votes=(0,))), Head)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_garbage_is_no_value(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whichever way it is wrong
        decode_value(value, Roster)
    with pytest.raises(ValueError):  # noqa: PT011
        decode_value(value, Head)


def test_a_heads_name_covers_everything() -> None:
    names = {msgspec.structs.replace(HEAD, **{field: other}).id for field, other in _others().items()}
    assert len(names | {HEAD.id}) == len(Head.__struct_fields__) + 1
    assert certified(PEOPLE, HEAD).id == HEAD.id == value_digest(encode_value(HEAD))


def _others() -> dict[str, Any]:
    """Another value for each field of a head."""
    others: dict[str, Any] = dict.fromkeys(("number", "since", "marks", "tokens"), 99)
    others |= {field: bytes(32) for field in ("parent", "branch", "state")}
    others |= {"founder": PEOPLE[3].peer_id, "members": (PEOPLE[3].peer_id,), "accepted": (), "results": ()}
    others |= {"votes": (WHOLE,), "amendments": (bytes(32),), "partial": (bytes(32),)}
    return others


def test_kinds_have_names_of_their_own() -> None:
    assert len({kind.KIND for kind in KINDS.values()}) == len(KINDS) == 7
    assert {Commitment, Promise, Proposal, Ready, Leave, Result, Vote} == set(KINDS.values())
