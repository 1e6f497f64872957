"""A node's life between rounds: following heavier heads, going on alone, stopping, and the end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.amendments import Amendment, Setting
from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed, sign
from tests.unit.parties import SWARM, WORK, certified, commit, context, head_of, people, person, roster_of
from training import early
from training.chain import NOTHING, Certificate, found
from training.events import (
    Adopt,
    AskPeer,
    Blame,
    CannotFollow,
    Effect,
    FetchState,
    Halt,
    HeadOffered,
    Heard,
    Publish,
    RecordArrived,
    StateFetched,
    StateMissing,
    Stop,
    Tick,
    Train,
    Trained,
)
from training.member import ASK_PAUSE_S, FETCH_PAUSE_S, MAX_FETCH_PAUSE_S, OUTDATED, Member, base_of, describe
from training.messages import Commitment, Head, Leave, Proposal, Ready, Vote, encode_value
from training.roster import ordered
from training.round import Phase
from training.sync import open_sync_reply, sync_request

PEOPLE = people(4)
ME = PEOPLE[0]
HEAD = head_of(PEOPLE)
HERE = certified(PEOPLE, HEAD)


def later(number: int, tokens: int | None = None, **changes: Any) -> Certificate:
    """A head of the same chain that is ahead of HEAD by some rounds."""
    settings_: dict[str, Any] = {
        "number": number,
        "parent": digest("parent", number),
        "tokens": tokens or number * 1000,
        "state": digest("state", number),
    }
    return certified(PEOPLE, head_of(PEOPLE, **{**settings_, **changes}))


def member(me: Identity = ME, own: list[Signed[Any]] | None = None, **round_settings: Any) -> Member:
    """A member that stands on HEAD."""
    standing = Member(context(me, **round_settings), 0.0)
    standing.resume(HERE, own or [], 0.0)
    return standing


def kinds(effects: list[Effect]) -> list[str]:
    """Names of effects, published records by their kind."""
    return [
        effect.record.body.KIND if isinstance(effect, Publish) else type(effect).__name__
        for effect in effects
    ]


def ready(number: int, base: bytes = HEAD.id) -> Signed[Body]:
    return sign(person(number), SWARM, Ready(round=7, base=base))


# Following


def test_a_heavier_head_is_fetched_beside_the_own_round() -> None:
    here = member()
    ahead = later(9)
    assert here.on(HeadOffered(ahead), 1.0) == [FetchState(ahead)]
    assert here.round is not None
    assert here.round.phase is Phase.TRAIN
    effects = here.on(StateFetched(ahead.id), 5.0)
    assert effects[:2] == [Halt(HEAD.id), Adopt(ahead, ())]
    assert here.certificate is ahead
    assert isinstance(effects[2], Train)


@pytest.mark.parametrize(
    "offered", [HERE, later(6), later(9, tokens=6_999)], ids=["same", "older", "lighter"]
)
def test_another_head_is_not(offered: Certificate) -> None:
    assert member().on(HeadOffered(offered), 1.0) == []


def test_one_state_at_a_time_unless_it_is_gone_by_now() -> None:
    here = member()
    here.on(HeadOffered(later(9)), 1.0)
    assert here.on(HeadOffered(later(9 + OUTDATED - 1)), 2.0) == []
    newest = later(9 + OUTDATED)
    assert here.on(HeadOffered(newest), 2.0) == [FetchState(newest)]
    assert here.on(StateFetched(later(9).id), 3.0) == [], "no longer wanted"


def test_a_state_that_nobody_has_is_asked_for_less_and_less_often() -> None:
    here = member(stall_s=86_400.0)
    ahead = later(9)
    now_s, pauses_s = 0.0, []
    for _ in range(9):
        assert here.on(HeadOffered(ahead), now_s) == [FetchState(ahead)]
        assert here.on(StateMissing(ahead.id), now_s) == []
        pause_s = next(
            wait / 10
            for wait in range(10_000)
            if here.on(HeadOffered(ahead), now_s + wait / 10) == [FetchState(ahead)]
        )
        here.on(StateMissing(ahead.id), now_s)
        pauses_s.append(pause_s)
        now_s += 1_000.0
    assert pauses_s[0] == FETCH_PAUSE_S
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == MAX_FETCH_PAUSE_S


def test_another_head_is_fetched_while_one_can_not_be_had() -> None:
    here = member()
    here.on(HeadOffered(later(2**40)), 1.0)
    here.on(StateMissing(later(2**40).id), 2.0)
    assert here.on(HeadOffered(later(9)), 2.1) == [FetchState(later(9))]


def test_made_up_heads_without_end_take_no_room() -> None:
    here = member()
    for number in range(1000):
        fake = later(10**6 + number)
        here.on(HeadOffered(fake), float(number))
        here.on(StateMissing(fake.id), float(number))
    assert len(here._failed) <= 64


def test_a_child_of_the_own_head_is_followed_before_its_state_is_fetched() -> None:
    here = member()
    child = later(8, parent=HEAD.id)
    assert not any(isinstance(effect, FetchState) for effect in here.on(HeadOffered(child), 1.0))
    limit_s = here.pace.reduce.limit_s
    assert FetchState(child) not in here.on(Tick(), 1.0 + 3.9 * limit_s)
    assert FetchState(child) in here.on(Tick(), 1.0 + 4.1 * limit_s)


def test_the_head_that_was_left_is_gone_back_to_when_its_quorum_is_heard_of() -> None:
    here = member()
    alone = found(ME, SWARM, HEAD, b"")
    here.resume(alone, [], 100.0)

    def hear(identity: Identity) -> None:
        here.on(RecordArrived(commit(identity, alone.head), identity.peer_id), 101.0)
        here.on(Heard(identity.peer_id), 101.0)

    hear(PEOPLE[1])
    assert here.on(HeadOffered(HERE), 101.0) == []
    hear(PEOPLE[2])
    assert here.on(HeadOffered(HERE), 101.0) == [FetchState(HERE)]


def test_coming_back_to_a_head_means_being_bound_by_what_was_said_there() -> None:
    here = member()
    (publish, *_) = here.on(Trained(HEAD.id, WORK), 1.0)
    assert isinstance(publish, Publish)
    ahead = later(9)
    here.on(HeadOffered(ahead), 2.0)
    here.on(StateFetched(ahead.id), 2.0)
    effects = here.resume(HERE, [], 3.0)
    assert "Train" not in kinds(effects)
    assert here.round is not None
    assert here.round.phase is Phase.COMMIT
    assert publish.record in here.round.pool


# Going on alone


def test_alone_after_the_stall_time_with_the_parents_state() -> None:
    here = member(stall_s=60.0, first_deadline_s=10.0)
    assert here.on(Tick(), 59.9) == []
    effects = here.on(Tick(), 60.0 + 3 * 10.0)
    assert kinds(effects) == ["Halt", "Adopt", "Train"]
    assert here.certificate is not None
    head = here.certificate.head
    assert (head.parent, head.state, head.marks, head.members) == (HEAD.id, HEAD.state, 1, (ME.peer_id,))


def test_not_while_a_quorum_is_heard_of() -> None:
    here = member(stall_s=60.0, first_deadline_s=10.0)
    for now in range(0, 1000, 10):
        for peer in HEAD.members[1:3]:
            here.on(Heard(peer), float(now))
        assert here.on(Tick(), float(now)) == []


def test_old_words_repeated_by_others_are_no_sign_of_life() -> None:
    here = member(stall_s=60.0, first_deadline_s=10.0)
    for now in range(100):
        for identity in PEOPLE[1:]:
            here.on(RecordArrived(commit(identity, HEAD), person(99).peer_id), float(now))
    assert here.certificate is not None
    assert here.certificate.head.marks == 1


def test_not_while_leaving() -> None:
    here = member(stall_s=60.0, first_deadline_s=10.0)
    here.on(Trained(HEAD.id, WORK), 1.0)
    here.stopping = True
    assert "Adopt" not in kinds(here.on(Tick(), 1000.0))


# Stopping


def test_stopping_in_training_leaves_at_once() -> None:
    here = member()
    effects = here.on(Stop(), 1.0)
    assert kinds(effects) == ["Halt", "leave", "Finished"]
    assert here.on(Stop(), 2.0) == []


def test_stopping_without_a_round_ends_at_once() -> None:
    nobody = Member(context(ME), 0.0)
    assert kinds(nobody.on(Stop(), 1.0)) == ["Finished"]


def test_stopping_among_others_finishes_the_round() -> None:
    here = member()
    here.on(Trained(HEAD.id, WORK), 1.0)
    for identity in PEOPLE[1:3]:
        here.on(RecordArrived(commit(identity, HEAD), ""), 1.0)
    assert "Finished" not in kinds(here.on(Stop(), 1.0))
    ahead = later(9)
    here.on(HeadOffered(ahead), 2.0)
    effects = here.on(StateFetched(ahead.id), 3.0)
    assert kinds(effects) == ["Halt", "Adopt", "Halt", "leave", "Finished"]


def test_stopping_does_not_wait_for_ever() -> None:
    here = member()
    here.on(Trained(HEAD.id, WORK), 1.0)
    for identity in PEOPLE[1:3]:
        here.on(RecordArrived(commit(identity, HEAD), ""), 1.0)
    here.on(Stop(), 1.0)
    patience_s = 4 * here.pace.reduce.limit_s + here.pace.close.limit_s
    assert "Finished" not in kinds(here.on(Tick(), 0.9 + patience_s))
    assert "Finished" in kinds(here.on(Tick(), 1.1 + patience_s))


def test_stopping_without_a_majority_at_work_leaves_at_once() -> None:
    here = member()
    here.on(Trained(HEAD.id, WORK), 1.0)
    effects = here.on(Stop(), 1.0)
    assert kinds(effects) == ["Halt", "leave", "Finished"]
    assert (
        [type(record.body) for record in here.round.pool.all()] == [Commitment, Leave]
        if here.round
        else False
    )


# The end


def finished_member() -> Member:
    here = Member(context(ME, rounds=7, stall_s=60.0), 0.0)
    assert kinds(here.resume(HERE, [], 0.0)) == ["AskPeer"] * 3
    assert here.round is None
    return here


def arrive(here: Member, identity: Identity, now_s: float, head: Head = HEAD) -> list[Effect]:
    here.on_sync_request(sync_request(head, None), identity.peer_id, now_s)
    return here.on(Tick(), now_s)


def test_who_is_done_stays_until_the_others_are() -> None:
    here = finished_member()
    for identity in PEOPLE[1:3]:
        assert arrive(here, identity, 10.0) == []
    assert arrive(here, PEOPLE[3], 10.0, head_of(PEOPLE, tokens=1)) == [], "on another head"
    assert kinds(arrive(here, PEOPLE[3], 11.0)) == ["Finished"]


def test_who_is_done_lets_the_others_know_before_it_goes() -> None:
    here = finished_member()
    for identity in PEOPLE[1:]:
        assert arrive(here, identity, 0.1) == []
    assert kinds(here.on(Tick(), here.pace.reduce.limit_s + here.pace.close.limit_s)) == ["Finished"]


def test_who_is_done_waits_for_those_who_missed_the_last_roster() -> None:
    here = member(rounds=9)
    newcomer = person(8)
    here.on(RecordArrived(commit(newcomer, HEAD), newcomer.peer_id), 1.0)
    here.on(Heard(newcomer.peer_id), 1.0)
    last = later(9)
    here.on(HeadOffered(last), 2.0)
    asked = [effect.peer for effect in here.on(StateFetched(last.id), 2.0) if isinstance(effect, AskPeer)]
    assert newcomer.peer_id in asked
    for identity in PEOPLE[1:]:
        arrive(here, identity, 3.0, last.head)
    assert here.on(Tick(), 20.0) == []
    assert kinds(arrive(here, newcomer, 21.0, last.head)) == ["Finished"]


def test_who_is_done_does_not_wait_for_the_dead() -> None:
    here = finished_member()
    assert here.on(Tick(), here.pace.stall_s - 0.1) == []
    assert kinds(here.on(Tick(), here.pace.stall_s)) == ["Finished"]


# Neighbours


def test_a_neighbour_behind_is_shown_the_head() -> None:
    reply, effects = member().on_sync_request(sync_request(head_of(PEOPLE, tokens=1), None), "asker", 1.0)
    assert open_sync_reply(reply, "").certificate == HERE.wire
    assert effects == []


def test_a_neighbour_beside_is_told_records() -> None:
    here = member()
    here.on(RecordArrived(commit(PEOPLE[1], HEAD), ""), 1.0)
    reply, _ = here.on_sync_request(sync_request(HEAD, None), "asker", 1.0)
    answer = open_sync_reply(reply, "")
    assert (answer.certificate, answer.records) == (None, (commit(PEOPLE[1], HEAD).wire,))


def test_a_neighbour_one_round_behind_is_told_the_records_of_that_round() -> None:
    here = member()
    here.on(RecordArrived(commit(PEOPLE[1], HEAD), ""), 1.0)
    here.on(HeadOffered(later(9)), 1.0)
    here.on(StateFetched(later(9).id), 1.0)
    reply, _ = here.on_sync_request(sync_request(HEAD, None), "asker", 1.0)
    answer = open_sync_reply(reply, "")
    assert (answer.certificate, answer.records) == (later(9).wire, (commit(PEOPLE[1], HEAD).wire,))


def test_a_neighbour_ahead_is_asked_but_not_over_and_over() -> None:
    here = member()
    question = sync_request(later(9).head, None)
    assert here.on_sync_request(question, "asker", 1.0)[1] == [AskPeer("asker")]
    assert here.on_sync_request(question, "asker", 1.0 + ASK_PAUSE_S / 2)[1] == []
    assert here.on_sync_request(question, "asker", 1.0 + 1.1 * ASK_PAUSE_S)[1] == [AskPeer("asker")]


def test_who_holds_nothing_is_not_asked() -> None:
    nobody = Member(context(person(9)), 0.0)
    reply, effects = nobody.on_sync_request(sync_request(None, None), "asker", 1.0)
    assert open_sync_reply(reply, "").certificate is None
    assert effects == []


def test_a_proposal_that_names_what_is_not_here_makes_us_ask_its_leader() -> None:
    here = member(PEOPLE[3])
    leader = ordered(HEAD.members, HEAD.state, HEAD.number, "leader")[0]
    identity = next(identity for identity in PEOPLE if identity.peer_id == leader)
    value = encode_value(roster_of(commit(PEOPLE[1], HEAD)))
    body = Proposal(round=7, base=HEAD.id, step="roster", view=0, value=value, promises=())
    assert AskPeer(leader) in here.on(RecordArrived(sign(identity, SWARM, body), "somebody"), 1.0)


def test_a_malformed_question_is_blamed_on_the_asker() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        member().on_sync_request(b"garbage", "asker", 1.0)
    assert (caught.value.peer, caught.value.reason) == ("asker", "bad-sync")


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_no_frame_does_anything_but_blame(frame: bytes) -> None:
    here = member()
    with pytest.raises(RemoteProtocolError):
        here.on_sync_request(frame, "asker", 1.0)
    assert here.certificate is HERE


# Records of other rounds


def test_records_that_are_early_are_heard_when_their_round_begins() -> None:
    here = member()
    ahead = later(9)
    assert here.on(RecordArrived(ready(9, ahead.id), "sender"), 1.0) == [AskPeer("sender")]
    here.on(HeadOffered(ahead), 1.0)
    here.on(StateFetched(ahead.id), 2.0)
    assert here.round is not None
    assert ready(9, ahead.id) in here.round.pool


def test_a_fault_in_an_early_record_is_blamed_then() -> None:
    here = member()
    ahead = later(9)
    vote = sign(PEOPLE[1], SWARM, Vote(round=1, base=ahead.id, step="roster", view=0, value=bytes(32)))
    here.on(RecordArrived(vote, "sender"), 1.0)
    here.on(HeadOffered(ahead), 1.0)
    blames = [effect for effect in here.on(StateFetched(ahead.id), 2.0) if isinstance(effect, Blame)]
    assert [(blame.peer, blame.reason) for blame in blames] == [(PEOPLE[1].peer_id, "wrong-round")]


def test_early_records_without_end_take_no_room() -> None:
    here = member()
    for number in range(3 * early.MAX_RECORDS):
        here.on(RecordArrived(ready(1, digest("base", number)), "sender"), 1.0)
    assert len(here._early) <= early.MAX_RECORDS


def test_senders_without_end_take_no_room() -> None:
    here = member()
    for number in range(3000):
        here.on(RecordArrived(ready(1, digest("base")), f"sender {number}"), 1.0)
        here.on_sync_request(sync_request(later(2**40).head, None), f"asker {number}", 1.0)
    assert len(here._asked_s) <= 1024
    assert len(here._arrived) <= 256


def test_faults_become_blame_and_never_an_exception() -> None:
    here = member()
    lie = commit(PEOPLE[1], HEAD, steps=11)
    (blame,) = here.on(RecordArrived(lie, "sender"), 1.0)
    assert blame == Blame(PEOPLE[1].peer_id, "bad-commitment", "claims 11 steps, a round has 10")


# Restarts


def test_records_of_rounds_ahead_of_the_disk_bind_as_well() -> None:
    """The newest head was not written; what was said for it was."""
    ahead = later(9)
    said = commit(ME, ahead.head)
    here = member(own=[said])
    here.on(HeadOffered(ahead), 1.0)
    effects = here.on(StateFetched(ahead.id), 2.0)
    assert "Train" not in kinds(effects)
    assert here.round is not None
    assert said in here.round.pool


def test_who_has_lost_even_its_first_head_remembers_what_it_said() -> None:
    nobody = Member(context(ME), 0.0)
    nobody.remember([commit(ME, HEAD)])
    nobody.on(HeadOffered(HERE), 1.0)
    assert "Train" not in kinds(nobody.on(StateFetched(HERE.id), 2.0))


def test_every_record_names_its_base() -> None:
    assert base_of(ready(1)) == HEAD.id
    assert base_of(HERE.votes[0]) != NOTHING


def test_a_head_in_one_line() -> None:
    assert describe(HEAD) == f"round 7, state {HEAD.state.hex()[:12]}, 4 members"
    assert describe(msgspec.structs.replace(HEAD, marks=2)).endswith("4 members, marked 2x")


# Terms


def amended(effect: int, key: str = "inner.batch_size", value: str = "16") -> Signed[Amendment]:
    change = Setting(key=key, value=value)
    return sign(ME, SWARM, Amendment(round=7, effect=effect, changes=(change,), why=""))


def test_a_head_whose_amendment_is_not_here_is_not_adopted_before_it_is() -> None:
    standing, amendment = member(), amended(100)
    ahead = later(12, amendments=(amendment.id,))
    assert standing.on(HeadOffered(ahead), 1.0) == [FetchState(ahead)]
    assert kinds(standing.on(StateFetched(ahead.id), 2.0)) == [], "its state came without it"
    assert standing.on(HeadOffered(ahead), 2.0 + FETCH_PAUSE_S / 2) == [], "not over and over"
    assert standing.on(HeadOffered(ahead), 2.0 + FETCH_PAUSE_S) == [FetchState(ahead)]
    standing.context.in_force.learn(amendment)
    assert Adopt(ahead, ()) in standing.on(StateFetched(ahead.id), 4.0)
    assert standing.context.terms.inner.batch_size == 8


def test_the_terms_change_with_the_head() -> None:
    standing, amendment = member(), amended(12)
    standing.context.in_force.learn(amendment)
    ahead = later(12, amendments=(amendment.id,))
    standing.on(HeadOffered(ahead), 1.0)
    effects = standing.on(StateFetched(ahead.id), 2.0)
    assert "Train" in kinds(effects)
    assert standing.context.terms.inner.batch_size == 16
    assert standing.context.in_force.at(11).inner.batch_size == 8


def test_who_can_not_apply_an_amendment_ends_in_its_round_with_the_reason() -> None:
    standing, newer = member(), amended(12, "inner.of_a_newer_version")
    standing.context.in_force.learn(newer)
    before, ahead = (later(number, amendments=(newer.id,)) for number in (11, 12))
    standing.on(HeadOffered(before), 1.0)
    assert "Train" in kinds(standing.on(StateFetched(before.id), 2.0)), "until then it plays on"
    standing.on(HeadOffered(ahead), 3.0)
    *_, last = standing.on(StateFetched(ahead.id), 4.0)
    assert isinstance(last, CannotFollow)
    assert "inner.of_a_newer_version is no key that this dhtnode can change" in last.why
    assert standing.finished
    assert standing.on(Tick(), 99.0) == []
