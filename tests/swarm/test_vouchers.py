"""A newcomer that finds no proof of work is let in by real nodes once a member has vouched for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dhtnode.errors import Exit
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import RUN, Swarm
from tests.swarm.test_votes import vote

PENNILESS = (sys.executable, "-P", str(Path(__file__).with_name("penniless.py")))
EARLY = "abc"
SOON = {
    "reputation.probation_rounds": 3,
    "reputation.half_vote_percent": 48,
    "reputation.full_vote_percent": 50,
    "reputation.entry_bits": 10,
    "reputation.voucher_micro": 2,
    "audit.rate": 0.5,
}
"""Whole votes after a few rounds, and bonds that little work is worth."""


def asked(swarm: Swarm, *words: str, node: str = "a") -> subprocess.CompletedProcess[str]:
    home = ["--home", str(swarm.folder / node)]
    return subprocess.run([*RUN, *words, *home], capture_output=True, text=True, check=False)


def reason(swarm: Swarm, name: str) -> str:
    status = swarm.status(name)
    return status.round.reason if status else ""


def test_a_newcomer_is_let_in_by_a_members_word(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm(SOON, min_peers=len(EARLY), inner_steps="5")
    for name in EARLY:
        swarm.start(name)
    answering = swarm.reachable("a").peer_id
    swarm.start("d", command=PENNILESS)
    late = swarm.reachable("d").peer_id
    swarm.until_each(EARLY, "sees a whole vote", lambda name: vote(swarm.status(name), answering) == 1)
    assert all(late not in swarm.reachable(name).round.roster for name in EARLY)
    swarm.until("d looks for a proof of work", lambda: "finding its proof of work" in reason(swarm, "d"))

    refused = asked(swarm, "vouch", late, "--bond", "1000000")
    assert refused.returncode == Exit.FAILED
    assert "its stake does not cover 1,000,000.000000 credits" in refused.stderr
    given = asked(swarm, "vouch", late)
    assert given.returncode == 0, given
    assert f"vouched for {late} with 0.000002 credits" in given.stdout
    swarm.until_members(*EARLY, "d")
    swarm.until("d looks no more", lambda: "proof of work" not in reason(swarm, "d"))
    record = given.stdout.split("record ")[1].split()[0]
    assert f"{answering} answered for {late}" in asked(swarm, "why", record, node="b").stdout
    again = asked(swarm, "vouch", late, node="b")
    assert again.returncode == Exit.FAILED
    assert f"{answering} answers for it already" in again.stderr or "needs nobody's word" in again.stderr

    swarm.until_each(EARLY, "sees a vote for d", lambda name: vote(swarm.status(name), late))
    swarm.until_each(
        EARLY,
        "sees that d has served its probation",
        lambda name: (status := swarm.status(name)) and not status.reputation.vouchers,
    )
    for name in "abcd":
        assert not swarm.reachable(name).rejected
    swarm.assert_identical()
