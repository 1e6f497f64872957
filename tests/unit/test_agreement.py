"""Agreement decides one value at most, whatever is lost, late, repeated or forgotten; liars are named.

After Lamport, "Paxos Made Simple" (2001), section 2.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import B, Body, Signed, sign
from tests.unit.parties import SWARM, ids, people
from training.agreement import Agreement, Instance
from training.messages import Promise, Proposal, Vote, value_digest
from training.roster import quorum

BASE = digest("base")
INSTANCE = Instance(5, BASE, "roster")
PATIENCE_S = 1.0


def agreement(me: Identity, electors: tuple[str, ...], now_s: float = 0.0) -> Agreement:
    return Agreement(INSTANCE, electors, me, SWARM, now_s + PATIENCE_S, PATIENCE_S)


def bodies(kind: type[B], records: list[Signed[Body]]) -> list[B]:
    """Of the records of one kind."""
    return [record.body for record in records if isinstance(record.body, kind)]


def proposal(
    leader: Identity, view: int, value: bytes, promises: list[Signed[Any]] | None = None
) -> Signed[Body]:
    wires = tuple(promise.wire for promise in promises or [])
    body = Proposal(round=5, base=BASE, step="roster", view=view, value=value, promises=wires)
    return sign(leader, SWARM, body)


def vote(voter: Identity, view: int, value: bytes) -> Signed[Any]:
    return sign(voter, SWARM, Vote(round=5, base=BASE, step="roster", view=view, value=value_digest(value)))


def promise(elector: Identity, view: int, voted_view: int | None = None, value: bytes = b"") -> Signed[Any]:
    voted = None if voted_view is None else value_digest(value)
    body = Promise(round=5, base=BASE, step="roster", view=view, voted_view=voted_view, voted=voted)
    return sign(elector, SWARM, body)


@dataclass
class Elector:
    """One elector with a disk and a clock."""

    identity: Identity
    electors: tuple[str, ...]
    now_s: float = 0.0
    disk: list[Signed[Body]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core = agreement(self.identity, self.electors)

    def advance(self, accepts: Callable[[bytes], bool] = lambda value: True) -> list[Signed[Body]]:
        value = b"value of " + self.identity.peer_id.encode()
        said = self.core.advance(self.now_s, lambda: value, accepts)
        self.disk += said
        return said

    def restart(self) -> None:
        self.core = agreement(self.identity, self.electors, self.now_s)
        self.core.restore(self.disk)


class Council:
    """Electors, and every record on its way to each of them."""

    def __init__(self, size: int) -> None:
        self.people = people(size)
        self.nodes = [Elector(identity, ids(self.people)) for identity in self.people]
        self.air: list[tuple[int, Signed[Body]]] = []

    def step(self, index: int, wait_s: float = 0.0) -> None:
        self.nodes[index].now_s += wait_s
        for record in self.nodes[index].advance():
            self.air += [(other, record) for other in range(len(self.nodes)) if other != index]
        self.check()

    def deliver(self, place: int, keep: bool = False) -> None:
        if not self.air:
            return
        place %= len(self.air)
        index, record = self.air[place] if keep else self.air.pop(place)
        self.nodes[index].core.on_record(record)
        self.step(index)

    def said(self) -> list[Signed[Any]]:
        return [record for node in self.nodes for record in node.disk]

    def check(self) -> None:
        decided = {node.core.decision.value for node in self.nodes if node.core.decision}
        assert len(decided) <= 1
        votes: dict[tuple[int, bytes], set[str]] = {}
        for record in self.said():
            if isinstance(record.body, Vote):
                votes.setdefault((record.body.view, record.body.value), set()).add(record.signer)
        chosen = {value for (_, value), voters in votes.items() if len(voters) >= quorum(ids(self.people))}
        assert len(chosen) <= 1, "decided, though nobody may know it yet"

    def come_together(self) -> None:
        """Everybody is up, and whatever was ever said arrives, for a few time-outs."""
        for _ in range(12):
            for index in range(len(self.nodes)):
                for record in self.said():
                    self.nodes[index].core.on_record(record)
                self.step(index)
            for _ in range(3):
                while self.air:
                    self.deliver(0)
            if all(node.core.decision for node in self.nodes):
                return
            for index in range(len(self.nodes)):
                self.step(index, 64 * PATIENCE_S)
        raise AssertionError("no decision")


act = st.one_of(
    st.tuples(st.just("wait"), st.integers(0, 6), st.sampled_from([0.0, 1.1, 3.0, 40.0])),
    st.tuples(st.just("deliver"), st.integers(0, 200), st.booleans()),
    st.tuples(st.just("lose"), st.integers(0, 200), st.none()),
    st.tuples(st.just("crash"), st.integers(0, 6), st.none()),
)


def play(council: Council, acts: list[tuple[str, int, Any]]) -> None:
    size = len(council.nodes)
    for name, number, argument in acts:
        if name == "wait":
            council.step(number % size, argument)
        elif name == "deliver":
            council.deliver(number, keep=argument)
        elif name == "lose" and council.air:
            council.air.pop(number % len(council.air))
        elif name == "crash":
            council.nodes[number % size].restart()


@settings(max_examples=300)
@given(size=st.integers(1, 5), acts=st.lists(act, max_size=60))
def test_never_two_decisions_and_one_in_the_end(size: int, acts: list[tuple[str, int, Any]]) -> None:
    council = Council(size)
    play(council, acts)
    council.come_together()


@pytest.mark.parametrize("seed", range(20))
def test_long_random_schedules(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  repeatable
    council = Council(rng.choice([3, 4, 5, 7]))
    kinds = ["wait"] * 2 + ["deliver"] * 10 + ["lose"] * 3 + ["crash"]
    arguments: dict[str, list[Any]] = {
        "wait": [0.0, 1.1, 3.0, 40.0],
        "deliver": [True, False],
        "lose": [None],
        "crash": [None],
    }
    acts = [(kind, rng.randrange(1000), rng.choice(arguments[kind])) for kind in rng.choices(kinds, k=300)]
    play(council, acts)
    council.come_together()


# One view after the other


def test_with_nothing_lost_the_first_leader_decides_in_view_0() -> None:
    council = Council(4)
    for index in range(4):
        council.step(index)
    while council.air:
        council.deliver(0)
    for node in council.nodes:
        assert node.core.decision is not None
        assert node.core.decision.value.endswith(council.people[0].peer_id.encode())
        assert node.core.view == 0
        assert len({record.signer for record in node.core.decision.votes}) >= 3


def test_a_value_that_was_voted_for_is_proposed_again() -> None:
    """Node 0 proposes and dies; a vote came out. The next leader has to take up its value."""
    a, b, c = (Elector(identity, ids(people(3))) for identity in people(3))
    first = a.advance()
    b.core.on_record(first[0])
    b.advance()
    for node in (b, c):
        node.now_s = 2.0
    promised = b.advance() + c.advance()
    for record in promised:
        b.core.on_record(record)
        c.core.on_record(record)
    (opening,), (proposed,) = bodies(Proposal, first[:1]), bodies(Proposal, b.advance())
    assert proposed.view == 1
    assert proposed.value == opening.value


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_vote_that_no_majority_can_share_binds_nobody(size: int) -> None:
    """The first leader votes for what nobody else can check; its promise is always the first to arrive."""
    council = Council(size)
    liar, honest = council.nodes[0], council.nodes[1:]
    secret = b"value of " + liar.identity.peer_id.encode()
    for _ in range(20):
        said = liar.advance()
        said += [record for node in honest for record in node.advance(lambda value: value != secret)]
        for node in council.nodes:
            for record in said:
                node.core.on_record(record)
            node.now_s += 0.0 if said else 64 * PATIENCE_S
    decided = {node.core.decision.value for node in honest if node.core.decision}
    assert len(decided) == 1
    assert secret not in decided


def test_what_may_have_been_decided_binds_though_most_have_voted_again_since() -> None:
    """Decided in view 0 by a, b and c; a voted once more in view 1; c is not heard."""
    a, b, c, d = people(4)
    core = agreement(c, ids([a, b, c, d]))
    for record in (
        proposal(a, 0, b"decided"),
        proposal(
            b, 1, b"decided", [promise(a, 1, 0, b"decided"), promise(b, 1, 0, b"decided"), promise(d, 1)]
        ),
    ):
        core.on_record(record)
    promises = [promise(a, 2, 1, b"decided"), promise(b, 2, 0, b"decided"), promise(d, 2)]
    with pytest.raises(RemoteProtocolError, match="another value was voted for"):
        core.on_record(proposal(c, 2, b"another", promises))


def test_a_new_leader_is_free_if_nobody_had_voted() -> None:
    _, b, c = (Elector(identity, ids(people(3))) for identity in people(3))
    for node in (b, c):
        node.now_s = 2.0
    for record in b.advance() + c.advance():
        b.core.on_record(record)
    assert bodies(Proposal, b.advance())[0].value.endswith(b.identity.peer_id.encode())


class TestOpinions:
    """A value that is a matter of opinion: a leader and b like it and have voted for it, the others do not.

    Five electors; view 1 belongs to b, and takes PATIENCE_S from 1.0 on.
    """

    FIRST = b"opinion"
    EARLY_S, LATE_S = 1.1, 1.6

    def after_view_0(self, me: int) -> Agreement:
        """An elector that comes to view 1 with a, b and c: two of them have voted."""
        a, b, c, _, _ = people(5)
        core = agreement(people(5)[me], ids(people(5)))
        first = [promise(a, 1, 0, self.FIRST), promise(b, 1, 0, self.FIRST), promise(c, 1)]
        for record in (proposal(a, 0, self.FIRST), *first):
            core.on_record(record)
        for _ in range(2):  # the view is entered, then its clock starts
            core.advance(1.0, lambda: None, lambda value: me < 2, self.arguable)
        return core

    def arguable(self, value: bytes) -> bool:
        return value == self.FIRST

    def led(self, core: Agreement, now_s: float) -> list[bytes]:
        """What its leader proposes: by itself, that all stays as it was."""
        said = core.advance(now_s, lambda: b"as it was", lambda value: True, self.arguable)
        return [record.body.value for record in said if isinstance(record.body, Proposal)]

    def votes(self, core: Agreement, now_s: float) -> bool:
        said = core.advance(now_s, lambda: None, lambda value: value != self.FIRST, self.arguable)
        return any(isinstance(record.body, Vote) for record in said)

    def test_the_leader_does_not_hurry_with_what_few_like(self) -> None:
        _, b, _, d, e = people(5)
        core = self.after_view_0(1)
        core.on_record(promise(b, 1, 0, self.FIRST))
        assert self.led(core, self.EARLY_S) == []
        core.on_record(promise(d, 1))
        core.on_record(promise(e, 1))
        assert self.led(core, self.EARLY_S) == [b"as it was"]

    def test_of_two_that_are_silent_one_may_have_liked_it(self) -> None:
        assert self.led(self.after_view_0(1), self.LATE_S) == [self.FIRST]

    def test_what_may_have_been_decided_is_voted_for_by_all_in_the_end(self) -> None:
        a, b, c, _, _ = people(5)
        core = self.after_view_0(2)
        shown = [promise(a, 1, 0, self.FIRST), promise(b, 1, 0, self.FIRST), promise(c, 1)]
        core.on_record(proposal(b, 1, self.FIRST, shown))
        assert not self.votes(core, self.EARLY_S)
        assert self.votes(core, self.LATE_S)

    def test_a_leader_that_hides_promises_forces_nobody(self) -> None:
        a, b, c, d, e = people(5)
        core = self.after_view_0(2)
        core.on_record(promise(d, 1))
        core.on_record(promise(e, 1))
        shown = [promise(a, 1, 0, self.FIRST), promise(b, 1, 0, self.FIRST), promise(c, 1)]
        core.on_record(proposal(b, 1, self.FIRST, shown))
        assert not self.votes(core, self.LATE_S)


def test_patience_doubles_with_each_view_of_a_living_majority() -> None:
    """Leaders 1, 2, ... are silent; promises of three are there at once."""
    node = Elector(people(5)[0], ids(people(5)))
    lengths = []
    node.now_s = 1.0
    for view in range(1, 5):
        node.advance(lambda value: False)
        assert node.core.view == view
        for identity in people(5)[1:3]:
            node.core.on_record(promise(identity, view))
        node.advance(lambda value: False)
        lengths.append(node.core.deadline_s - node.now_s)
        node.now_s = node.core.deadline_s
    assert lengths == [1.0, 2.0, 4.0, 8.0]


def test_a_minority_waits_in_one_view() -> None:
    node = Elector(people(5)[0], ids(people(5)))
    for _ in range(1000):
        node.now_s += 100.0
        node.advance(lambda value: False)
    assert node.core.view == 1
    assert [record.body.KIND for record in node.disk] == ["promise"]


def test_more_than_a_third_elsewhere_is_joined_at_once() -> None:
    node = Elector(people(5)[0], ids(people(5)))
    node.core.on_record(promise(people(5)[1], 7))
    node.advance(lambda value: False)
    assert node.core.view == 0
    node.core.on_record(promise(people(5)[2], 4))
    node.advance(lambda value: False)
    assert node.core.view == 4


def test_who_is_no_elector_follows_without_a_voice() -> None:
    electors = people(3)
    stranger = Elector(people(4)[3], ids(electors))
    leader = Elector(electors[0], ids(electors))
    for record in leader.advance():
        stranger.core.on_record(record)
    stranger.core.on_record(vote(electors[1], 0, bodies(Proposal, leader.disk[:1])[0].value))
    stranger.now_s = 100.0
    assert stranger.advance() == []
    assert stranger.core.decision is not None


def test_votes_of_strangers_count_for_nothing_and_are_no_offence() -> None:
    electors = people(3)
    node = Elector(electors[1], ids(electors))
    node.core.on_record(proposal(electors[0], 0, b"value"))
    for stranger in people(9)[3:]:
        node.core.on_record(vote(stranger, 0, b"value"))
        node.core.on_record(promise(stranger, 9))
    assert node.core.decision is None
    node.advance()
    assert node.core.view == 0


def test_votes_in_two_views_are_not_added_up() -> None:
    electors = people(3)
    node = Elector(electors[1], ids(electors))
    node.core.on_record(proposal(electors[0], 0, b"value"))
    node.core.on_record(vote(electors[0], 0, b"value"))
    node.core.on_record(vote(electors[2], 1, b"value"))
    assert node.core.decision is None


# After a crash


@pytest.mark.parametrize("other_first", [False, True])
def test_of_two_values_that_a_liar_had_decided_all_come_to_the_same(other_first: bool) -> None:
    """Whichever it has heard first: both its votes count, and it is named."""
    liar, *honest = people(5)
    electors = ids([liar, *honest])
    values = sorted((b"one", b"other"), key=value_digest, reverse=other_first)
    core = agreement(honest[0], electors)
    for value, half in zip(values, (honest[:2], honest[2:]), strict=True):
        refusals = []
        for record in (proposal(liar, 0, value), *(vote(voter, 0, value) for voter in (liar, *half))):
            try:
                core.on_record(record)
            except RemoteProtocolError as error:
                refusals.append((error.peer, error.reason))
        assert refusals == ([] if value == values[0] else [(liar.peer_id, "equivocation")] * 2)
    assert core.decision is not None
    assert core.decision.value == min(values, key=value_digest)
    assert {record.signer for record in core.decision.votes} >= {liar.peer_id}


def test_what_closes_another_roster_is_passed_over() -> None:
    """Its signer may follow that one in good faith."""
    electors = people(3)
    instance = Instance(5, BASE, "close", digest("roster"))
    core = Agreement(instance, ids(electors), electors[0], SWARM, PATIENCE_S, PATIENCE_S)
    for voter in electors[1:]:
        body = Vote(
            round=5, base=BASE, step="close", roster=digest("other"), view=0, value=value_digest(b"end")
        )
        core.on_record(sign(voter, SWARM, body))
        core.on_record(sign(voter, SWARM, msgspec.structs.replace(body, value=value_digest(b"other end"))))
    late = Proposal(
        round=5, base=BASE, step="close", roster=digest("other"), view=0, value=b"end", promises=()
    )
    core.on_record(sign(electors[2], SWARM, late))
    assert core.decision is None
    assert not core.has_proposal


def test_a_restart_neither_votes_nor_proposes_twice() -> None:
    council = Council(3)
    council.step(0)
    said = list(council.nodes[0].disk)
    assert [record.body.KIND for record in said] == ["proposal", "vote"]
    council.nodes[0].restart()
    council.step(0)
    assert council.nodes[0].disk == said


def test_a_restart_keeps_its_promise() -> None:
    electors = people(3)
    node = Elector(electors[1], ids(electors))
    node.now_s = 5.0
    node.advance()
    assert node.core.view == 1
    node.restart()
    node.core.on_record(proposal(electors[0], 0, b"late"))
    assert not any(isinstance(record.body, Vote) for record in node.advance())


def test_a_restart_still_tells_of_its_vote() -> None:
    electors = people(3)
    node = Elector(electors[1], ids(electors))
    node.core.on_record(proposal(electors[0], 0, b"value"))
    node.advance()
    node.restart()
    node.now_s = 5.0
    (said,) = bodies(Promise, node.advance())
    assert (said.voted_view, said.voted) == (0, value_digest(b"value"))


# Liars


class TestLiars:
    """What a record proves against its signer."""

    electors: ClassVar[list[Identity]] = people(5)

    @pytest.fixture
    def node(self) -> Elector:
        return Elector(self.electors[4], ids(self.electors))

    def blamed(self, node: Elector, record: Signed[Body]) -> str:
        with pytest.raises(RemoteProtocolError) as caught:
            node.core.on_record(record)
        assert caught.value.peer == record.signer
        return caught.value.reason

    def test_two_votes_in_one_view(self, node: Elector) -> None:
        node.core.on_record(vote(self.electors[1], 0, b"one"))
        assert self.blamed(node, vote(self.electors[1], 0, b"other")) == "equivocation"

    def test_two_proposals_in_one_view(self, node: Elector) -> None:
        node.core.on_record(proposal(self.electors[0], 0, b"one"))
        assert self.blamed(node, proposal(self.electors[0], 0, b"other")) == "equivocation"

    def test_the_value_of_a_second_proposal_can_still_be_decided(self, node: Elector) -> None:
        node.core.on_record(proposal(self.electors[0], 0, b"one"))
        self.blamed(node, proposal(self.electors[0], 0, b"other"))
        for elector in self.electors[:3]:
            node.core.on_record(vote(elector, 0, b"other"))
        assert node.core.decision is not None
        assert node.core.decision.value == b"other"

    def test_a_proposal_by_another(self, node: Elector) -> None:
        assert self.blamed(node, proposal(self.electors[1], 0, b"mine")) == "not-the-leader"

    @pytest.mark.parametrize("field", ["round", "base"])
    @pytest.mark.parametrize("make", [proposal, vote, promise], ids=["proposal", "vote", "promise"])
    def test_a_record_of_another_instance(self, node: Elector, make: Callable[..., Any], field: str) -> None:
        record = make(self.electors[0], 1) if make is promise else make(self.electors[0], 0, b"value")
        other: Any = 6 if field == "round" else bytes(32)
        body = msgspec.structs.replace(record.body, **{field: other})
        assert self.blamed(node, sign(self.electors[0], SWARM, body)) == "wrong-round"

    @pytest.mark.parametrize(("view", "voted_view"), [(0, None), (2, 2), (2, 3)])
    def test_an_impossible_promise(self, node: Elector, view: int, voted_view: int | None) -> None:
        assert self.blamed(node, promise(self.electors[1], view, voted_view)) == "bad-promise"

    @pytest.mark.parametrize("half", ["voted_view", "voted"])
    def test_half_a_promise(self, node: Elector, half: str) -> None:
        whole = promise(self.electors[1], 3, 1, b"value")
        body = msgspec.structs.replace(whole.body, **{half: None})
        assert self.blamed(node, sign(self.electors[1], SWARM, body)) == "bad-promise"

    def test_too_few_promises(self, node: Elector) -> None:
        promises = [promise(elector, 1) for elector in self.electors[:2]]
        assert self.blamed(node, proposal(self.electors[1], 1, b"value", promises)) == "bad-justification"

    def test_one_promise_counted_often(self, node: Elector) -> None:
        promises = [promise(self.electors[0], 1)] * 3
        assert self.blamed(node, proposal(self.electors[1], 1, b"value", promises)) == "bad-justification"

    def test_promises_of_strangers(self, node: Elector) -> None:
        promises = [promise(elector, 1) for elector in people(9)[5:]]
        assert self.blamed(node, proposal(self.electors[1], 1, b"value", promises)) == "bad-justification"

    def test_promises_for_another_view(self, node: Elector) -> None:
        promises = [promise(elector, 2) for elector in self.electors[:3]]
        assert self.blamed(node, proposal(self.electors[1], 1, b"value", promises)) == "bad-justification"

    def test_a_value_other_than_the_one_voted_for(self, node: Elector) -> None:
        promises = [promise(elector, 1) for elector in self.electors[:2]]
        promises.append(promise(self.electors[2], 1, 0, b"voted"))
        assert self.blamed(node, proposal(self.electors[1], 1, b"value", promises)) == "bad-justification"
        node.core.on_record(proposal(self.electors[1], 1, b"voted", promises))

    def test_the_newest_vote_binds(self, node: Elector) -> None:
        promises = [
            promise(self.electors[0], 3, 0, b"old"),
            promise(self.electors[1], 3, 2, b"new"),
            promise(self.electors[2], 3, 1, b"older"),
        ]
        assert self.blamed(node, proposal(self.electors[3], 3, b"old", promises)) == "bad-justification"
        node.core.on_record(proposal(self.electors[3], 3, b"new", promises))

    def test_a_promise_that_nobody_signed(self, node: Elector) -> None:
        promises = [promise(elector, 1) for elector in self.electors[:3]]
        wires = (*(record.wire for record in promises[:2]), promises[2].wire[:-1] + b"\x00")
        body = Proposal(round=5, base=BASE, step="roster", view=1, value=b"value", promises=wires)
        assert self.blamed(node, sign(self.electors[1], SWARM, body)) == "bad-signature"

    def test_an_invented_vote_binds_nobody(self) -> None:
        """A promise that tells of a vote for what was never proposed is left out."""
        leader = Elector(self.electors[1], ids(self.electors))
        leader.now_s = 5.0
        leader.advance()
        leader.core.on_record(promise(self.electors[0], 1, 0, b"never proposed"))
        leader.core.on_record(promise(self.electors[2], 1))
        assert leader.advance() == [], "two promises that can be believed are no majority of five"
        leader.core.on_record(promise(self.electors[3], 1))
        (proposed, _) = leader.advance()
        assert isinstance(proposed.body, Proposal)
        assert len(proposed.body.promises) == 3
        follower = Elector(self.electors[4], ids(self.electors))
        follower.core.on_record(proposed)
        assert follower.core.has_proposal


def test_progress_is_told() -> None:
    council = Council(3)
    council.step(0)
    assert council.nodes[0].core.progress() == "1 of 3 votes, need 2"


@pytest.mark.parametrize("step", ["roster", "close"])
def test_own_records_name_their_instance(step: Literal["roster", "close"]) -> None:
    me = people(1)[0]
    core = Agreement(Instance(9, BASE, step), (me.peer_id,), me, SWARM, 1.0, 1.0)
    said = core.advance(0.0, lambda: b"value", lambda value: True)
    (proposed,), (voted,) = bodies(Proposal, said), bodies(Vote, said)
    assert len(said) == 2
    assert {(body.round, body.base, body.step) for body in (proposed, voted)} == {(9, BASE, step)}
    assert core.decision is not None
