"""Nodes that die, come back, come late and leave."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

from dhtnode.cli.status import offline_status
from dhtnode.home import Home, data_cache
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import RUN, Swarm

PHASES = ("train", "commit", "roster", "reduce", "close")


def doomed(where: str) -> tuple[str, ...]:
    """The command of a node that dies there."""
    return (sys.executable, "-P", str(Path(__file__).with_name("doomed.py")), where)


def rounds_missed(swarm: Swarm, name: str, before: int = -1) -> int:
    """How many rounds went by without the node's work after it came (back), the one it came into included."""
    seen = [number for number in swarm.rounds(name) if number > before]
    counted = [number for number in swarm.receipts(name) if number > before]
    assert counted, f"{name} came to {seen}, and none of them has its work in it"
    return min(counted) - (min(seen) + 1)


def test_a_node_that_dies_in_any_phase_is_missed_and_comes_back(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm(min_peers=4, inner_steps="40")
    for name in "abcd":
        swarm.start(name)
    swarm.until_round(3)
    me = swarm.reachable("d").peer_id
    last_rounds = []
    swarm.nodes["d"].process.kill()
    for phase in (*PHASES, None):
        assert swarm.ended("d") == -signal.SIGKILL
        at_death = max(swarm.round_of(name) for name in "abc")
        last_rounds.append(max(swarm.rounds("d"), default=-1))
        swarm.start("d", command=doomed(phase) if phase else RUN)
        swarm.until_round(at_death + 2, *"abc")
    swarm.until_members(*"abcd")
    swarm.go_on(*"abcd")
    assert swarm.reachable("d").peer_id == me
    missed = [rounds_missed(swarm, "d", last) for last in last_rounds]
    assert max(missed) < 3, (
        f"{missed} after {last_rounds}: saw {sorted(swarm.rounds('d'))}, had work in {swarm.receipts('d')}"
    )
    swarm.assert_identical()
    assert all(swarm.reachable(name).branch is None for name in "abcd")


def test_a_node_alone_that_dies_in_every_phase_loses_nothing(make_swarm: MakeSwarm) -> None:
    """What it ends with is what it would have ended with undisturbed, since it is the same to the bit."""
    swarm = make_swarm(rounds=8)
    for effect in ("Train", "Publish", "Reduce", "Apply", "Adopt"):
        swarm.start("restless", command=doomed(effect))
        assert swarm.ended("restless") == -signal.SIGKILL
    swarm.start("restless")
    assert swarm.ended("restless") == 0
    ended_with = [done.state_digest for done in swarm.rounds("restless").values()]
    assert ended_with == swarm.rehearsed("restless")


def test_a_latecomer_with_nothing_but_the_manifest(make_swarm: MakeSwarm, tmp_path: Path) -> None:
    """It gets the data and the state from the swarm and takes part in the next round."""
    text = tmp_path / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 3000)
    swarm = make_swarm(min_peers=3, inner_steps="40", data=text)
    shutil.rmtree(data_cache())
    swarm.start("a", "--data", str(text))
    swarm.start("b")
    swarm.start("c")
    swarm.until_round(3)
    empty = swarm.folder / "d"
    assert not empty.exists()
    swarm.start("d")
    swarm.until_members(*"abcd")
    swarm.go_on(*"abcd")
    assert (empty / "data" / str(swarm.manifest.terms.data.digest)).read_bytes() == text.read_bytes()
    assert rounds_missed(swarm, "d") <= 1, "it takes part in the round it came into, or in the next"
    swarm.assert_identical()


def test_nodes_that_are_asked_to_stop_leave_cleanly(make_swarm: MakeSwarm) -> None:
    """The others do not wait for them: no deadline of theirs could pass within this test."""
    swarm = make_swarm({"round.min_deadline_s": 600}, min_peers=3)
    for name in "abc":
        swarm.start(name)
    for leaver, number in (("c", signal.SIGTERM), ("a", signal.SIGINT)):
        swarm.until_members(*"abc")
        swarm.nodes[leaver].process.send_signal(number)
        assert swarm.ended(leaver) == 0
        swarm.until_members(*set("abc") - {leaver})
        left = offline_status(Home(swarm.folder / leaver))
        assert not left.running
        assert left.round.state_digest == swarm.rounds("b")[left.round.number - 1].state_digest
        swarm.start(leaver)
    swarm.until_members(*"abc")
    swarm.assert_identical()


def test_the_first_signal_ends_a_node_that_waits_for_company(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm(min_peers=2)
    swarm.start("a")
    swarm.until("a waits", lambda: (status := swarm.status("a")) and status.round.phase == "commit")
    swarm.nodes["a"].process.terminate()
    assert swarm.ended("a") == 0


def test_the_second_signal_ends_a_node_at_once(make_swarm: MakeSwarm) -> None:
    """The first one waits for the round, which waits for a dead node's deadline, far away."""
    swarm = make_swarm({"round.min_deadline_s": 600}, min_peers=3)
    swarm.start("a")
    swarm.start("b")
    swarm.start("c", command=doomed("train"))
    assert swarm.ended("c") == -signal.SIGKILL
    swarm.until(
        "b waits for c", lambda: (status := swarm.status("b")) and "waiting for 1 of 3" in status.round.reason
    )
    node = swarm.nodes["b"]
    node.process.terminate()
    swarm.until("b stops", lambda: "stopping: the current round" in node.output.read_text())
    assert swarm.round_of("b") == 1, "still there"
    node.process.terminate()
    assert swarm.ended("b") == 0


def test_the_last_node_goes_on_alone_and_says_so(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm({"round.stall_s": 3, "round.min_deadline_s": 1}, min_peers=3)
    for name in "abc":
        swarm.start(name)
    swarm.until_round(2)
    swarm.kill("a")
    swarm.kill("b")
    alone = swarm.until("c is on a branch", lambda: status.branch if (status := swarm.status("c")) else None)
    swarm.go_on("c", rounds=3)
    status = swarm.reachable("c")
    assert status.branch is not None
    assert status.round.roster == (status.peer_id,)
    assert any("without a quorum" in notice for notice in status.notices)
    assert alone.since_round == status.branch.since_round
    for name in "ab":
        swarm.start(name)
    swarm.until_round(swarm.round_of("c"))
    swarm.go_on("a", "b", "c", rounds=3)
    assert len({tuple(swarm.reachable(name).round.roster) for name in "abc"}) == 1
