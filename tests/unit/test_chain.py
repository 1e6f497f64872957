"""Certificates are checked from themselves, every change to one is refused, and chains can be compared."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import canonical, sign
from tests.unit.parties import SWARM, certified, head_of, ids, people, vote_for
from training.chain import NOTHING, Certificate, branch_id, found, heavier, open_certificate
from training.messages import MAX_MEMBERS, WHOLE, Head, Vote, encode_value

PEOPLE = people(5)
HEAD = head_of(PEOPLE)
GOOD = certified(PEOPLE, HEAD)
FOUNDER = PEOPLE[0]
trees = st.recursive(st.none() | st.binary() | st.integers(-(2**63), 2**63), st.lists)
FIRST = found(FOUNDER, SWARM, None, digest("genesis"))


def refused(certificate: Certificate | bytes) -> str:
    wire = certificate if isinstance(certificate, bytes) else certificate.wire
    with pytest.raises(RemoteProtocolError) as caught:
        open_certificate(wire, SWARM, "sender")
    assert caught.value.peer == "sender" or caught.value.reason != "bad-certificate"
    return caught.value.reason


def changed(**changes: Any) -> Certificate:
    """Another head under the votes for this one."""
    return Certificate(msgspec.structs.replace(HEAD, **changes), GOOD.votes)


def test_a_majority_of_the_roster_certifies() -> None:
    opened = open_certificate(GOOD.wire, SWARM, "sender")
    assert opened.head == HEAD
    assert opened.id == HEAD.id
    assert [vote.signer for vote in opened.votes] == list(ids(PEOPLE[:3]))
    assert opened.wire == GOOD.wire


def test_a_majority_of_those_with_a_vote_certifies_and_nobody_else() -> None:
    head = head_of(PEOPLE[:4], votes=(1, 0, 0, WHOLE))
    assert head.electors == (PEOPLE[0].peer_id, PEOPLE[3].peer_id)
    both = tuple(vote_for(PEOPLE[place], head) for place in (0, 3))
    assert open_certificate(Certificate(head, both).wire, SWARM, "sender").head == head
    assert refused(Certificate(head, both[:1])) == "bad-certificate"
    assert refused(Certificate(head, (*both, vote_for(PEOPLE[1], head)))) == "bad-certificate"


@pytest.mark.parametrize("votes", [(WHOLE,) * 3, (WHOLE,) * 5], ids=["few", "many"])
def test_one_vote_for_each_member(votes: tuple[int, ...]) -> None:
    head = head_of(PEOPLE[:4], votes=votes)
    certificate = Certificate(head, tuple(vote_for(identity, head) for identity in PEOPLE[:4]))
    assert refused(certificate) == "bad-certificate"


def test_who_goes_on_alone_takes_its_vote_along() -> None:
    head = head_of(PEOPLE[:4], votes=(1, 0, 0, WHOLE))
    alone = [found(someone, SWARM, head, b"").head.votes for someone in people(5)]
    assert alone == [(1,), (0,), (0,), (WHOLE,), (0,)]


def test_all_64_members_fit() -> None:
    crowd = people(MAX_MEMBERS)
    names = tuple(digest("name", number) for number in range(MAX_MEMBERS))
    head = head_of(crowd, accepted=names, results=names)
    whole = Certificate(head, tuple(vote_for(identity, head) for identity in crowd))
    assert open_certificate(whole.wire, SWARM, "sender").head == head


def test_a_founding_is_certified_by_its_founder() -> None:
    head = open_certificate(FIRST.wire, SWARM, "sender").head
    assert (head.number, head.parent, head.marks, head.members) == (0, NOTHING, 0, (FOUNDER.peer_id,))


def test_going_on_alone_keeps_state_number_and_tokens_and_adds_a_mark() -> None:
    alone = open_certificate(found(FOUNDER, SWARM, HEAD, b"").wire, SWARM, "sender").head
    assert (alone.number, alone.state, alone.tokens) == (HEAD.number, HEAD.state, HEAD.tokens)
    assert (alone.parent, alone.since, alone.marks) == (HEAD.id, HEAD.number, HEAD.marks + 1)
    assert alone.branch != HEAD.branch
    assert heavier(HEAD, alone)


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 8},
        {"parent": bytes(32)},
        {"branch": bytes(32)},
        {"founder": PEOPLE[1].peer_id},
        {"since": 3},
        {"marks": 1},
        {"state": bytes(32)},
        {"members": ids(PEOPLE[:3])},
        {"votes": (WHOLE,) * 4},
        {"tokens": HEAD.tokens + 1},
        {"accepted": ()},
        {"results": (bytes(32),)},
        {"amendments": (bytes(32),)},
        {"partial": (bytes(32),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_field_of_a_certified_head_can_be_changed(changes: dict[str, Any]) -> None:
    assert refused(changed(**changes)) == "bad-certificate"


def test_every_field_is_covered_above() -> None:
    assert len(Head.__struct_fields__) == 14


def test_too_few_votes() -> None:
    assert refused(Certificate(HEAD, GOOD.votes[:2])) == "bad-certificate"
    assert refused(Certificate(HEAD, ())) == "bad-certificate"


def test_one_voter_counted_often() -> None:
    assert refused(Certificate(HEAD, (GOOD.votes[0],) * 3)) == "bad-certificate"


def test_votes_of_strangers() -> None:
    strangers = tuple(vote_for(identity, HEAD) for identity in people(8)[5:])
    assert refused(Certificate(HEAD, strangers)) == "bad-certificate"
    assert refused(Certificate(HEAD, (*GOOD.votes, strangers[0]))) == "bad-certificate"


@pytest.mark.parametrize(
    "changes",
    [
        {"round": 7},
        {"base": bytes(32)},
        {"step": "roster"},
        {"step": "found"},
        {"view": 1},
        {"value": bytes(32)},
        {"roster": bytes(32)},
    ],
    ids=lambda changes: f"{next(iter(changes.items()))[0]}-{next(iter(changes.items()))[1]!s:.6}",
)
def test_one_vote_for_something_else(changes: dict[str, Any]) -> None:
    other = vote_for(PEOPLE[2], HEAD, **changes)
    assert refused(Certificate(HEAD, (*GOOD.votes[:2], other))) == "bad-certificate"


def test_votes_of_another_swarm() -> None:
    votes = tuple(sign(identity, digest("other"), vote_for(identity, HEAD).body) for identity in PEOPLE[:3])
    assert refused(Certificate(HEAD, votes)) == "bad-signature"


def test_who_closes_a_round_names_its_roster() -> None:
    votes = tuple(vote_for(identity, HEAD, roster=None) for identity in PEOPLE[:3])
    assert refused(Certificate(HEAD, votes)) == "bad-certificate"


def test_who_founds_a_branch_names_none() -> None:
    body = msgspec.structs.replace(FIRST.votes[0].body, roster=bytes(32))
    assert refused(Certificate(FIRST.head, (sign(FOUNDER, SWARM, body),))) == "bad-certificate"


def test_a_member_named_twice() -> None:
    head = head_of([PEOPLE[0], PEOPLE[0], PEOPLE[1]])
    assert refused(certified(PEOPLE, head)) == "bad-certificate"


def test_more_votes_than_a_group_has_members() -> None:
    votes = tuple(vote_for(identity, HEAD) for identity in people(MAX_MEMBERS + 1))
    assert refused(Certificate(HEAD, votes)) == "bad-certificate"


@pytest.mark.parametrize(
    "changes",
    [
        {"members": ids(PEOPLE[:2])},
        {"founder": PEOPLE[1].peer_id},
        {"since": 1},
        {"branch": bytes(32)},
        {"results": (bytes(32),)},
        {"accepted": (bytes(32),)},
        {"number": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_founding_is_nothing_but_a_founding(changes: dict[str, Any]) -> None:
    """Signed anew, so that only the head itself is wrong."""
    head = msgspec.structs.replace(FIRST.head, **changes)
    vote = Vote(round=head.number, base=head.parent, step="found", view=0, value=head.id)
    assert refused(Certificate(head, (sign(FOUNDER, SWARM, vote),))) == "bad-certificate"


def test_nobody_founds_in_anothers_name() -> None:
    vote = Vote(round=0, base=NOTHING, step="found", view=0, value=FIRST.id)
    assert refused(Certificate(FIRST.head, (sign(PEOPLE[1], SWARM, vote),))) == "bad-certificate"


def test_a_founding_is_not_a_close_of_one() -> None:
    """A close by a roster of one has results; it can't pose as the way on after a stall."""
    head = head_of([FOUNDER])
    vote = Vote(round=head.number, base=head.parent, step="found", view=0, value=head.id)
    assert refused(Certificate(head, (sign(FOUNDER, SWARM, vote),))) == "bad-certificate"


@settings(max_examples=150)
@given(place=st.integers(0, len(GOOD.wire) - 1), flip=st.integers(1, 255))
def test_no_byte_can_be_changed(place: int, flip: int) -> None:
    wire = bytearray(GOOD.wire)
    wire[place] ^= flip
    refused(bytes(wire))


@settings(max_examples=150)
@given(st.binary(max_size=300) | trees.map(canonical))
def test_garbage_is_blamed_on_who_sent_it(wire: bytes) -> None:
    assert refused(wire) == "bad-certificate"


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_cut_certificate(cut: int) -> None:
    assert refused(GOOD.wire[:-cut]) == "bad-certificate"
    assert refused(GOOD.wire + bytes(cut)) == "bad-certificate"


def test_an_endless_certificate_is_not_parsed() -> None:
    votes = [bytes(500) for _ in range(200)]
    assert refused(canonical([encode_value(HEAD), votes])) == "bad-certificate"


# Fork choice

heads = st.builds(
    lambda tokens, number, marks, state: head_of(
        PEOPLE, tokens=tokens, number=number, marks=marks, state=bytes([state]) * 32
    ),
    tokens=st.integers(0, 3),
    number=st.integers(0, 3),
    marks=st.integers(0, 3),
    state=st.integers(0, 3),
)


@given(heads, heads)
def test_of_two_heads_exactly_one_is_heavier(one: Head, other: Head) -> None:
    assert heavier(one, other) + heavier(other, one) == (one != other)


@given(heads, heads, heads)
def test_no_circles(one: Head, two: Head, three: Head) -> None:
    if heavier(one, two) and heavier(two, three):
        assert heavier(one, three)


def test_tokens_then_number_then_marks_then_id() -> None:
    def head(**changes: Any) -> Head:
        return head_of(PEOPLE, **changes)

    assert heavier(head(tokens=8_000, number=1, marks=9), head(tokens=7_000, number=9, marks=0))
    assert heavier(head(number=8, marks=9), head(number=7, marks=0))
    assert heavier(head(marks=0), head(marks=1))
    one, other = head(state=bytes(32)), head(state=bytes([1]) * 32)
    assert heavier(one, other) == (one.id < other.id)


def test_a_closed_round_is_heavier_than_what_it_was_built_on() -> None:
    after = head_of(PEOPLE, number=8, parent=HEAD.id)
    assert heavier(after, HEAD), "even if nobody's whole work is in it"


def test_branches_are_named_by_parent_and_founder() -> None:
    assert branch_id(NOTHING, "a") != branch_id(NOTHING, "b")
    assert branch_id(NOTHING, "a") != branch_id(HEAD.id, "a")
