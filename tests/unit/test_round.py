"""One node's round: phases in order; what a node does that was late, restarted, or is shown the end."""

from __future__ import annotations

from typing import Any

import pytest

from dhtnode.digest import digest
from dhtnode.errors import LocalProtocolError, RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Signed, sign
from tests.unit.parties import (
    SWARM,
    WORK,
    by_id,
    certified,
    commit,
    context,
    head_of,
    ids,
    people,
    plan_of,
    result_of,
    roster_of,
)
from training.chain import Certificate
from training.events import (
    Applied,
    Apply,
    Effect,
    FetchResult,
    Halt,
    OpenReduce,
    Publish,
    RecordArrived,
    Reduce,
    Reduced,
    ResultFetched,
    SendPart,
    Tick,
    Train,
    Trained,
)
from training.messages import (
    Commitment,
    Head,
    Leave,
    Proposal,
    Ready,
    Vote,
    encode_value,
    value_digest,
)
from training.pace import Pace
from training.roster import ordered
from training.round import NEXT, Phase, Round

PEOPLE = people(4)
HEAD = head_of(PEOPLE)
LEADERS = ordered(HEAD.members, HEAD.state, HEAD.number, "leader")
AFTER = digest("state", 8)


class Player:
    """One node in one round."""

    def __init__(
        self, me: Identity, head: Head = HEAD, own: list[Signed[Any]] | None = None, *, banned: bool = False
    ) -> None:
        the_context = context(me)
        if banned:
            the_context.excluded.add(me.peer_id)
        self.me = me
        self.pace = Pace(the_context.terms.round)
        self.round = Round(the_context, head, self.pace, 0.0)
        self.effects = self.round.restore(own or [], 0.0) + self.round.start()

    def hear(self, *records: Signed[Any], now_s: float = 1.0) -> list[Effect]:
        return [effect for record in records for effect in self.round.on(RecordArrived(record, ""), now_s)]

    def phase(self) -> Phase:
        return self.round.phase


def said(effects: list[Effect]) -> list[str]:
    return [effect.record.body.KIND for effect in effects if isinstance(effect, Publish)]


def roster_records(persons: list[Identity]) -> list[Signed[Any]]:
    """Commitments of these people, and the votes that make them the roster."""
    peers = ordered(ids(persons), HEAD.state, HEAD.number, "roster")
    commitments = [commit(by_id(peer), HEAD) for peer in peers]
    value = encode_value(roster_of(*commitments))
    body = Proposal(round=7, base=HEAD.id, step="roster", view=0, value=value, promises=())
    vote = Vote(round=7, base=HEAD.id, step="roster", view=0, value=value_digest(value))
    votes = [sign(identity, SWARM, vote) for identity in PEOPLE[:3]]
    return [*commitments, sign(by_id(LEADERS[0]), SWARM, body), *votes]


def outcome(player: Player, persons: list[Identity], **changes: Any) -> tuple[Certificate, list[Signed[Any]]]:
    """How the round of these people closed, and its results."""
    assert player.round.closing is not None
    plan = player.round.closing.plan
    results = [result_of(by_id(peer), plan, part) for part, peer in enumerate(plan.members)]
    settings: dict[str, Any] = {
        "number": 8,
        "parent": HEAD.id,
        "state": AFTER,
        "members": plan.members,
        "tokens": HEAD.tokens + 80 * len(persons),
        "accepted": tuple(commitment.id for commitment in plan.commitments_N),
        "results": tuple(result.id for result in results),
    }
    return certified(
        [by_id(peer) for peer in plan.members], head_of(PEOPLE, **{**settings, **changes})
    ), results


# The way through


def test_a_member_trains_at_once_and_says_nothing() -> None:
    player = Player(PEOPLE[0])
    assert player.effects == [Train(HEAD, 10, None)]
    assert player.phase() is Phase.TRAIN


def test_a_newcomer_says_that_it_is_ready() -> None:
    player = Player(people(5)[4])
    assert said(player.effects) == ["ready"]
    assert any(isinstance(effect, Train) for effect in player.effects)


def test_who_is_banned_follows_without_work_until_the_ban_is_over() -> None:
    banned = Player(people(5)[4], banned=True)
    assert banned.effects == []
    assert "banned" in banned.round.reason(1.0)
    assert banned.round.advance(1.0) == []
    banned.round._context.excluded.clear()
    effects = banned.round.advance(2.0)
    assert said(effects) == ["ready"]
    assert any(isinstance(effect, Train) for effect in effects)
    assert "training" in banned.round.reason(2.0)
    assert not any(isinstance(effect, Train) for effect in banned.round.advance(3.0)), "once"


def test_who_is_banned_arrives_with_the_others() -> None:
    banned = Player(people(5)[4], banned=True)
    effects = banned.hear(*roster_records(PEOPLE[:3]))
    assert any(isinstance(effect, OpenReduce) for effect in effects)
    assert "following" in banned.round.reason(1.0)
    assert not any(isinstance(effect, Train) for effect in banned.round.advance(2.0))


def test_a_member_that_is_banned_now_goes_on_for_this_round() -> None:
    """Alone on a branch it is a member of all rounds, and nobody else could go on."""
    assert Player(PEOPLE[0], banned=True).effects == [Train(HEAD, 10, None)]


def test_all_phases() -> None:
    player = Player(by_id(LEADERS[1]))
    effects = player.round.on(Trained(HEAD.id, WORK), 0.5)
    assert said(effects) == ["commitment"]
    assert player.phase() is Phase.COMMIT

    mine: Signed[Any] = next(effect.record for effect in effects if isinstance(effect, Publish))
    others = [commit(identity, HEAD) for identity in PEOPLE if identity is not player.me]
    player.hear(*others)
    every = {record.signer: record for record in [*others, mine]}
    peers = ordered(HEAD.members, HEAD.state, HEAD.number, "roster")
    value = encode_value(roster_of(*(every[peer] for peer in peers)))
    proposal = Proposal(round=7, base=HEAD.id, step="roster", view=0, value=value, promises=())
    assert said(player.hear(sign(by_id(LEADERS[0]), SWARM, proposal))) == ["vote"]
    assert player.phase() is Phase.ROSTER

    vote = Vote(round=7, base=HEAD.id, step="roster", view=0, value=value_digest(value))
    effects = player.hear(*(sign(by_id(peer), SWARM, vote) for peer in (LEADERS[0], LEADERS[2])))
    assert player.phase() is Phase.REDUCE
    kinds = [type(effect) for effect in effects]
    assert kinds.count(OpenReduce) == 1
    assert kinds.count(SendPart) == 3
    assert Halt not in kinds

    assert player.round.closing is not None
    plan = player.round.closing.plan
    results = [result_of(by_id(peer), plan, part) for part, peer in enumerate(plan.members)]
    for result in results:
        if result.signer == player.me.peer_id:
            player.round.on(
                Reduced(HEAD.id, plan.roster, result.body.part, result.body.included, result.body.root), 2.0
            )
        else:
            assert any(isinstance(effect, FetchResult) for effect in player.hear(result))
            effects = player.round.on(ResultFetched(HEAD.id, result.id), 2.0)
    assert player.phase() is Phase.CLOSE
    names = tuple(result.id for result in results)
    player.round.on(Applied(HEAD.id, names, AFTER), 3.0)

    electors = player.round.electors
    head = head_of(
        PEOPLE,
        number=8,
        parent=HEAD.id,
        state=AFTER,
        members=plan.members,
        tokens=HEAD.tokens + 320,
        accepted=tuple(commitment.id for commitment in plan.commitments_N),
        results=names,
    )
    close = Proposal(
        round=7, base=HEAD.id, step="close", roster=plan.roster, view=0, value=encode_value(head), promises=()
    )
    player.hear(sign(by_id(electors[0]), SWARM, close))
    vote = Vote(round=7, base=HEAD.id, step="close", roster=plan.roster, view=0, value=head.id)
    player.hear(*(sign(by_id(peer), SWARM, vote) for peer in electors if peer != player.me.peer_id))
    assert player.phase() is Phase.DONE
    assert player.round.arrived
    assert player.round.outcome is not None
    assert player.round.outcome.head == head


def test_a_roster_whose_votes_came_too_late_gets_more_time_in_the_next_round() -> None:
    player = Player(by_id(LEADERS[3]))
    player.pace.roster.learn(1.0)
    *commitments, proposal, first, second, third = roster_records(PEOPLE)
    player.hear(*commitments, proposal, first)
    limit_s = player.pace.roster.limit_s
    assert said(player.round.advance(1.0 + 1.1 * limit_s)) == ["promise"]
    player.hear(second, third, now_s=2.0 + 1.1 * limit_s)
    assert player.phase() is Phase.REDUCE
    assert player.pace.roster.limit_s == 2 * limit_s


def test_who_misses_the_roster_stops_working_and_follows() -> None:
    player = Player(PEOPLE[3])
    effects = player.hear(*roster_records(PEOPLE[:3]))
    assert Halt(HEAD.id) in effects
    assert not any(isinstance(effect, SendPart | Reduce) for effect in effects)
    assert player.phase() is Phase.REDUCE
    assert "following" in player.round.reason(1.0)
    assert player.round.on(Trained(HEAD.id, WORK), 2.0) == [], "too late to commit"


def test_the_electors_are_those_whose_votes_are_needed_now() -> None:
    player = Player(PEOPLE[3])
    assert set(player.round.electors) == set(HEAD.members)
    player.hear(*roster_records(PEOPLE[:3]))
    assert set(player.round.electors) == set(ids(PEOPLE[:3]))


# After a restart


def test_a_commitment_from_before_a_restart_is_not_worked_for_again() -> None:
    player = Player(PEOPLE[0], own=[commit(PEOPLE[0], HEAD)])
    assert player.effects == []
    assert player.phase() is Phase.COMMIT
    assert player.round.on(Trained(HEAD.id, WORK), 1.0) == []


def test_everything_said_before_a_restart_is_heard_again() -> None:
    voted = [record for record in roster_records(PEOPLE) if record.signer == PEOPLE[0].peer_id]
    player = Player(PEOPLE[0], own=voted)
    effects = player.hear(*roster_records(PEOPLE))
    assert "vote" not in said(effects)
    assert player.phase() is Phase.REDUCE


# Shown the end


def test_who_is_shown_the_end_gets_there_by_the_results() -> None:
    player = Player(PEOPLE[3])
    player.hear(*roster_records(PEOPLE[:3]))
    certificate, results = outcome(player, PEOPLE[:3])
    player.hear(*results)
    player.round.follow(certificate, 2.0)
    assert player.round.outcome is certificate
    effects: list[Effect] = []
    for result in results:
        effects += player.round.on(ResultFetched(HEAD.id, result.id), 2.0)
    assert any(isinstance(effect, Apply) for effect in effects)
    assert not player.round.arrived
    player.round.on(Applied(HEAD.id, certificate.head.results, AFTER), 3.0)
    assert player.phase() is Phase.DONE
    assert player.round.arrived


def test_an_own_step_that_leads_elsewhere_does_not_arrive() -> None:
    player = Player(PEOPLE[3])
    player.hear(*roster_records(PEOPLE[:3]))
    certificate, _ = outcome(player, PEOPLE[:3])
    player.round.follow(certificate, 2.0)
    player.round.on(Applied(HEAD.id, certificate.head.results, bytes(32)), 3.0)
    assert not player.round.arrived


def test_an_end_by_others_than_the_certified_roster_is_not_believed() -> None:
    player = Player(PEOPLE[3])
    player.hear(*roster_records(PEOPLE[:3]))
    liar = people(9)[8]
    made_up, _ = outcome(player, PEOPLE[:3], members=(liar.peer_id,), votes=(0,), tokens=2**60)
    player.round.follow(certified([liar], made_up.head), 2.0)
    assert player.round.outcome is None
    certificate, _ = outcome(player, PEOPLE[:3])
    player.round.follow(certificate, 2.0)
    assert player.round.outcome is certificate


def test_the_end_may_be_shown_before_the_roster_is_known() -> None:
    knowing = Player(PEOPLE[3])
    knowing.hear(*roster_records(PEOPLE[:3]))
    certificate, _ = outcome(knowing, PEOPLE[:3])
    player = Player(PEOPLE[3])
    player.round.follow(certificate, 1.0)
    assert player.round.outcome is None
    assert player.round.shown is certificate
    player.hear(*roster_records(PEOPLE[:3]))
    assert player.round.outcome is certificate


@pytest.mark.parametrize("changes", [{"parent": bytes(32)}, {"results": ()}], ids=["other-head", "founding"])
def test_the_end_of_something_else_is_not_followed(changes: dict[str, Any]) -> None:
    player = Player(PEOPLE[3])
    player.hear(*roster_records(PEOPLE[:3]))
    certificate, _ = outcome(player, PEOPLE[:3], **changes)
    player.round.follow(certificate, 1.0)
    assert player.round.shown is None


# Odds and ends


def test_leaving_ends_the_work_and_is_said() -> None:
    halt, publish = Player(PEOPLE[0]).round.leave()
    assert halt == Halt(HEAD.id)
    assert isinstance(publish, Publish)
    assert isinstance(publish.record.body, Leave)


def test_all_that_play_are_candidates() -> None:
    player = Player(people(7)[6])
    player.hear(commit(people(5)[4], HEAD), sign(people(6)[5], SWARM, Ready(round=7, base=HEAD.id)))
    player.hear(sign(PEOPLE[0], SWARM, Leave(round=7, base=HEAD.id)))
    assert player.round.candidates == set(ids(people(7))) - {PEOPLE[0].peer_id}


def test_the_work_is_ripe_with_a_majority() -> None:
    player = Player(PEOPLE[3])
    player.hear(*(commit(identity, HEAD) for identity in PEOPLE[:2]))
    assert not player.round.is_ripe
    player.hear(commit(PEOPLE[2], HEAD))
    assert player.round.is_ripe


def test_a_record_of_another_round_number_is_its_signers_fault() -> None:
    player = Player(PEOPLE[3])
    vote = Vote(round=8, base=HEAD.id, step="roster", view=0, value=bytes(32))
    with pytest.raises(RemoteProtocolError) as caught:
        player.hear(sign(PEOPLE[0], SWARM, vote))
    assert caught.value.reason == "wrong-round"


def test_a_record_is_taken_in_once() -> None:
    player = Player(PEOPLE[3])
    lie: Signed[Commitment] = commit(PEOPLE[0], HEAD, steps=11)
    with pytest.raises(RemoteProtocolError):
        player.hear(lie)
    assert player.hear(lie) == [], "repeated by others: they are not the liar, and it is blamed already"


def test_phases_are_taken_back_for_another_roster_alone() -> None:
    order = list(Phase)
    back = {
        (phase, later)
        for phase, following in NEXT.items()
        for later in following
        if later in order[: order.index(phase)]
    }
    assert back == {(Phase.CLOSE, Phase.REDUCE)}
    player = Player(PEOPLE[0])
    with pytest.raises(LocalProtocolError):
        player.round._move(Phase.CLOSE, 0.0)


def test_time_alone_changes_nothing_while_all_are_at_work() -> None:
    player = Player(PEOPLE[0])
    assert player.round.on(Tick(), 10_000.0) == []
    assert player.phase() is Phase.TRAIN


def test_the_plan_of_these_tests_is_that_of_the_round() -> None:
    player = Player(PEOPLE[3])
    player.hear(*roster_records(PEOPLE))
    assert player.round.closing is not None
    assert player.round.closing.plan.members == plan_of(PEOPLE, HEAD).members
