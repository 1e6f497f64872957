"""Registering data: a commitment names it before anybody sees it, so who has seen it can't be earlier."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dhtnode.app.dating import Undated
from dhtnode.app.sketches import MAX_WAITING, Sketches
from dhtnode.errors import ConfigError, RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import DataSection
from dhtnode.proposals import ShardPart
from dhtnode.records import Signed, canonical, open_record, sign
from dhtnode.reputation import ReputationSection
from dhtnode.store import Store
from rewards.book import Book
from rewards.data import CLAIMS_PER_KEY, SKETCH_BYTES, Registration, sketch
from rewards.entries import ANY_HEAD, Kind, unpacked
from rewards.ledger import rules_of
from rewards.rounds import open_answer, question_for
from rewards.stored import stored_rules
from tests.unit.boards import (
    CHUNK,
    CONTENT,
    DATA,
    FOURTH,
    HEAD,
    HISTORY,
    ME,
    OTHER,
    PEOPLE,
    TERMS,
    THIRD,
    Home,
    Wire,
    homes,
)
from tests.unit.parties import SWARM, people
from tests.unit.rounds import fetched, next_round
from training.chain import found
from training.events import Adopt
from validation.reputation import Reputation

STRANGER = people(5)[4]
WAITS = "waiting for the next round"
PARAMETERS = 10**9


async def close(
    all_homes: Sequence[Home],
    without: Collection[Identity] = (),
    deaf: Collection[Home] = (),
    dated: Mapping[str, bytes] | None = None,
) -> Adopt:
    """A round that all play: `deaf` ones do not learn of it; others may name what they like."""
    before = all_homes[0].head
    assert before is not None
    playing = [home for home in all_homes if home.me not in without]
    named = {home.me.peer_id: home.shards.dated(before.number) for home in playing}
    known = {peer: id_ for peer, id_ in named.items() if id_ is not None}
    persons = [person for person in PEOPLE if person not in without]
    adopted = next_round(before, persons, dated={**known, **(dated or {})})
    for home in all_homes:
        if home not in deaf:
            home.go(adopted)
    await settle(all_homes)
    return adopted


async def settle(all_homes: Sequence[Home]) -> None:
    """Say what was dated, and look at what others have said."""
    for _ in range(2):
        for home in all_homes:
            await home.shards.say_dated(home.bulletin)
            await home.shards.look(home.bulletin)


def shard(who: Identity, first: int = 0, chunks: int = 1, **changes: Any) -> Signed[Registration]:
    content = CONTENT[first * CHUNK : (first + chunks) * CHUNK]
    wish = {"round": 9, "domain": "law", "first": first, "chunks": chunks, "salt": bytes(16)}
    body = Registration(**{**wish, "tokens": len(content), "sketch": sketch(content), **changes})
    return sign(who, SWARM, body)


def registered(home: Home) -> list[ShardPart]:
    return [part for part in home.shards.listed().shards if part.state == "registered"]


def root(home: Home) -> bytes:
    return Book(home.store, rules_of(TERMS, PARAMETERS)).root()


def heads_of_shards(home: Home) -> set[bytes]:
    packed = home.store.entries(bytes(8), b"\xff" * 8)
    return {entry.head for entry in unpacked(packed) if entry.kind == Kind.SHARD}


# The usual way


async def test_a_shard_counts_from_the_next_round_on_and_for_who_was_first(stores: list[Store]) -> None:
    one, other, third = everybody = await homes(stores, Wire())
    wish = await one.register(chunks=4)
    assert (wish.state, wish.id, wish.round, wish.chunks) == (WAITS, None, None, 4)
    await settle(everybody)
    assert [part.state for part in one.shards.listed().shards] == [WAITS]
    assert other.shards.listed().shards == (), "nobody is told before the round dates it"
    await close(everybody)
    await other.register(domain="code", first=2, chunks=4)
    last = await close(everybody)
    listed = [home.shards.listed() for home in everybody]
    assert listed[0] == listed[1] == listed[2]
    assert listed[0].chunks == 9
    assert [(part.by, part.round, part.own) for part in listed[0].shards] == [
        (ME.peer_id, 9, 4),
        (OTHER.peer_id, 10, 2),
    ]
    assert len({root(home) for home in everybody}) == 1
    assert last.certificate.id in heads_of_shards(third)
    assert third.blamed == []


async def test_data_is_paid_when_a_round_uses_it(stores: list[Store]) -> None:
    """What round 9 dates counts for the rounds from 9 on."""
    one, other, third = everybody = await homes(stores, Wire())
    await one.register(chunks=9)
    for _ in range(2):
        await close(everybody)
    assert one.standing.rewards().by_term["data"] > 0
    assert other.standing.rewards().by_term["data"] == 0
    why = one.standing.why(Reputation(TERMS.reputation))
    assert any("data it has registered" in part.cause for part in why)
    assert third.standing.dating.claims == one.standing.dating.claims


async def test_wishes_wait_in_line_for_one_round_each(stores: list[Store]) -> None:
    one, other, _ = everybody = await homes(stores, Wire())
    for first in (4, 0, 2):
        await one.register(first=first, chunks=1)
    for _ in range(3):
        await close(everybody)
    assert [(part.round, part.first) for part in registered(other)] == [(9, 4), (10, 0), (11, 2)]
    assert one.shards.dated(12) is None


async def test_a_round_that_closes_without_the_node_leaves_its_wish_to_the_next(stores: list[Store]) -> None:
    one, other, _ = everybody = await homes(stores, Wire())
    await one.register()
    named = one.shards.dated(9)
    assert named is not None
    await close(everybody, without=[ME])
    assert registered(other) == []
    assert [part.state for part in one.shards.listed().shards] == [WAITS]
    assert one.shards.dated(10) != named, "signed for its own round"
    await close(everybody)
    assert [(part.by, part.round) for part in registered(other)] == [(ME.peer_id, 10)]


async def test_who_commits_to_no_round_registers_nothing(stores: list[Store]) -> None:
    one, other, _ = everybody = await homes(stores, Wire())
    await one.register()
    for _ in range(3):
        await close(everybody, without=[ME])
    assert [part.state for part in one.shards.listed().shards] == [WAITS]
    assert registered(other) == []
    assert one.shards.records() == {}


async def test_a_restart_between_naming_and_showing_loses_nothing(stores: list[Store]) -> None:
    """Killed after its commitment was sent: the round closes, and what it dates is made again."""
    wire = Wire()
    one, other, third = await homes(stores, wire)
    await one.register()
    named = one.shards.dated(9)
    assert named is not None
    one = await one.again(wire).begin()
    assert one.shards.dated(9) == named, "asked again, it names the same"
    adopted = next_round(HEAD, PEOPLE, dated={ME.peer_id: named})
    for home in (one, other, third):
        home.go(adopted)
    one = await one.again(wire).begin()
    await settle([one, other, third])
    assert [part.id for part in registered(other)] == [named.hex()]
    assert one.shards.listed() == other.shards.listed()


async def test_a_restart_keeps_what_was_registered(stores: list[Store]) -> None:
    wire = Wire()
    one, *_ = everybody = await homes(stores, wire)
    await one.register()
    await close(everybody)
    await one.register(first=5)
    again = one.again(wire)
    assert again.shards.listed() == one.shards.listed()
    assert again.standing.dating.claims == one.standing.dating.claims
    manifest: Any = SimpleNamespace(terms=TERMS, swarm_id=SWARM)
    read = stored_rules(one.store, manifest, 10, PARAMETERS)
    assert read.registry.claims == one.standing.dating.claims, "who reads the store without the node"


async def test_no_such_shard_is_refused(stores: list[Store]) -> None:
    one, *_ = everybody = await homes(stores, Wire())
    for first, chunks, why in ((8, 2, "names chunks"), (9, 0, "less than a window"), (0, 10, "names chunks")):
        with pytest.raises(ConfigError, match=why):
            await one.register(first=first, chunks=chunks)
    with pytest.raises(ConfigError, match="domain"):
        await one.register(domain="Law!")
    await one.register()
    with pytest.raises(ConfigError, match="registered already, or waits"):
        await one.register()
    await close(everybody)
    with pytest.raises(ConfigError, match="registered already, or waits"):
        await one.register()
    one.head = None
    with pytest.raises(ConfigError, match="not joined yet"):
        await one.register()


async def test_no_more_wishes_wait_than_count(stores: list[Store]) -> None:
    one, *_ = await homes(stores, Wire())
    for number in range(CLAIMS_PER_KEY):
        await one.register(domain=f"law-{number}", chunks=1)
    with pytest.raises(ConfigError, match="64 shards of a key count"):
        await one.register(domain="one-more", chunks=1)


# Who wants to have been first


async def test_who_has_seen_a_registration_can_not_be_earlier(stores: list[Store]) -> None:
    one, other, third = everybody = await homes(stores, Wire())
    await one.register(chunks=4)
    await close(everybody)
    (first,) = registered(other)
    backdated = [shard(THIRD, chunks=4, round=round_no) for round_no in (0, 8, 9)]
    for theft in backdated:
        with pytest.raises(RemoteProtocolError, match="bad-registration"):
            other.shards.take(theft, None)
        assert not other.shards.take(theft, None), "held against its signer once"
        assert not other.shards.take(shard(THIRD, chunks=4, round=10), None), "still to come"
    late = shard(THIRD, chunks=4, round=10)
    await close(everybody, dated={THIRD.peer_id: late.id})
    third.bulletin.hear(late)
    for home in everybody:
        home.bulletin.hear(late)
    await settle(everybody)
    assert {part.id: part.own for part in registered(other)} == {first.id: 4, late.id.hex(): 0}


async def test_who_guesses_what_a_commitment_names_can_not_tell(stores: list[Store]) -> None:
    """All but the salt can be tried out while the round still runs."""
    one, *_ = await homes(stores, Wire())
    await one.register(chunks=1)
    guess = shard(ME)
    assert one.shards.dated(9) != guess.id
    await close([one])
    (shown,) = one.shards.records().values()
    body = open_record(shown, SWARM, {Registration.KIND: Registration}).body
    assert msgspec.structs.replace(body, salt=guess.body.salt) == guess.body


async def test_nobody_else_can_use_a_name_in_a_commitment(stores: list[Store]) -> None:
    """A commitment names a record of its own signer, of its own round."""
    one, *_ = everybody = await homes(stores, Wire())
    mine, elsewhere = shard(THIRD), shard(OTHER, round=8)
    await close(everybody, dated={OTHER.peer_id: mine.id, FOURTH.peer_id: shard(FOURTH).id})
    for theft in (mine, elsewhere):
        with pytest.raises(RemoteProtocolError, match="bad-registration"):
            one.shards.take(theft, None)
    assert not one.shards.take(shard(STRANGER), None), "was in no round"
    assert heads_of_shards(one) == set()


async def test_a_theft_in_a_neighbours_answer_does_not_hide_what_comes_after_it(
    stores: list[Store],
) -> None:
    wire = Wire()
    one, *_ = everybody = await homes(stores, wire)
    good = shard(OTHER, first=1)
    await close(everybody, dated={OTHER.peer_id: good.id})

    async def answer(peer: str, request: bytes) -> bytes:
        return canonical([shard(THIRD).wire, good.wire])

    wire.answers[FOURTH.peer_id] = answer
    for _ in range(2):
        await one.bulletin.ask(FOURTH.peer_id)
        await settle([one])
    assert one.blamed == [(THIRD.peer_id, "bad-registration")]
    assert [part.id for part in registered(one)] == [good.id.hex()]


async def test_floods_and_what_is_to_come_take_up_no_room(stores: list[Store]) -> None:
    one, *_ = await homes(stores, Wire())
    flood = [shard(OTHER, round=9 + number) for number in range(CLAIMS_PER_KEY + 1)]
    for record in flood:
        assert not one.shards.take(record, None)
        await close([one], dated={OTHER.peer_id: record.id})
        one.bulletin.hear(record)
        await settle([one])
    assert set(one.shards.records()) == {record.id for record in flood[:-1]}
    with pytest.raises(RemoteProtocolError, match="names chunks"):
        one.shards.take(shard(OTHER, first=9), None)
    with pytest.raises(RemoteProtocolError, match="names chunks"):
        one.shards.take(sign(OTHER, SWARM, msgspec.structs.replace(shard(OTHER).body, chunks=0)), None)
    with pytest.raises(RemoteProtocolError, match="another size"):
        one.shards.take(shard(OTHER, tokens=CHUNK + 1), None)


async def test_a_false_sketch_counts_nowhere_and_is_looked_at_once(stores: list[Store]) -> None:
    wire = Wire()
    one, *_ = everybody = await homes(stores, wire)
    false, true = shard(FOURTH, sketch=bytes(SKETCH_BYTES)), shard(OTHER, first=3)
    await close(everybody, dated={FOURTH.peer_id: false.id, OTHER.peer_id: true.id})
    for home, order in zip(everybody, ((false, true), (true, false), (true, false)), strict=True):
        for record in order:
            home.bulletin.hear(record)
        await settle([home])
    for home in everybody:
        assert home.blamed == [(FOURTH.peer_id, "bad-registration")]
        assert [part.id for part in registered(home)] == [true.id.hex()]
        assert not home.shards.take(false, None)
    assert len({root(home) for home in everybody}) == 1
    again = one.again(wire)
    with pytest.raises(RemoteProtocolError, match="its sketch"):
        again.shards.take(false, None)


async def test_a_flood_of_sketches_holds_up_its_own_signer_alone(stores: list[Store]) -> None:
    sketches = Sketches(stores[0], DATA, CONTENT)
    flood = [shard(OTHER, round=number, sketch=bytes(SKETCH_BYTES)) for number in range(MAX_WAITING + 3)]
    assert [sketches.verdict(one) for one in flood] == [None] * len(flood)
    first = await sketches.look()
    assert first in flood
    for one in (shard(THIRD), shard(FOURTH)):
        assert sketches.verdict(one) is None
    looked = [await sketches.look() for _ in range(MAX_WAITING + 2)]
    assert {one.signer for one in looked[:2] if one} == {THIRD.peer_id, FOURTH.peer_id}
    assert len(looked) - looked.count(None) == MAX_WAITING + 1, "more of one key do not wait"
    assert sketches.verdict(shard(THIRD)) is True
    assert first is not None
    assert sketches.verdict(first) is Sketches(stores[0], DATA, CONTENT).verdict(first) is False
    private = DataSection(mode="private")
    assert Sketches(stores[0], private, b"").verdict(shard(THIRD, sketch=bytes(SKETCH_BYTES))) is True


# Who was elsewhere


async def test_what_a_left_branch_has_dated_waits_for_a_round_again(stores: list[Store]) -> None:
    """Two nodes found a branch of their own, register there, and come back."""
    one, other, third = everybody = await homes(stores, Wire())
    away = [one, other]
    await one.register(chunks=2)
    alone = Adopt(found(ME, SWARM, HEAD, b""), ())
    for home in away:
        home.go(alone)
    await close(away, without=[THIRD, FOURTH])
    assert [part.round for part in registered(other)] == [9]
    astray = next(iter(one.shards.records().values()))
    main = [await close([third], without=[ME, OTHER])]
    assert registered(third) == [], "heard of it, and its signer was in no such round here"
    assert third.blamed == []
    main.append(await close([third], without=[ME, OTHER]))
    for home in away:
        home.go(fetched(main[-1]))
        catch_up(home, third)
        await settle([home])
        assert registered(home) == []
        assert heads_of_shards(home) == set()
        assert home.store.all_records(Registration.KIND) == []
    assert astray not in other.shards.records().values()
    await close(everybody)
    for home in everybody:
        assert [(part.by, part.round, part.own) for part in registered(home)] == [(ME.peer_id, 11, 2)]
    assert len({root(home) for home in everybody}) == 1
    assert one.blamed == other.blamed == third.blamed == []


def catch_up(home: Home, shower: Home) -> None:
    """Fetch the rounds that a node lacks from one that has them."""
    while (head := home.standing.lacking(home.core.holdings.since)) is not None:
        wire = shower.standing.answer_rounds(question_for(head), "asker")
        home.standing.take_rounds(open_answer(wire, head, SWARM, "shower"), home.core)


@pytest.mark.parametrize("heads", [1, 2])
async def test_what_a_missing_round_dates_counts_when_that_is_here(stores: list[Store], heads: int) -> None:
    """Also where the round's head is here, and not what it was made of."""
    wire = Wire()
    one, other, third = everybody = await homes(stores, wire)
    await one.register()
    closed = [await close(everybody, deaf=[third]), await close([one, other])]
    for adopted in closed[-heads:]:
        third.go(fetched(adopted))
    await third.bulletin.ask(ME.peer_id)
    await settle([third])
    assert registered(third) == []
    catch_up(third, one)
    await third.bulletin.ask(ME.peer_id)
    await settle([third])
    assert [part.round for part in registered(third)] == [9]
    assert root(third) == root(one)
    assert third.blamed == []


async def test_who_never_held_a_round_believes_the_signer_and_who_did_takes_nothing_more(
    stores: list[Store],
) -> None:
    """Evidence of eight rounds is open: rounds before are folded away, here the first eight."""
    terms = msgspec.structs.replace(TERMS, reputation=ReputationSection(open_rounds=4))
    there = Home(Wire(), stores[0], ME, (*HISTORY, *more_rounds(HISTORY[-1], 4)), terms)
    late = Home(Wire(), stores[1], OTHER, (fetched(more_rounds(HISTORY[-1], 4)[-1]),), terms)
    claim = shard(THIRD, round=2)
    assert there.standing.dating.head_of(claim) == Undated.UNKNOWN
    assert late.standing.dating.head_of(claim) == ANY_HEAD
    assert late.standing.dating.head_of(shard(THIRD, round=9)) == Undated.UNKNOWN, "it will be fetched"
    for home in (there, late):
        home.bulletin.hear(claim)
        await settle([home])
        assert home.blamed == []
    assert registered(there) == []
    assert [part.round for part in registered(late)] == [2]
    assert heads_of_shards(late) == {ANY_HEAD}
    again = Home(Wire(), stores[0], ME, (), terms)
    assert again.standing.dating.head_of(claim) == Undated.UNKNOWN, "also after a restart"


def more_rounds(after: Adopt, count: int) -> list[Adopt]:
    rounds = [after]
    for _ in range(count):
        rounds.append(next_round(rounds[-1].certificate.head, PEOPLE))
    return rounds[1:]
