"""Votes among real nodes: earned by audited work, the same for all, and none for who has just come."""

from __future__ import annotations

from dhtnode.errors import Exit
from dhtnode.home import Home
from dhtnode.status import Status
from dhtnode.store import Store, StoredRecord
from rewards.heads import HEAD
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import Swarm
from tests.swarm.test_judging import cheating
from training.chain import open_certificate
from training.messages import Head
from validation.cases import CASE

PROBATION = 5
EARLY = "abc"


def heads(swarm: Swarm, name: str) -> dict[int, Head]:
    """The heads that a node keeps, by number."""
    with Store.open_reader(Home(swarm.folder / name).store_path) as store:
        stored = store.all_records(HEAD)
    certificates = (open_certificate(one.wire, swarm.manifest.swarm_id, "") for one in stored)
    return {certificate.head.number: certificate.head for certificate in certificates}


def cases(swarm: Swarm, name: str, guilty: str) -> list[StoredRecord]:
    """The cases against a key that a node keeps."""
    with Store.open_reader(Home(swarm.folder / name).store_path) as store:
        return [one for one in store.all_records(CASE) if one.signer == guilty]


def vote(status: Status | None, peer: str) -> float:
    """What a peer counts for, as a node shows it."""
    return dict(zip(status.round.roster, status.round.votes, strict=True)).get(peer, 0.0) if status else 0.0


def start_until_all_have_votes(swarm: Swarm, names: str) -> set[str]:
    """The first members; their peer ids."""
    for name in names:
        swarm.start(name)
    peers = {swarm.reachable(name).peer_id for name in names}
    swarm.until_each(
        names,
        "sees a vote for each of the first members",
        lambda name: all(vote(swarm.status(name), peer) for peer in peers),
    )
    return peers


def test_members_earn_votes_and_a_newcomer_has_none_on_probation(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm({"reputation.probation_rounds": PROBATION}, min_peers=len(EARLY), inner_steps="5")
    early = start_until_all_have_votes(swarm, EARLY)
    swarm.start("d")
    late = swarm.reachable("d").peer_id
    swarm.until_each("abcd", "sees a vote for d", lambda name: vote(swarm.status(name), late))

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


def test_who_was_banned_comes_back_with_its_key_and_without_a_vote(make_swarm: MakeSwarm) -> None:
    ban = 12
    swarm = make_swarm({"reputation.ban_rounds": ban}, min_peers=4, inner_steps="5")
    for name in EARLY:
        swarm.start(name)
    swarm.start("x", command=cheating("sign-flip"))
    cheat = swarm.reachable("x").peer_id
    assert swarm.ended("x") == Exit.FAILED
    assert f"its ban takes {ban} rounds or more" in swarm.nodes["x"].output.read_text()
    swarm.until_members(*EARLY)
    swarm.start("x")
    swarm.until_members(*EARLY, "x")
    seen = heads(swarm, "a")
    first_case = min(case.round_no for case in cases(swarm, "a", cheat))
    out = min(number for number, head in seen.items() if number > first_case and cheat not in head.members)
    assert all(cheat not in seen[number].members for number in range(out, first_case + ban + 1))
    assert cheat not in swarm.reachable("a").audits.excluded
    swarm.go_on(*EARLY, "x")
    swarm.assert_identical()
