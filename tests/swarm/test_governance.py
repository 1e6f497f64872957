"""A vote in real processes: three nodes train, decide to train otherwise, and do so in the same round."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from dhtnode.control import ask
from dhtnode.errors import Exit
from dhtnode.home import Home
from dhtnode.manifest import terms_digest
from dhtnode.status import Status
from dhtnode.store import Store
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import RUN, Swarm
from training.messages import Commitment
from validation.messages import Verdict

NAMES = "abc"
EPOCH = 4
NONSENSE = {"bad-amendment", "bad-bulletin", "bad-registration", "flood"}
OUTDATED = (sys.executable, "-P", str(Path(__file__).with_name("outdated.py")))
AHEAD, QUIET = 32, 12
"""Rounds from the proposals to the effect of the first, and from there on to that of the second."""
QUICK = {
    "reward.epoch_rounds": EPOCH,
    "reward.vesting_rounds": 2,
    "reward.vote_cap_ppm": 50_000,
    "audit.rate": 0.5,
}
"""Credits vest within an epoch, and with this cap every key weighs the same: two of three decide."""


def dhtnode(swarm: Swarm, node: str, *words: str) -> subprocess.CompletedProcess[str]:
    line = [*RUN, *words, "--home", str(swarm.folder / node)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stderr


def asked(swarm: Swarm, node: str, command: str, **options: str) -> Any:
    """What a node answers on its socket: rounds here are shorter than a command takes to start."""
    return json.loads(ask(swarm.nodes[node].home.control_path, command, options=options))


def listed(swarm: Swarm, node: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked(swarm, node, "proposals")["proposals"]
    return found


def batches(swarm: Swarm, node: str) -> dict[int, set[int]]:
    """Tokens for each step that commitments in a node's store show, by round."""
    found: dict[int, set[int]] = {}
    with Store.open_reader(Home(swarm.folder / node).store_path) as store:
        for summary in store.rounds():
            for stored in store.records(Commitment.KIND, summary.round_no):
                kind, _, body, _ = msgspec.msgpack.decode(stored.wire)
                assert kind == Commitment.KIND
                found.setdefault(body["round"], set()).add(body["tokens"] // body["steps"])
    return found


def judged(swarm: Swarm, node: str) -> set[int]:
    """Rounds on which there are verdicts in a node's store."""
    with Store.open_reader(Home(swarm.folder / node).store_path) as store:
        return {stored.round_no for stored in store.all_records(Verdict.KIND)}


def test_members_change_the_constants_together_and_who_comes_later_follows(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm(QUICK, min_peers=3, inner_steps="4")
    for name in NAMES:
        swarm.start(name)
    swarm.until_round(EPOCH + 1, *NAMES)

    # One proposes, two vote; who is asked for nonsense is told so in one line

    refused = dhtnode(swarm, "a", "propose", "task.kind=digits")
    assert "task.kind can't be changed" in said(refused, Exit.FAILED)
    assert "no open proposal" in said(dhtnode(swarm, "b", "vote", "00", "yes"), Exit.FAILED)
    effect = swarm.round_of("a") + AHEAD
    loud = effect + QUIET
    changes = json.dumps({"inner.batch_size": "4", "inner.options.lr": "0.002", "audit.rate": "0"})
    name = asked(swarm, "a", "propose", changes=changes, effect=str(effect), why="calmer")
    again = json.dumps({"audit.rate": "0.6"})
    second = asked(swarm, "a", "propose", changes=again, effect=str(loud), why="not that calm")
    swarm.until_each("bc", "has heard of both", lambda node: len(listed(swarm, node)) == 2)
    for proposal in (name, second):
        asked(swarm, "c", "vote", proposal=proposal[:12], choice="no")
        asked(swarm, "b", "vote", proposal=proposal[:12], choice="yes")

    # They are adopted, and hold from the rounds that they name; somebody comes in between

    swarm.until_each(
        NAMES,
        "knows that both are adopted",
        lambda node: all(one["state"] != "open" for one in listed(swarm, node)),
    )
    swarm.until_round(effect + 1, *NAMES)
    swarm.start("d")
    swarm.until_members(*NAMES, "d")
    swarm.until_round(loud + 1, *NAMES, "d")
    swarm.until_each((*NAMES, "d"), "has audits again", lambda node: max(judged(swarm, node)) >= loud)
    swarm.assert_identical()
    page = said(dhtnode(swarm, "d", "proposals"))
    for words in (name[:12], "in force", str(effect), "inner.batch_size = 4"):
        assert words in page
    statuses = [_status(swarm, node) for node in (*NAMES, "d")]
    assert {status.terms.since_round for status in statuses} == {loud}
    assert len({status.terms.digest for status in statuses}) == 1
    assert statuses[0].terms.digest != terms_digest(swarm.manifest.terms).hex()
    assert not NONSENSE & {reason for status in statuses for reason in status.rejected}
    usual = min(batches(swarm, "a")[0])
    for node in (*NAMES, "d"):
        for round_no, found in batches(swarm, node).items():
            assert found == {2 * usual if round_no >= effect else usual}, (node, round_no)
    assert max(batches(swarm, "d")) > effect, "the late one has seen work by the new terms"
    for node in (*NAMES, "d"):
        assert not judged(swarm, node) & set(range(effect, loud)), "nothing was audited meanwhile"
    assert min(judged(swarm, "a")) < effect

    # Also after a restart

    swarm.kill("c")
    swarm.start("c")
    swarm.until("c plays by the new terms again", lambda: _status(swarm, "c").terms.since_round == loud)
    back = swarm.go_on(*NAMES, "d")
    swarm.until("c hears of audits again", lambda: max(judged(swarm, "c")) >= back)
    swarm.assert_identical()


def _status(swarm: Swarm, name: str) -> Status:
    return swarm.until(f"{name} has a status", lambda: swarm.status(name))


def test_data_is_paid_to_who_registered_it_first(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm(QUICK, min_peers=2, inner_steps="4")
    for name in "ab":
        swarm.start(name)
    swarm.until_round(1, *"ab")
    assert "english, chunks 0 to 0: waiting for the next round" in said(
        dhtnode(swarm, "a", "data", "register", "english", "--chunks", "0:1")
    )
    swarm.until("b has heard of it", lambda: len(_registered(swarm, "b")) == 1)
    (first,) = _registered(swarm, "b")
    assert first[:12] in said(dhtnode(swarm, "b", "data", "list"))
    said(dhtnode(swarm, "b", "data", "register", "prose", "--chunks", "0:1"))
    swarm.until("a has heard of the other", lambda: len(_registered(swarm, "a")) == 2)
    swarm.until("a is paid for its data", lambda: _status(swarm, "a").rewards.by_term["data"] > 0)
    swarm.go_on(*"ab")
    status = _status(swarm, "b")
    assert status.rewards.by_term["data"] == 0
    assert not NONSENSE & {reason for node in "ab" for reason in _status(swarm, node).rejected}
    paid = next(part for part in _status(swarm, "a").why if "data it has registered" in part.cause)
    assert paid.record == first
    assert "registered chunks 0 to 0 as english" in said(dhtnode(swarm, "a", "why", paid.record))
    swarm.until("both know both claims", lambda: len({_shards(swarm, name) for name in "ab"}) == 1)


def _registered(swarm: Swarm, name: str) -> list[str]:
    """Ids of what counts, as a node has it."""
    return [one["id"] for one in asked(swarm, name, "shards")["shards"] if one["state"] == "registered"]


def _shards(swarm: Swarm, name: str) -> bytes:
    return ask(swarm.nodes[name].home.control_path, "shards")


def test_a_node_that_can_not_follow_is_told_why_it_is_out(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm(QUICK, min_peers=4, inner_steps="4")
    for name in NAMES:
        swarm.start(name)
    swarm.start("old", command=(*OUTDATED, "inner", "batch_size"))
    swarm.until_round(EPOCH + 1, *NAMES, "old")
    effect = swarm.round_of("a") + AHEAD
    changes = json.dumps({"inner.batch_size": "4"})
    name = asked(swarm, "a", "propose", changes=changes, effect=str(effect), why="")
    swarm.until_each("bc", "has heard of it", lambda node: listed(swarm, node))
    for node in "bc":
        asked(swarm, node, "vote", proposal=name, choice="yes")
    code = swarm.ended("old")
    told = swarm.nodes["old"].output.read_text()
    assert code == Exit.TERMS, told
    line = next(line for line in told.splitlines() if line.startswith("dhtnode: "))
    why = "inner.batch_size is no key that this dhtnode can change"
    assert f"can't follow the swarm: amendment {name[:12]}: {why}; update dhtnode" in line
    assert "update it in time" in told, "it was warned an epoch before"
    swarm.until_round(effect + 2, *NAMES)
    swarm.assert_identical(*NAMES)
    assert {_status(swarm, node).terms.since_round for node in NAMES} == {effect}
    swarm.start("old")
    swarm.until("the new version goes on in the same home", lambda: _since(swarm, "old") == effect)


def _since(swarm: Swarm, name: str) -> int:
    return _status(swarm, name).terms.since_round
