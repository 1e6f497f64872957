"""Records of no round: kept, gossiped, asked for, and what is none is held against who sent it."""

from __future__ import annotations

import msgspec
import pytest

from dhtnode.amendments import Amendment, Setting
from dhtnode.errors import ConfigError, RemoteProtocolError
from dhtnode.records import canonical, sign
from dhtnode.store import Store
from rewards.governance import Ballot
from tests.unit.boards import FOURTH, HEAD, ME, OTHER, THIRD, Home, Wire, homes
from tests.unit.parties import SWARM

# Votes


async def test_a_vote_is_heard_by_all_and_counted_alike(stores: list[Store]) -> None:
    one, other, third = await homes(stores, Wire())
    proposal = await one.propose()
    await other.vote(proposal[:10])
    await third.vote(proposal[:10], yes=False)
    assert HEAD.number == 9
    seen = [home.governing.proposals().proposals for home in (one, other, third)]
    assert seen[0] == seen[1] == seen[2]
    (part,) = seen[0]
    assert (part.state, part.effect, part.last, part.changes) == ("open", 14, 11, {"outer.lr": "0.35"})
    assert part.given is not None
    assert part.against is not None
    assert part.total is not None
    assert part.given == pytest.approx(part.total / 2, rel=0.2)
    assert part.against == pytest.approx(part.total / 4, rel=0.2)
    assert one.governing.assembly.adoptable(HEAD) == ()
    await third.vote(proposal)
    for home in (one, other, third):
        assert [id_.hex() for id_ in home.governing.assembly.adoptable(HEAD)] == [proposal]
        assert home.blamed == []


async def test_who_heard_nothing_is_shown_it_by_a_neighbour(stores: list[Store]) -> None:
    wire = Wire()
    wire.gossips = False
    one, other, third = await homes(stores, wire)
    proposal = await one.propose()
    await other.bulletin.ask(ME.peer_id)
    await other.vote(proposal)
    await third.bulletin.ask(OTHER.peer_id)
    assert third.governing.records() == other.governing.records()
    before = third.governing.records()
    await third.bulletin.ask(OTHER.peer_id)
    assert third.governing.records() == before


async def test_a_restart_forgets_no_vote(stores: list[Store]) -> None:
    wire = Wire()
    one, other, _ = await homes(stores, wire)
    proposal = await one.propose()
    await other.vote(proposal)
    again = Home(wire, stores[0], ME)
    assert again.governing.proposals() == one.governing.proposals()
    assert again.governing.records() == one.governing.records()


async def test_what_a_head_names_is_fetched_for_it(stores: list[Store]) -> None:
    """Also when the node's own head is from before, or it has none at all."""
    wire = Wire()
    wire.gossips = False
    one, other, _ = await homes(stores, wire)
    proposal = bytes.fromhex(await one.propose())
    later = msgspec.structs.replace(HEAD, number=12, amendments=(proposal,))
    other.head = None
    await other.governing.fetch(other.bulletin, [THIRD.peer_id, ME.peer_id], later)
    assert other.in_force.missing(later.amendments) == ()
    assert stores[1].has_record(proposal)


async def test_what_can_not_be_adopted_is_refused_before_it_is_signed(stores: list[Store]) -> None:
    one, *_ = await homes(stores, Wire())
    for changes, why in (
        ({"task__kind": '"digits"'}, "task.kind can't be changed"),
        ({"outer__lr": "0.7"}, "hold already"),
        ({"outer__lr": "-1"}, "outer.lr"),
        ({"lr": "1"}, "this can't be adopted"),
        ({"outer__size": "1"}, "no key"),
    ):
        with pytest.raises(ConfigError, match=why):
            await one.propose(**changes)
    with pytest.raises(ConfigError, match="--round has to be 12 or later"):
        await one.governing.propose(one.bulletin, {"outer.lr": "0.5"}, 11, "")
    with pytest.raises(ConfigError, match="the swarm ends before round 100"):
        await one.governing.propose(one.bulletin, {"outer.lr": "0.5"}, 100, "")
    assert one.governing.records() == {}
    one.head = None
    with pytest.raises(ConfigError, match="not joined yet"):
        await one.propose()


async def test_a_yes_can_not_be_taken_back(stores: list[Store]) -> None:
    one, other, _ = await homes(stores, Wire())
    proposal = await one.propose()
    await other.vote(proposal, yes=False)
    with pytest.raises(ConfigError, match="said so already"):
        await other.vote(proposal, yes=False)
    await other.vote(proposal)
    for home in (one, other):
        with pytest.raises(ConfigError, match="can't take that back"):
            await home.vote(proposal, yes=False)
    with pytest.raises(ConfigError, match="no open proposal begins with 'ffff'"):
        await other.vote("ffff")


async def test_the_operator_reads_what_was_adopted_and_when_it_holds(stores: list[Store]) -> None:
    one, *_ = await homes(stores, Wire())
    proposal = bytes.fromhex(await one.propose())
    adopting = msgspec.structs.replace(HEAD, number=10, amendments=(proposal,))
    holding = msgspec.structs.replace(adopting, number=14)
    told = []
    for head in (HEAD, adopting, msgspec.structs.replace(adopting, number=11), holding):
        one.head = head
        one.in_force.stand_on(head.amendments, head.number)
        told.append([line.split(" (")[0] for line in one.governing.news(head)])
    assert told == [
        [],
        ["adopted: from round 14 on, outer.lr = 0.35"],
        [],
        ["from this round on, outer.lr = 0.35"],
    ]
    part = one.governing.terms()
    assert (part.since_round, part.amendments, part.next_round) == (14, (proposal.hex(),), None)
    assert one.governing.proposals().proposals[0].state == "in force"


async def test_an_old_version_is_warned_when_it_can_not_follow(stores: list[Store]) -> None:
    one, other, _ = await homes(stores, Wire())
    newer = Amendment(round=9, effect=14, changes=(Setting(key="outer.size", value="1"),), why="")
    record = await other.bulletin.say(newer)
    assert record is not None
    adopting = msgspec.structs.replace(HEAD, number=10, amendments=(record.id,))
    *_, warning = one.governing.news(adopting)
    assert warning.startswith("this dhtnode can't follow, update it in time: amendment")


# What is none


def amendment(key: str) -> bytes:
    change = Setting(key=key, value="1")
    return sign(THIRD, SWARM, Amendment(round=9, effect=14, changes=(change,), why="")).wire


@pytest.mark.parametrize(
    ("reply", "reasons"),
    [
        (b"", ["bad-bulletin"]),
        (canonical(["text"]), ["bad-bulletin"]),
        (canonical([b"no record"]), ["malformed"]),
        (canonical([amendment("outer.lr")[:-1]]), ["malformed"]),
        (canonical([amendment("data.mode")]), ["bad-amendment"]),
        (canonical([amendment("outer.of_a_newer_version")]), []),
    ],
)
async def test_a_neighbours_nonsense_is_counted_against_it(
    stores: list[Store], reply: bytes, reasons: list[str]
) -> None:
    wire = Wire()
    one, *_ = await homes(stores, wire)

    async def answer(peer: str, request: bytes) -> bytes:
        return reply

    wire.answers[FOURTH.peer_id] = answer
    await one.bulletin.ask(FOURTH.peer_id)
    assert [reason for _, reason in one.blamed] == reasons


async def test_a_question_that_is_none_is_refused(stores: list[Store]) -> None:
    wire = Wire()
    await homes(stores, wire)
    for question in (b"", b"\xc1", canonical([b"short"]), canonical({"a": 1})):
        with pytest.raises(RemoteProtocolError, match="bad-bulletin"):
            await wire.answers[ME.peer_id](OTHER.peer_id, question)


async def test_a_flood_of_gossip_is_dropped(stores: list[Store]) -> None:
    wire = Wire()
    one, *_ = await homes(stores, wire)
    ballot = sign(OTHER, SWARM, Ballot(amendment=bytes(32), yes=True)).wire
    for _ in range(500):
        wire.heard[ME.peer_id](OTHER.peer_id, ballot)
    assert (OTHER.peer_id, "flood") in one.blamed
