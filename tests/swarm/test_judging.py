"""Cheats among real nodes: found out by replay, put out by the others, with a proof for anybody."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from dhtnode.cli.audit import export_audit, open_export
from dhtnode.errors import Exit
from dhtnode.home import Home
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import RUN, Swarm
from tests.swarm.nursery import PYTHON
from validation.cases import Case
from validation.messages import Verdict

CHEAT = Path(__file__).parents[1] / "adversary" / "cheat.py"


class Offence(NamedTuple):
    """What a cheat is out for, in one word and in some, and the first segment of its work that is false."""

    charge: str
    said: str
    segment: int | None = None


OFFENCES = {
    "label-flip": Offence("work", "that it had not done as committed", 0),
    "fewer-steps": Offence("work", "that it had not done as committed"),
    "false-reducer": Offence("reduction", "altered the part that it reduced"),
    "lazy-auditor": Offence("audit", "that it had not replayed"),
    "false-accuser": Offence("accusation", "called a sound"),
}
"""Who trains on other data is false from the first step on; who skips steps has no such list to show."""


def cheating(attack: str) -> tuple[str, ...]:
    return (*PYTHON, str(CHEAT), attack)


def audit(swarm: Swarm, *words: str, node: str | None = "a") -> subprocess.CompletedProcess[str]:
    home = ["--home", str(swarm.folder / node)] if node else []
    return subprocess.run([*RUN, "audit", *words, *home], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("honest", "cheats"),
    [
        ("abcd", ("label-flip", "fewer-steps", "false-reducer")),
        ("abcde", ("lazy-auditor", "false-accuser")),
    ],
    ids=["workers-and-a-reducer", "judges"],
)
def test_cheats_are_out_and_anybody_can_check_why(
    make_swarm: MakeSwarm, honest: str, cheats: tuple[str, ...]
) -> None:
    """All at once, among the first members. Of who lies about one's work, four others have to say so."""
    swarm = make_swarm({"audit.segment": 2}, min_peers=len(honest) + len(cheats), inner_steps="5")
    for name in honest:
        swarm.start(name)
    for name in cheats:
        swarm.start(name, command=cheating(name))
    peers = {name: swarm.reachable(name).peer_id for name in cheats}
    swarm.until_each(
        honest,
        "puts the cheats out",
        lambda name: (status := swarm.status(name)) and set(peers.values()) <= set(status.audits.excluded),
    )
    swarm.until_members(*honest)
    swarm.go_on(*honest)
    swarm.assert_identical(*honest)
    for name in honest:
        status = swarm.reachable(name)
        assert set(status.audits.excluded) == set(peers.values()), "nobody else"
        if "false-accuser" not in cheats:  # which says false things of the honest
            assert not status.audits.of_me.failed
    assert audit(swarm, "show").stdout.count("out: ") >= len(cheats)
    listed = json.loads(audit(swarm, "show", "--json").stdout)
    records = {each["guilty"]: each["id"] for each in listed if each["kind"] == "case"}
    for name, peer in peers.items():
        assert swarm.ended(name) == Exit.FAILED
        last = swarm.nodes[name].output.read_text().splitlines()[-1]
        assert "this node's key is out of the swarm" in last
        check_proof(swarm, records[peer], peer, OFFENCES[name])
    assert peer in audit(swarm, "show", records[peer]).stdout
    check_damaged(swarm, records[peer])


def check_proof(swarm: Swarm, record: str, cheat: str, offence: Offence) -> None:
    """A node's case as a file says to anybody who did what."""
    file = swarm.folder / f"{record}.case"
    export_audit(Home(swarm.folder / "a"), record, file)
    verified = audit(swarm, "verify", str(file), node=None)
    assert verified.returncode == 0
    assert cheat in verified.stdout
    assert offence.said in verified.stdout
    case = open_export(file)
    assert isinstance(case, Case)
    assert (case.guilty, case.charge) == (cheat, offence.charge)
    named = {record.body.segment for record in case.records if isinstance(record.body, Verdict)}
    # Who does not show its list of boundaries in time is called false as a whole.
    assert named & {offence.segment, None}
    assert named <= {offence.segment, None}


def check_damaged(swarm: Swarm, record: str) -> None:
    """With one bit changed, such a file proves nothing."""
    file = swarm.folder / "damaged.case"
    assert audit(swarm, "export", record, str(file)).returncode == 0
    damaged = bytearray(file.read_bytes())
    damaged[-5] ^= 1
    file.write_bytes(damaged)
    refused = audit(swarm, "verify", str(file), node=None)
    assert refused.returncode == Exit.FAILED
    assert "proves nothing" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def old_processor(*before: str) -> tuple[str, ...]:
    """The command of a node whose torch uses no wide instructions: it gives other bits for the same work."""
    instructions = ("ATEN_CPU_CAPABILITY=default", "DNNL_MAX_CPU_ISA=SSE41")
    return ("env", f"PYTHONPATH={CHEAT.parents[2]}", *instructions, *(before or RUN))


def test_members_with_other_processors_audit_each_other(make_swarm: MakeSwarm) -> None:
    """Two of each kind and a cheat: the honest pass across kinds by distance, the cheat is out."""
    swarm = make_swarm(min_peers=5, inner_steps="5")
    for name in "ab":
        swarm.start(name)
    for name in "cd":
        swarm.start(name, command=old_processor())
    swarm.start("x", command=old_processor(*cheating("sign-flip")))
    cheat = swarm.reachable("x").peer_id
    swarm.until_each(
        "abcd",
        "puts the cheat out",
        lambda name: (status := swarm.status(name)) and cheat in status.audits.excluded,
    )
    swarm.until_members(*"abcd")
    others = {swarm.reachable(name).peer_id for name in "cd"}

    def passed_across() -> bool:
        listed = json.loads(audit(swarm, "show", "--json").stdout)
        return any(
            each["kind"] == "verdict"
            and each["outcome"] == "pass"
            and each["distance_ppm"] is not None
            and (each["worker"] in others) != (each["signer"] in others)
            for each in listed
        )

    swarm.until("work of another device passes", passed_across)
    assert set(swarm.reachable("a").audits.excluded) == {cheat}
    swarm.assert_identical(*"abcd")
