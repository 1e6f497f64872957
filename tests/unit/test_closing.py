"""The second half of a round: a head is proposed and voted for only where the own outer step leads there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from dhtnode.digest import digest
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed, sign
from tests.unit.parties import SWARM, by_id, certified, context, head_of, people, plan_of, result_of
from training.closing import Closing, concerns
from training.events import (
    Applied,
    Apply,
    Blame,
    Effect,
    PartArrived,
    Publish,
    Reduce,
    Reduced,
    ResultFetched,
    SendPart,
)
from training.messages import (
    WHOLE,
    Head,
    Proposal,
    Ready,
    Result,
    Vote,
    decode_value,
    encode_value,
    value_digest,
)
from training.pace import Pace
from training.pool import RecordPool
from training.roster import ordered

PEOPLE = people(4)
HEAD = head_of(PEOPLE)
PLAN = plan_of(PEOPLE, HEAD)
AFTER = digest("state", 8)
ELECTORS = ordered(PLAN.members, HEAD.state, HEAD.number, "close-leader")
RESULTS = tuple(result_of(by_id(peer), PLAN, part) for part, peer in enumerate(PLAN.members))
NAMES = tuple(result.id for result in RESULTS)


class Desk:
    """One member's closing of the round."""

    def __init__(self, me: str, heard: tuple[Signed[Any], ...] = ()) -> None:
        the_context = context(by_id(me))
        self.pool = RecordPool(HEAD.id)
        for record in heard:
            self.pool.add(record)
        self.closing = Closing(the_context, HEAD, self.pool, PLAN, Pace(the_context.terms.round), 0.0)
        self.started = self.closing.start()

    def hear(self, *records: Signed[Any]) -> None:
        for record in records:
            self.pool.add(record)
            self.closing.on_record(record)

    def hold(self, *results: Signed[Result]) -> None:
        self.hear(*results)
        for result in results:
            self.closing.on(ResultFetched(HEAD.id, result.id), 1.0)

    def advance(self) -> list[Effect]:
        return self.closing.advance(None, 1.0)

    def apply(self, names: tuple[bytes, ...] = NAMES, state: bytes = AFTER) -> None:
        self.closing.on(Applied(HEAD.id, names, state), 1.0)

    def say(self) -> list[Signed[Body]]:
        said = self.closing.vote(1.0)
        for record in said:
            self.pool.add(record)
        return said

    @property
    def has_voted(self) -> bool:
        return any(isinstance(record.body, Vote) for record in self.say())


def head_after(**changes: Any) -> Head:
    """The head that this round leads to."""
    head = Head(
        number=8,
        parent=HEAD.id,
        branch=HEAD.branch,
        founder=HEAD.founder,
        since=HEAD.since,
        marks=HEAD.marks,
        state=AFTER,
        members=PLAN.members,
        votes=PLAN.votes_N,
        tokens=HEAD.tokens + 4 * 80,
        accepted=tuple(commitment.id for commitment in PLAN.commitments_N),
        results=NAMES,
    )
    return msgspec.structs.replace(head, **changes)


def proposal(head: Head, leader: Identity | None = None) -> Signed[Proposal]:
    body = Proposal(
        round=7, base=HEAD.id, step="close", roster=PLAN.roster, view=0, value=encode_value(head), promises=()
    )
    return sign(leader or by_id(ELECTORS[0]), SWARM, body)


def test_tokens_of_who_has_no_vote_make_no_branch_heavier() -> None:
    """Its work is accepted, so it has a receipt; fork choice follows what has moved the state."""
    plan = replace(PLAN, votes_N=(2, 1, 0, 2))
    mine = context(by_id(ELECTORS[0]))
    closing = Closing(mine, HEAD, RecordPool(HEAD.id), plan, Pace(mine.terms.round), 0.0)
    head = closing._head_after(RESULTS, AFTER)
    assert head.tokens == HEAD.tokens + 3 * 80
    assert len(head.accepted) == 4
    assert head.votes == (2, 1, 0, 2)
    assert set(closing.agreement.electors) == set(head.electors)


def ready_desk(me: str = ELECTORS[1]) -> Desk:
    """A member whose outer step is done."""
    desk = Desk(me)
    desk.hold(*RESULTS)
    assert [effect.results for effect in desk.advance() if isinstance(effect, Apply)] == [RESULTS]
    desk.apply()
    return desk


def test_parts_are_sent_at_the_start() -> None:
    assert len([effect for effect in Desk(ELECTORS[0]).started if isinstance(effect, SendPart)]) == 3


def test_a_reduction_becomes_a_signed_result() -> None:
    me = PLAN.members[2]
    desk = Desk(me)
    for peer in PLAN.members:
        desk.closing.on(PartArrived(HEAD.id, PLAN.roster, 2, peer), 0.5)
    assert [effect.included for effect in desk.advance() if isinstance(effect, Reduce)] == [(0, 1, 2, 3)]
    (publish,) = desk.closing.on(Reduced(HEAD.id, PLAN.roster, 2, (0, 1, 2, 3), digest("root", 2)), 1.0)
    assert publish == Publish(RESULTS[2])


def test_the_leader_proposes_where_its_own_step_led() -> None:
    desk = ready_desk(ELECTORS[0])
    proposed, vote = desk.say()
    assert isinstance(proposed.body, Proposal)
    assert decode_value(proposed.body.value, Head) == head_after()
    assert isinstance(vote.body, Vote)


def test_the_outer_step_is_done_once() -> None:
    desk = ready_desk()
    assert not [effect for effect in desk.advance() if isinstance(effect, Apply)]


def test_a_head_that_the_own_step_leads_to_gets_the_vote() -> None:
    desk = ready_desk()
    desk.hear(proposal(head_after()))
    assert desk.has_voted
    assert not desk.closing.mismatch


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 9},
        {"parent": bytes(32)},
        {"branch": bytes(32)},
        {"founder": ELECTORS[3]},
        {"since": 1},
        {"marks": 1},
        {"members": PLAN.members[::-1]},
        {"members": PLAN.members[:3]},
        {"tokens": HEAD.tokens + 4 * 80 + 1},
        {"accepted": ()},
        {"accepted": head_after().accepted[::-1]},
        {"results": NAMES[::-1]},
        {"results": NAMES[:3]},
        {"results": ()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_any_other_head_does_not(changes: dict[str, Any]) -> None:
    desk = ready_desk()
    desk.hear(proposal(head_after(**changes)))
    assert not desk.has_voted


def test_another_state_is_not_voted_for_and_noticed() -> None:
    desk = ready_desk()
    desk.hear(proposal(head_after(state=bytes(32))))
    assert not desk.has_voted
    assert desk.closing.mismatch


@pytest.mark.parametrize("value", [b"", b"\x80", bytes(100)], ids=["nothing", "empty", "garbage"])
def test_what_is_no_head_gets_no_vote(value: bytes) -> None:
    desk = ready_desk()
    body = Proposal(round=7, base=HEAD.id, step="close", roster=PLAN.roster, view=0, value=value, promises=())
    desk.hear(sign(by_id(ELECTORS[0]), SWARM, body))
    desk.advance()
    assert not desk.has_voted


def test_no_vote_before_the_own_step_is_done() -> None:
    desk = Desk(ELECTORS[1])
    desk.hold(*RESULTS)
    desk.hear(proposal(head_after()))
    desk.advance()
    assert not desk.has_voted
    desk.apply()
    assert desk.has_voted


def test_the_results_that_the_leader_names_are_applied_too() -> None:
    """It reduced a part without one sender; ours of that part has all. The vote chooses."""
    desk = ready_desk()
    other = result_of(by_id(PLAN.members[3]), PLAN, 0, included=(1, 2, 3), root=digest("other"))
    names = (other.id, *NAMES[1:])
    head = head_after(results=names, state=digest("other"))
    desk.hear(proposal(head))
    assert (desk.closing.lacks_records, desk.has_voted) == (True, False)
    desk.hold(other)
    assert not desk.closing.lacks_records
    assert [effect.results for effect in desk.advance() if isinstance(effect, Apply)] == [
        (other, *RESULTS[1:])
    ]
    desk.apply(names, digest("other"))
    assert desk.has_voted


def test_a_majority_of_votes_is_the_outcome() -> None:
    desk = ready_desk()
    desk.hear(proposal(head_after()))
    body = Vote(
        round=7,
        base=HEAD.id,
        step="close",
        roster=PLAN.roster,
        view=0,
        value=value_digest(encode_value(head_after())),
    )
    for peer in ELECTORS[2:]:
        desk.hear(sign(by_id(peer), SWARM, body))
    assert desk.closing.outcome() is None
    assert desk.has_voted
    outcome = desk.closing.outcome()
    assert outcome is not None
    assert outcome.head == head_after()
    assert desk.closing.reached(outcome.head)
    assert desk.closing.adopt(outcome).works == PLAN.commitments_N


@pytest.mark.parametrize(
    "value",
    [
        b"garbage",
        encode_value(head_after(number=9)),
        encode_value(head_after(parent=bytes(32))),
        encode_value(head_after(members=PLAN.members[:1], votes=(0,))),
        encode_value(head_after(votes=(WHOLE,) * 4)),
    ],
    ids=["garbage", "number", "parent", "members", "votes"],
)
def test_not_even_a_dishonest_majority_makes_an_outcome_of_nonsense(value: bytes) -> None:
    desk = ready_desk()
    body = Proposal(round=7, base=HEAD.id, step="close", roster=PLAN.roster, view=0, value=value, promises=())
    desk.hear(sign(by_id(ELECTORS[0]), SWARM, body))
    vote = Vote(round=7, base=HEAD.id, step="close", roster=PLAN.roster, view=0, value=value_digest(value))
    for peer in ELECTORS:
        if peer != ELECTORS[1]:
            desk.hear(sign(by_id(peer), SWARM, vote))
    assert desk.closing.agreement.decision is not None
    assert desk.closing.outcome() is None


def test_once_the_outcome_is_known_only_its_results_matter() -> None:
    desk = Desk(ELECTORS[1])
    desk.hold(*RESULTS)
    other = result_of(by_id(PLAN.members[3]), PLAN, 0, included=(1, 2, 3))
    head = head_after(results=(other.id, *NAMES[1:]))
    effects = desk.closing.advance(certified([by_id(peer) for peer in PLAN.members], head), 1.0)
    assert not [effect for effect in effects if isinstance(effect, Apply)]


def test_what_came_before_the_roster_is_taken_in_and_faults_in_it_are_blamed() -> None:
    lie = result_of(people(9)[8], PLAN, 0)
    desk = Desk(ELECTORS[1], (RESULTS[0], lie, proposal(head_after())))
    blames = [effect for effect in desk.started if isinstance(effect, Blame)]
    assert [(blame.peer, blame.reason) for blame in blames] == [(lie.signer, "bad-result")]
    assert desk.closing.agreement.has_proposal


def test_a_vote_from_before_a_restart_is_not_given_twice() -> None:
    desk = ready_desk()
    desk.hear(proposal(head_after()))
    said = desk.say()
    again = Desk(ELECTORS[1], (*said, proposal(head_after())))
    again.hold(*RESULTS)
    again.advance()
    again.apply()
    assert again.say() == []
    assert again.closing.agreement.progress() == "1 of 4 votes, need 3"


def test_records_belong_to_one_agreement() -> None:
    assert concerns(proposal(head_after()), "close")
    assert not concerns(proposal(head_after()), "roster")
    assert not concerns(sign(PEOPLE[0], SWARM, Ready(round=7, base=HEAD.id)), "close")
