"""What the observer believes: heads that votes prove, in whatever order the records come."""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, DataSection, Manifest, TaskSection, Terms
from dhtnode.observer.sightings import Headed, Present, Recorded, Rejected, Sighting
from dhtnode.observer.view import lines
from dhtnode.observer.watch import Watch
from dhtnode.presence import Presence
from dhtnode.records import Body, Signed, canonical, sign
from training.chain import Certificate, found
from training.messages import Commitment, Head, Leave, Proposal, Roster, Vote, encode_value, value_digest
from training.roster import ordered
from training.segments import ONE_SEGMENT
from training.sync import SyncReply

PEOPLE = [Identity.from_seed(bytes([seed]) * 32) for seed in range(1, 5)]
PEOPLE_BY_ID = {person.peer_id: person for person in PEOPLE}
STRANGER, ME = Identity.from_seed(b"s" * 32), Identity.from_seed(b"o" * 32)
MANIFEST = Manifest.create(
    Terms(
        format=FORMAT,
        name="watched",
        creator=PEOPLE[0].peer_id,
        task=TaskSection(kind="digits"),
        data=DataSection(mode="private"),
    ),
    PEOPLE[0],
)
SWARM = MANIFEST.swarm_id
FOUNDED = found(PEOPLE[0], SWARM, None, b"\x01" * 32)


class Played:
    """One round that ends well: its records, and the head they prove."""

    def __init__(self, start: Head, people: list[Identity]) -> None:
        self.start = start
        self.members = tuple(person.peer_id for person in people)
        self.commitments = [self._commit(person) for person in people]
        order = ordered(self.members, start.state, start.number, "roster")
        by_signer = {record.signer: record for record in self.commitments}
        roster = encode_value(
            Roster(commitments=tuple(by_signer[peer].id for peer in order), votes=(0,) * len(order))
        )
        self.roster = self._agreed("roster", roster, start.members, "leader")
        self._certified = value_digest(roster)
        self.head = self.head_of(order)
        self.close = self._agreed("close", encode_value(self.head), order, "close-leader")

    @property
    def wires(self) -> list[bytes]:
        return [record.wire for record in (*self.commitments, *self.roster, *self.close)]

    def head_of(self, members: tuple[str, ...], tokens: int = 100) -> Head:
        start = self.start
        return Head(
            number=start.number + 1,
            parent=start.id,
            branch=start.branch,
            founder=start.founder,
            since=start.since,
            marks=0,
            state=bytes([start.number + 2]) * 32,
            members=members,
            votes=(0,) * len(members),
            tokens=start.tokens + tokens,
            accepted=(),
            results=(),
        )

    def _commit(self, person: Identity) -> Signed[Commitment]:
        body = Commitment(
            round=self.start.number,
            base=self.start.id,
            start=self.start.state,
            steps=5,
            tokens=50,
            weight=50,
            parts=bytes(32),
            segments=ONE_SEGMENT,
            loss_micro=2_000_000,
            bandwidth=1,
            device="cpu/fp32",
            link=bytes(32),
            private=False,
        )
        return sign(person, SWARM, body)

    def _agreed(self, step: str, value: bytes, electors: tuple[str, ...], purpose: str) -> list[Signed[Body]]:
        leader = ordered(electors, self.start.state, self.start.number, purpose)[0]
        proposal = self.propose(PEOPLE_BY_ID[leader], step, value)
        return [proposal, *(self.vote(PEOPLE_BY_ID[elector], step, value) for elector in electors)]

    def propose(self, person: Identity, step: str, value: bytes) -> Signed[Body]:
        body = Proposal(**self._place(step), value=value, promises=())
        return sign(person, SWARM, body)

    def vote(self, person: Identity, step: str, value: bytes) -> Signed[Body]:
        return sign(person, SWARM, Vote(**self._place(step), value=value_digest(value)))

    def _place(self, step: str) -> dict[str, Any]:
        roster = self._certified if step == "close" else None
        return {
            "round": self.start.number,
            "base": self.start.id,
            "step": step,
            "roster": roster,
            "view": 0,
        }


def shown(certificate: Certificate | None, records: tuple[bytes, ...] = ()) -> bytes:
    wire = certificate.wire if certificate else None
    reply = SyncReply(certificate=wire, records=records, since=0, root=bytes(32))
    return canonical(msgspec.to_builtins(reply, builtin_types=(bytes,)))


def heads(sightings: list[Sighting]) -> list[tuple[int, str]]:
    return [(seen.number, seen.source) for seen in sightings if isinstance(seen, Headed)]


def hear(watch: Watch, wires: list[bytes]) -> list[Sighting]:
    return list(itertools.chain.from_iterable(watch.on_gossip("somebody", wire) for wire in wires))


@pytest.fixture
def watch() -> Watch:
    watch = Watch(MANIFEST, ME)
    assert heads(watch.on_sync("a", shown(FOUNDED))) == [(0, "sync")]
    return watch


@pytest.mark.parametrize("seed", range(20))
def test_votes_prove_heads_in_whatever_order_records_come(watch: Watch, seed: int) -> None:
    first = Played(FOUNDED.head, PEOPLE)
    second = Played(first.head, PEOPLE[1:])
    wires = [*first.wires, *second.wires, *first.wires]
    random.Random(seed).shuffle(wires)  # noqa: S311  repeats
    seen = hear(watch, wires)
    assert heads(seen) == [(1, "votes"), (2, "votes")]
    assert watch.head is not None
    assert watch.head.id == second.head.id
    assert not [sighting for sighting in seen if isinstance(sighting, Rejected)]
    assert len([sighting for sighting in seen if isinstance(sighting, Recorded)]) == len(set(wires))


def test_what_came_before_the_first_head_is_used_as_soon_as_it_is_known() -> None:
    watch = Watch(MANIFEST, ME)
    played = Played(FOUNDED.head, PEOPLE)
    assert heads(hear(watch, played.wires)) == []
    assert heads(watch.on_sync("a", shown(FOUNDED))) == [(0, "sync"), (1, "votes")]


def test_records_that_gossip_missed_are_taken_from_a_member(watch: Watch) -> None:
    played = Played(FOUNDED.head, PEOPLE)
    assert heads(hear(watch, played.wires[1:])) == []
    assert heads(watch.on_sync("a", shown(None, (played.wires[0],)))) == [(1, "votes")]


def test_a_minority_closes_nothing(watch: Watch) -> None:
    played = Played(FOUNDED.head, PEOPLE)
    assert heads(hear(watch, played.wires[:-2])) == []  # two of four votes


def test_a_stranger_and_its_friends_cannot_close_a_round(watch: Watch) -> None:
    """Its votes certify its own head by themselves, but nobody voted it into the roster."""
    played = Played(FOUNDED.head, PEOPLE)
    alone = encode_value(played.head_of((STRANGER.peer_id,), tokens=10**9))
    forged = [played.propose(STRANGER, "close", alone).wire, played.vote(STRANGER, "close", alone).wire]
    assert heads(hear(watch, [*forged, *played.wires, *forged])) == [(1, "votes")]
    assert watch.head is not None
    assert watch.head.id == played.head.id


def test_a_false_certificate_is_rejected_and_the_head_stays(watch: Watch) -> None:
    played = Played(FOUNDED.head, PEOPLE)
    other = encode_value(played.head_of(played.members, tokens=10**9))
    votes = tuple(played.vote(person, "close", other) for person in PEOPLE)
    false = Certificate(played.head, votes)  # type: ignore[arg-type]
    seen = watch.on_sync("liar", shown(false))
    assert [(sighting.peer, sighting.reason) for sighting in seen if isinstance(sighting, Rejected)] == [
        ("liar", "bad-certificate")
    ]
    assert watch.head == FOUNDED


def test_a_flood_of_signed_junk_does_not_push_the_current_round_out(watch: Watch) -> None:
    played = Played(FOUNDED.head, PEOPLE)
    hear(watch, played.wires[:-2])
    for number in range(500):
        junk = Leave(round=1, base=number.to_bytes(32, "big"))
        watch.on_gossip("flooder", sign(STRANGER, SWARM, junk).wire)
    assert heads(hear(watch, played.wires[-2:])) == [(1, "votes")]


def test_presence_is_believed_of_its_own_signer_only(watch: Watch) -> None:
    def present(made_at_s: int) -> bytes:
        body = Presence(addresses=("/ip4/192.0.2.7/tcp/1",), round=3, head=bytes(32), made_at_s=made_at_s)
        return sign(PEOPLE[1], SWARM, body).wire

    seen = watch.on_presence({PEOPLE[1].peer_id: present(100), PEOPLE[2].peer_id: present(100), "x": b"?"})
    assert [sighting.peer for sighting in seen if isinstance(sighting, Present)] == [PEOPLE[1].peer_id]
    assert [sighting.reason for sighting in seen if isinstance(sighting, Rejected)] == [
        "bad-presence",
        "malformed",
    ]
    assert watch.on_presence({PEOPLE[1].peer_id: present(99)}) == []  # an old one says nothing new
    assert watch.on_presence({PEOPLE[1].peer_id: present(101)}) == []  # same addresses


@given(st.binary(max_size=400))
def test_no_bytes_trip_it(data: bytes) -> None:
    watch = Watch(MANIFEST, ME)
    seen = [*watch.on_gossip("p", data), *watch.on_sync("p", data), *watch.on_presence({"p": data})]
    assert [type(sighting) for sighting in seen] == [Rejected] * 3
    assert sum(watch.summary(0).rejected.values()) == 3


def test_faults_of_the_client_are_counted(watch: Watch) -> None:
    watch.on_fault(RemoteProtocolError("p", "oversized-reply"))
    assert watch.summary(1.0).rejected == {"oversized-reply": 1}


def test_a_peer_cannot_write_to_the_terminal_but_for_letters(watch: Watch) -> None:
    body = Presence(addresses=("\x1b[2J\x9b\r\n",), round=3, head=bytes(32), made_at_s=1)
    seen = watch.on_presence({PEOPLE[1].peer_id: sign(PEOPLE[1], SWARM, body).wire})
    seen += hear(watch, [*Played(FOUNDED.head, PEOPLE).wires, b"?"])
    text = [line for sighting in [*seen, watch.summary(1.0)] for line in lines(sighting)]
    assert len(text) > len(seen)
    assert all(line.isprintable() for line in text)
