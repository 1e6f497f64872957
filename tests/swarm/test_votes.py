"""Votes among real nodes: earned by audited work, the same for all, and none for who has just come."""

from __future__ import annotations

from dhtnode.home import Home
from dhtnode.status import Status
from dhtnode.store import Store
from rewards.heads import HEAD
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import Swarm
from training.chain import open_certificate
from training.messages import Head

PROBATION = 5
EARLY = "abc"


def heads(swarm: Swarm, name: str) -> dict[int, Head]:
    """The heads that a node keeps, by number."""
    with Store.open_reader(Home(swarm.folder / name).store_path) as store:
        stored = store.all_records(HEAD)
    certificates = (open_certificate(one.wire, swarm.manifest.swarm_id, "") for one in stored)
    return {certificate.head.number: certificate.head for certificate in certificates}


def vote(status: Status | None, peer: str) -> float:
    """What a peer counts for, as a node shows it."""
    return dict(zip(status.round.roster, status.round.votes, strict=True)).get(peer, 0.0) if status else 0.0


def test_members_earn_votes_and_a_newcomer_has_none_on_probation(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm({"reputation.probation_rounds": PROBATION}, min_peers=len(EARLY), inner_steps="5")
    for name in EARLY:
        swarm.start(name)
    early = {swarm.reachable(name).peer_id for name in EARLY}
    for name in EARLY:
        swarm.until(
            f"{name} sees a vote for each of the first members",
            lambda name=name: all(vote(swarm.status(name), peer) for peer in early),
        )
    swarm.start("d")
    late = swarm.reachable("d").peer_id
    for name in "abcd":
        swarm.until(f"{name} sees a vote for d", lambda name=name: vote(swarm.status(name), late))

    seen = {name: heads(swarm, name) for name in "abcd"}
    for number, head in seen["d"].items():
        others = [seen[name][number] for name in EARLY if number in seen[name]]
        assert all(other.votes == head.votes for other in others), "one vote for all"
    with_late = [head for number, head in sorted(seen["a"].items()) if late in head.members]
    assert not any(head.vote_of(late) for head in with_late[:PROBATION])
    assert all(set(head.electors) == early for head in with_late[:PROBATION])
    for name in "abcd":
        assert not swarm.reachable(name).rejected
    swarm.assert_identical()
