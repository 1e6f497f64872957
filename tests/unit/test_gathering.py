"""Who is in a round: when a roster is proposed, which one is voted for, and what is learned from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.amendments import Amendment, Setting
from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed, sign
from tests.unit.parties import SWARM, WORK, by_id, commit, context, head_of, ids, people, roster_of
from training.gathering import Gathering
from training.in_force import Ids
from training.messages import (
    MAX_MEMBERS,
    WHOLE,
    Commitment,
    Head,
    Leave,
    Promise,
    Proposal,
    Ready,
    Roster,
    Vote,
    decode_value,
    encode_value,
    value_digest,
)
from training.pace import Pace
from training.partition import MAX_SHARE, capped, shares
from training.pool import RecordPool
from training.regard import Halves, Peers, Regard
from training.roster import ordered

PEOPLE = people(4)
HEAD = head_of(PEOPLE)
DEADLINE_S = 20.0


class Table:
    """One node's gathering, with what it has heard."""

    def __init__(self, me: Identity, head: Head = HEAD, **settings: Any) -> None:
        self.context = context(me, **settings)
        self.head = head
        self.pool = RecordPool(head.id)
        self.pace = Pace(self.context.terms.round)
        self.gathering = Gathering(self.context, head, self.pool, self.pace, 0.0)

    def hear(self, *records: Signed[Any], now_s: float = 0.0) -> None:
        for record in records:
            self.pool.add(record)
            if isinstance(record.body, Commitment):
                self.gathering.on_commitment(record.signer, record.body, now_s)
            elif isinstance(record.body, Proposal | Vote | Promise):
                self.gathering.agreement.on_record(record)

    def say(self, now_s: float) -> list[Signed[Any]]:
        said = self.gathering.advance(now_s)
        for record in said:
            self.pool.add(record)
        return said

    def proposed(self, now_s: float) -> tuple[str, ...] | None:
        """Signers of the roster that the node proposes now, in order."""
        for record in self.say(now_s):
            if isinstance(record.body, Proposal):
                roster = decode_value(record.body.value, Roster)
                found = [self.pool.get(id_, Commitment) for id_ in roster.commitments]
                return tuple(commitment.signer for commitment in found if commitment)
        return None


def leader(head: Head = HEAD) -> Identity:
    return by_id(ordered(head.electors, head.state, head.number, "leader")[0])


def follower(head: Head = HEAD) -> Identity:
    return by_id(ordered(head.members, head.state, head.number, "leader")[-1])


def about(kind: Callable[..., Body], identity: Identity, head: Head = HEAD) -> Signed[Body]:
    return sign(identity, SWARM, kind(round=head.number, base=head.id))


def in_order(persons: Sequence[Identity], head: Head = HEAD) -> tuple[str, ...]:
    return ordered(ids(persons), head.state, head.number, "roster")


# When a roster is proposed


def test_as_soon_as_everybody_is_in() -> None:
    table = Table(leader())
    table.hear(*(commit(identity, HEAD) for identity in PEOPLE[:3]))
    assert table.proposed(1.0) is None
    table.hear(commit(PEOPLE[3], HEAD))
    assert table.proposed(1.0) == in_order(PEOPLE)


def test_at_the_deadline_with_whoever_is_in() -> None:
    table = Table(leader())
    table.hear(*(commit(identity, HEAD) for identity in PEOPLE[:3]))
    assert table.proposed(DEADLINE_S - 0.1) is None
    assert table.proposed(DEADLINE_S) == in_order(PEOPLE[:3])


def test_never_without_a_majority_of_the_members() -> None:
    """However many newcomers there are: they are nobody's word."""
    table = Table(leader())
    table.hear(*(commit(identity, HEAD) for identity in [*PEOPLE[:2], *people(20)[4:]]))
    assert table.proposed(100 * DEADLINE_S) is None
    table.hear(commit(PEOPLE[2], HEAD))
    assert table.proposed(100 * DEADLINE_S) is not None


def test_while_work_is_missing_views_are_not_used_up() -> None:
    table = Table(follower())
    for now in range(1001):
        assert table.say(now * 10.0) == []
    table.hear(*(commit(identity, HEAD) for identity in PEOPLE))
    assert table.say(10_000.0 + 0.9 * table.pace.roster.limit_s) == [], "the leader gets its time"
    (promise,) = table.say(10_000.0 + 1.1 * table.pace.roster.limit_s)
    assert isinstance(promise.body, Promise)


def test_newcomers_that_are_ready_are_waited_for() -> None:
    newcomer = people(5)[4]
    table = Table(leader())
    table.hear(about(Ready, newcomer), *(commit(identity, HEAD) for identity in PEOPLE))
    assert table.proposed(1.0) is None
    table.hear(commit(newcomer, HEAD))
    assert table.proposed(1.0) == in_order(people(5))


def test_members_that_go_are_not() -> None:
    table = Table(leader())
    going = follower()
    table.hear(about(Leave, going), *(commit(identity, HEAD) for identity in PEOPLE if identity is not going))
    assert table.proposed(1.0) == in_order([identity for identity in PEOPLE if identity is not going])


def test_nor_are_those_who_signed_two_commitments() -> None:
    table = Table(leader())
    liar = follower()
    table.hear(*(commit(identity, HEAD) for identity in PEOPLE))
    with pytest.raises(RemoteProtocolError):
        table.hear(commit(liar, HEAD, loss_micro=1))
    assert table.proposed(1.0) == in_order([identity for identity in PEOPLE if identity is not liar])


def test_a_commitment_that_can_not_be_true_is_blamed_and_left_out() -> None:
    table = Table(leader())
    liar = follower()
    table.hear(*(commit(identity, HEAD) for identity in PEOPLE if identity is not liar))
    with pytest.raises(RemoteProtocolError) as caught:
        table.hear(commit(liar, HEAD, steps=11))
    assert (caught.value.peer, caught.value.reason) == (liar.peer_id, "bad-commitment")
    assert table.proposed(DEADLINE_S) == in_order([identity for identity in PEOPLE if identity is not liar])


def test_members_go_before_newcomers_when_the_group_is_full() -> None:
    crowd = people(MAX_MEMBERS + 20)
    members = crowd[-40:]
    head = head_of(members)
    table = Table(leader(head), head)
    table.hear(*(commit(identity, head) for identity in crowd))
    peers = table.proposed(1.0)
    assert peers is not None
    assert len(peers) == MAX_MEMBERS
    assert set(ids(members)) <= set(peers)


def test_a_founder_waits_for_its_company() -> None:
    founder = PEOPLE[0]
    head = head_of([founder], number=0)
    table = Table(founder, head, min_peers=3)
    table.hear(commit(founder, head), commit(PEOPLE[1], head))
    assert math.isinf(table.gathering.deadline_s())
    assert (table.gathering.is_ripe, table.proposed(100 * DEADLINE_S)) == (False, None)
    table.hear(commit(PEOPLE[2], head))
    assert table.gathering.is_ripe
    assert table.proposed(100 * DEADLINE_S) == in_order(PEOPLE[:3], head)


def test_a_leader_that_goes_is_not_waited_for() -> None:
    second = by_id(ordered(HEAD.members, HEAD.state, HEAD.number, "leader")[1])
    table = Table(second)
    staying = [identity for identity in PEOPLE if identity is not leader()]
    table.hear(about(Leave, leader()), *(commit(identity, HEAD) for identity in staying))
    (promise,) = table.say(1.0)
    assert isinstance(promise.body, Promise)
    assert promise.body.view == 1


def test_a_roster_that_gets_no_votes_is_not_waited_for_as_long_as_work_would_be() -> None:
    """Whoever has the proof against one of its members never votes for it."""
    table = Table(follower())
    liar = next(identity for identity in PEOPLE if identity not in (leader(), follower()))
    table.context.excluded.add(liar.peer_id)
    table.hear(*(commit(identity, HEAD) for identity in PEOPLE))
    limit_s = table.pace.roster.limit_s
    assert not votes(table, listed(PEOPLE))
    assert table.say(1.0) == table.say(1.0 + 0.9 * limit_s) == []
    assert not table.gathering.was_cut_short
    (promise,) = table.say(1.0 + 1.1 * limit_s)
    assert isinstance(promise.body, Promise)
    assert promise.body.view == 1
    assert table.gathering.was_cut_short


def test_a_roster_that_is_proposed_before_a_majority_has_worked_uses_no_views_up() -> None:
    table = Table(follower())
    commitments = [commit(leader(), HEAD), commit(people(5)[4], HEAD)]
    table.hear(*commitments)
    assert not votes(table, commitments)
    assert table.say(0.9 * DEADLINE_S) == []


# Which roster is voted for


def votes(table: Table, commitments: Sequence[Signed[Commitment]]) -> bool:
    value = encode_value(roster_of(*commitments))
    return proposes(table, value)


def proposes(table: Table, value: bytes) -> bool:
    body = Proposal(round=7, base=HEAD.id, step="roster", view=0, value=value, promises=())
    table.hear(sign(leader(), SWARM, body))
    return any(isinstance(record.body, Vote) for record in table.say(1.0))


def listed(persons: Sequence[Identity]) -> list[Signed[Commitment]]:
    return [commit(by_id(peer), HEAD) for peer in in_order(persons)]


@pytest.fixture
def voter() -> Table:
    table = Table(follower())
    table.hear(*(commit(identity, HEAD) for identity in people(5)))
    return table


def test_a_right_roster_gets_the_vote(voter: Table) -> None:
    assert votes(voter, listed(PEOPLE))


# What members count for


VOTED = head_of(PEOPLE, votes=(WHOLE, 1, WHOLE, 0))
CHANGED = (WHOLE, WHOLE, WHOLE, 0)
"""What a leader would rather have; in the order of PEOPLE, like those of VOTED."""


def in_roster_order(votes: Sequence[int], persons: Sequence[Identity] = PEOPLE) -> tuple[int, ...]:
    of = dict(zip(ids(persons), votes, strict=True))
    return tuple(of[peer] for peer in in_order(persons, VOTED))


class Minded(Regard):
    """Has an opinion of what each should count for, and lets others' pass or not."""

    def __init__(self, opinion: dict[str, int], accepts: bool, banned: Collection[str] = ()) -> None:
        self._opinion = opinion
        self._accepts = accepts
        self._banned = banned

    def proposed_votes(self, peers: Peers, before: Halves) -> Halves:
        return [self._opinion.get(peer, 0) for peer in peers]

    def accepts_votes(self, peers: Peers, votes: Halves, before: Halves) -> bool:
        return self._accepts

    def shuns(self, peer: str) -> bool:
        return peer in self._banned


def minded(me: Identity, votes: Sequence[int], accepts: bool = False, banned: Collection[str] = ()) -> Table:
    """A node with an opinion, that has heard everybody."""
    table = Table(me, VOTED)
    table.gathering._context = replace(
        table.context,
        regard=Minded(dict(zip(ids(PEOPLE), votes, strict=True)), accepts, banned),
    )
    table.hear(*(commit(identity, VOTED) for identity in PEOPLE))
    return table


def votes_in(said: Sequence[Signed[Any]]) -> list[tuple[int, ...]]:
    values = [record.body.value for record in said if isinstance(record.body, Proposal)]
    return [decode_value(value, Roster).votes for value in values]


def accepts(table: Table, votes: Sequence[int], amendments: tuple[bytes, ...] = ()) -> bool:
    listed = [commit(by_id(peer), VOTED) for peer in in_order(PEOPLE, VOTED)]
    roster = msgspec.structs.replace(roster_of(*listed, votes=votes), amendments=amendments)
    body = Proposal(round=7, base=VOTED.id, step="roster", view=0, value=encode_value(roster), promises=())
    table.hear(sign(leader(VOTED), SWARM, body))
    return any(isinstance(record.body, Vote) for record in table.say(1.0))


def test_the_first_leader_says_what_it_thinks() -> None:
    assert votes_in(minded(leader(VOTED), CHANGED).say(1.0)) == [in_roster_order(CHANGED)]


def test_later_leaders_leave_all_votes_as_they_were() -> None:
    first, second, _ = (by_id(peer) for peer in ordered(VOTED.electors, VOTED.state, 7, "leader"))
    table = minded(second, CHANGED)
    table.hear(sign(first, SWARM, Leave(round=7, base=VOTED.id)))
    promise = Promise(round=7, base=VOTED.id, step="roster", view=1, voted_view=None, voted=None)
    table.hear(sign(first, SWARM, promise))
    said = [record for _ in range(2) for record in table.say(100.0)]
    assert votes_in(said) == [in_roster_order(VOTED.votes)]


@pytest.mark.parametrize("votes", [(0, 0, 0, WHOLE), (WHOLE, 0, 0, WHOLE), (0, 0, 0, 0)])
def test_no_opinion_takes_the_swarm_from_most_of_its_electors(votes: tuple[int, ...]) -> None:
    assert votes_in(minded(leader(VOTED), votes).say(1.0)) == [in_roster_order(VOTED.votes)]
    elector = by_id(ordered(VOTED.electors, VOTED.state, 7, "leader")[-1])
    assert not accepts(minded(elector, votes, accepts=True), in_roster_order(votes))


def test_an_elector_refuses_no_votes_that_are_as_they_were_and_others_as_it_likes() -> None:
    elector = by_id(ordered(VOTED.electors, VOTED.state, 7, "leader")[-1])
    assert accepts(minded(elector, CHANGED), in_roster_order(VOTED.votes))
    assert accepts(minded(elector, CHANGED, accepts=True), in_roster_order(CHANGED))
    assert not accepts(minded(elector, CHANGED), in_roster_order(CHANGED))


def test_a_roster_names_one_vote_for_each() -> None:
    elector = by_id(ordered(VOTED.electors, VOTED.state, 7, "leader")[-1])
    for votes in ((WHOLE,) * 3, (WHOLE,) * 5):
        assert not accepts(minded(elector, CHANGED, accepts=True), votes)


def test_a_leader_leaves_out_whom_it_has_banned_and_does_not_wait_for_it() -> None:
    me = leader(VOTED)
    other = next(peer for peer in VOTED.electors if peer != me.peer_id)
    table = minded(me, VOTED.votes, banned=[other])
    assert other not in table.gathering.expected
    assert set(table.proposed(1.0) or ()) == set(ids(PEOPLE)) - {other}


def test_bans_do_not_keep_the_electors_from_being_enough() -> None:
    me = leader(VOTED)
    others = [peer for peer in VOTED.electors if peer != me.peer_id]
    assert set(minded(me, VOTED.votes, banned=others).proposed(1.0) or ()) == set(ids(PEOPLE))


def test_an_elector_refuses_whom_it_has_banned_in_the_first_view_alone() -> None:
    order = [by_id(peer) for peer in ordered(VOTED.electors, VOTED.state, 7, "leader")]
    elector, banned = order[-1], order[0].peer_id
    assert not accepts(minded(elector, VOTED.votes, banned=[banned]), in_roster_order(VOTED.votes))
    table = minded(elector, VOTED.votes, banned=[banned])
    promised = [
        sign(one, SWARM, Promise(round=7, base=VOTED.id, step="roster", view=1, voted_view=None, voted=None))
        for one in order
    ]
    table.hear(*promised[:2])
    table.say(1.0)
    listed = [commit(by_id(peer), VOTED) for peer in in_order(PEOPLE, VOTED)]
    value = encode_value(roster_of(*listed, votes=in_roster_order(VOTED.votes)))
    proofs = tuple(promise.wire for promise in promised[:2])
    body = Proposal(round=7, base=VOTED.id, step="roster", view=1, value=value, promises=proofs)
    table.hear(sign(order[1], SWARM, body))
    assert any(isinstance(record.body, Vote) for record in table.say(1.0))


def test_what_is_adopted_excuses_no_vote_and_no_vote_what_is_adopted() -> None:
    """Both must be as they were, or as the elector could think."""
    elector, wanted = by_id(ordered(VOTED.electors, VOTED.state, 7, "leader")[-1]), amendment()

    def named(these: Ids, head: Head) -> Ids:
        return these

    for accepting, adoptable in product((False, True), ((), (wanted.id,))):
        table = minded(elector, CHANGED, accepts=accepting)
        context = table.gathering._context
        context.in_force.learn(wanted)
        table.gathering._context = replace(context, adoptable=partial(named, adoptable))
        passes = accepts(table, in_roster_order(CHANGED), amendments=(wanted.id,))
        assert passes == (accepting and bool(adoptable))


def amendment() -> Signed[Amendment]:
    """One that the next head may still adopt."""
    change = Setting(key="inner.batch_size", value="16")
    return sign(PEOPLE[0], SWARM, Amendment(round=7, effect=90, changes=(change,), why=""))


def test_where_there_is_no_room_for_all_the_trusted_come_first() -> None:
    crowd = people(MAX_MEMBERS + 10)

    class Choosy(Minded):
        def matched(self, peers: Iterable[str]) -> list[str]:
            return sorted(peers, reverse=True)

    head = head_of(crowd[:1])
    table = Table(crowd[0], head)
    table.gathering._context = replace(table.context, regard=Choosy({}, accepts=True))
    table.hear(*(commit(identity, head) for identity in crowd))
    best = sorted(ids(crowd[1:]), reverse=True)[: MAX_MEMBERS - 1]
    assert set(table.proposed(DEADLINE_S) or ()) == {crowd[0].peer_id, *best}


def test_who_has_no_vote_says_nothing() -> None:
    assert minded(PEOPLE[3], CHANGED).say(100.0) == []


@pytest.mark.parametrize(
    ("offered", "votes", "carried"),
    [
        ((10, 20, 30, 1_000), (WHOLE, 1, WHOLE, 0), [10, 20, 30, 0]),
        ((0, 0, 30, 30), (1, 1, 0, 0), [1, 1, 0, 0]),
        ((10, 20, 30, 0), (0, 0, 0, 0), [10, 20, 30, 0]),
        ((0, 0), (0, 0), [1, 1]),
    ],
    ids=["no vote", "no electors dialled", "nobody has a vote", "nobody dialled"],
)
def test_electors_alone_carry_the_reduction(
    offered: tuple[int, ...], votes: tuple[int, ...], carried: list[int]
) -> None:
    assert shares(offered, votes) == carried


def test_a_roster_may_leave_some_out(voter: Table) -> None:
    assert votes(voter, listed(PEOPLE[:3]))


def test_not_without_a_majority_of_the_members(voter: Table) -> None:
    assert not votes(voter, listed([*PEOPLE[:2], people(5)[4]]))


def test_not_in_another_order(voter: Table) -> None:
    assert not votes(voter, listed(PEOPLE)[::-1])


def test_not_with_one_named_twice(voter: Table) -> None:
    assert not votes(voter, [*listed(PEOPLE), listed(PEOPLE)[-1]])


def test_not_with_a_commitment_that_was_not_seen(voter: Table) -> None:
    assert not votes(voter, [*listed(PEOPLE)[:3], commit(people(9)[8], HEAD)])
    assert voter.gathering.lacks_records


def test_the_vote_comes_when_the_commitment_does() -> None:
    table = Table(follower())
    late = listed(PEOPLE)[0]
    table.hear(*listed(PEOPLE)[1:])
    assert not votes(table, listed(PEOPLE))
    table.hear(late)
    assert not table.gathering.lacks_records
    assert any(isinstance(record.body, Vote) for record in table.say(1.0))


def test_not_for_a_commitment_that_can_not_be_true(voter: Table) -> None:
    liar = people(6)[5]
    with pytest.raises(RemoteProtocolError):
        voter.hear(commit(liar, HEAD, steps=11))
    named = {identity.peer_id: commit(identity, HEAD) for identity in PEOPLE}
    named[liar.peer_id] = commit(liar, HEAD, steps=11)
    assert not votes(voter, [named[peer] for peer in in_order([*PEOPLE, liar])])


@pytest.mark.parametrize("value", [b"", b"\x80", encode_value(HEAD)], ids=["nothing", "empty", "head"])
def test_not_for_what_is_no_roster(voter: Table, value: bytes) -> None:
    assert not proposes(voter, value)


# The certified roster


def test_a_decided_roster_becomes_a_plan() -> None:
    table = Table(follower())
    commitments = listed(PEOPLE)
    assert votes_decide(table, commitments)
    assert table.gathering.plan(2.0) is None, "a commitment is missing"
    table.hear(*commitments)
    plan = table.gathering.plan(2.0)
    assert plan is not None
    assert plan.members == in_order(PEOPLE)
    assert (plan.round, plan.base) == (7, HEAD.id)
    assert [index for owned in plan.ranges_N for index in owned] == list(range(8))


def test_not_even_a_dishonest_majority_gets_one_into_a_plan_twice() -> None:
    table = Table(follower())
    both = [commit(leader(), HEAD), commit(leader(), HEAD, loss_micro=1)]
    table.hear(both[0])
    with pytest.raises(RemoteProtocolError):
        table.hear(both[1])
    assert votes_decide(table, both)
    assert table.gathering.plan(2.0) is None


def votes_decide(table: Table, commitments: Sequence[Signed[Commitment]]) -> bool:
    value = encode_value(roster_of(*commitments))
    body = Proposal(round=7, base=HEAD.id, step="roster", view=0, value=value, promises=())
    table.hear(sign(leader(), SWARM, body))
    for identity in PEOPLE[:3]:
        vote = Vote(round=7, base=HEAD.id, step="roster", view=0, value=value_digest(value))
        table.hear(sign(identity, SWARM, vote))
    return table.gathering.agreement.decision is not None


def learned(me: Identity, delays_s: dict[Identity, float], head: Head = HEAD) -> float | None:
    """The train time that a node learns when commitments come after these delays."""
    table = Table(me, head, min_deadline_s=0.001, slack=1.0)
    for identity, delay_s in delays_s.items():
        table.hear(commit(identity, head), now_s=delay_s)
    peers = ordered(ids(list(delays_s)), head.state, head.number, "roster")
    value = encode_value(roster_of(*(commit(by_id(peer), head) for peer in peers)))
    body = Proposal(round=head.number, base=head.id, step="roster", view=0, value=value, promises=())
    table.hear(sign(leader(head), SWARM, body))
    for peer in head.members:
        vote = Vote(round=head.number, base=head.id, step="roster", view=0, value=value_digest(value))
        table.hear(sign(by_id(peer), SWARM, vote))
    assert table.gathering.plan(100.0) is not None
    return table.pace.train.limit_s if table.pace.train.learned else None


def test_the_middle_member_sets_the_pace() -> None:
    assert learned(PEOPLE[0], dict(zip(PEOPLE, [3.0, 4.0, 5.0, 60.0], strict=True))) == 4.0


def test_newcomers_do_not() -> None:
    delays_s = dict(zip(people(7), [3.0, 4.0, 5.0, 6.0, 90.0, 90.0, 90.0], strict=True))
    assert learned(PEOPLE[0], delays_s) == 4.0


def test_a_slow_newcomer_learns_from_the_members_that_it_saw_working() -> None:
    newcomer = people(5)[4]
    delays_s = dict(zip(people(5), [0.0, 0.0, 5.0, 6.0, 90.0], strict=True))
    assert learned(newcomer, delays_s) == 5.0
    assert learned(newcomer, dict(zip(people(5), [0.0, 0.0, 0.0, 0.0, 90.0], strict=True))) is None


def test_a_slow_founder_sets_no_pace_for_others() -> None:
    head = head_of(PEOPLE[:1])
    assert learned(PEOPLE[0], dict(zip(PEOPLE, [90.0, 3.0, 3.0, 3.0], strict=True)), head) is None
    assert learned(PEOPLE[0], {PEOPLE[0]: 90.0}, head) == 90.0


# Shares of the reduction


def test_no_claim_of_bandwidth_buys_the_whole_model() -> None:
    assert capped([10, 10, 2**20, 10]) == [10, 10, MAX_SHARE * 10, 10]


def test_who_can_not_be_dialled_does_not_count() -> None:
    assert capped([0, 0, 0, 50]) == [0, 0, 0, 50]
    assert capped([0, 0, 10, 100]) == [0, 0, 10, 100]
    assert capped([0, 0]) == [0, 0]


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=64))
def test_a_cap_never_gives_and_never_silences(bandwidths: list[int]) -> None:
    after = capped(bandwidths)
    assert all(new <= old and bool(new) == bool(old) for old, new in zip(bandwidths, after, strict=True))


# What people are told


def test_reasons() -> None:
    table = Table(leader())
    assert table.gathering.reason(1.0) == "training; 0 of 4 commitments seen"
    table.hear(table.gathering.commit(WORK, 2.0))
    assert table.gathering.reason(5.0) == "waiting for 3 of 4 commitments, 15.0 s left"
    assert table.gathering.reason(25.0) == "waiting for a majority: 1 commitments, 3 of the 4 electors needed"
    table.say(25.0)
    table.hear(*(commit(identity, HEAD) for identity in PEOPLE if identity is not leader()))
    table.say(26.0)
    assert table.gathering.reason(26.0) == "roster proposed: 1 of 4 votes, need 3"


def test_a_founders_reason() -> None:
    head = head_of(PEOPLE[:1], number=0)
    table = Table(PEOPLE[0], head, min_peers=4)
    table.hear(table.gathering.commit(WORK, 2.0))
    assert table.gathering.reason(500.0) == "waiting for 3 of 4 commitments before the first round"


def test_own_commitment_says_what_the_work_was() -> None:
    work = replace(WORK, segments=digest("segments"))
    record = Table(leader()).gathering.commit(work, 2.0)
    assert record.signer == leader().peer_id
    expected = msgspec.structs.replace(
        commit(leader(), HEAD).body, parts=bytes(32), segments=digest("segments")
    )
    assert record.body == expected


def test_own_commitment_dates_what_the_node_wants_dated() -> None:
    asked: list[int] = []

    def dated(round_no: int) -> bytes:
        asked.append(round_no)
        return digest("a record")

    table = Table(leader())
    gathering = Gathering(replace(table.context, dated=dated), HEAD, table.pool, table.pace, 0.0)
    assert gathering.commit(WORK, 2.0).body.dated == digest("a record")
    assert asked == [HEAD.number]
