"""Cheats among real nodes: found out by replay, put out by the others, with a proof for anybody."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dhtnode.cli.audit import open_export
from dhtnode.errors import Exit
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import RUN, Swarm
from tests.swarm.nursery import PYTHON
from validation.cases import Case
from validation.messages import Verdict

CHEAT = Path(__file__).parents[1] / "adversary" / "cheat.py"
HONEST = "abcd"


def cheating(attack: str) -> tuple[str, ...]:
    return (*PYTHON, str(CHEAT), attack)


def audit(swarm: Swarm, *words: str, node: str | None = "a") -> subprocess.CompletedProcess[str]:
    home = ["--home", str(swarm.folder / node)] if node else []
    return subprocess.run([*RUN, "audit", *words, *home], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("attack", "charge", "said", "segment"),
    [
        ("label-flip", "work", "that it had not done as committed", 0),
        ("copycat", "work", "that it had not done as committed", 0),
        ("false-reducer", "reduction", "altered the part that it reduced", None),
        ("lazy-auditor", "audit", "that it had not replayed", None),
        ("false-accuser", "accusation", "called a sound", None),
    ],
)
def test_a_cheat_is_out_and_anybody_can_check_why(
    make_swarm: MakeSwarm, tmp_path: Path, attack: str, charge: str, said: str, segment: int | None
) -> None:
    """`segment` is the first that is false: who trains on other data is false from the first step on."""
    swarm = make_swarm({"audit.segment": 2}, min_peers=5, inner_steps="5")
    for name in HONEST:
        swarm.start(name)
    swarm.start("x", command=cheating(attack))
    cheat = swarm.reachable("x").peer_id
    swarm.until_each(
        HONEST,
        "puts the cheat out",
        lambda name: (status := swarm.status(name)) and cheat in status.audits.excluded,
    )
    swarm.until_members(*HONEST)
    swarm.go_on(*HONEST)
    swarm.assert_identical(*HONEST)
    assert swarm.ended("x") == Exit.FAILED
    last = swarm.nodes["x"].output.read_text().splitlines()[-1]
    assert "this node's key is out of the swarm" in last
    status = swarm.reachable("a")
    assert set(status.audits.excluded) == {cheat}, "nobody else"
    if charge in ("work", "reduction"):  # false judges say false things of the honest
        assert all(swarm.reachable(name).audits.of_me.failed == 0 for name in HONEST)

    listed = audit(swarm, "show")
    assert listed.returncode == 0
    record = next(line.split()[0] for line in listed.stdout.splitlines() if "out: " in line)
    explained = audit(swarm, "show", record)
    assert cheat in explained.stdout
    file = tmp_path / "proof.case"
    assert audit(swarm, "export", record, str(file)).returncode == 0
    verified = audit(swarm, "verify", str(file), node=None)
    assert verified.returncode == 0
    assert said in verified.stdout
    case = open_export(file)
    assert isinstance(case, Case)
    assert (case.guilty, case.charge) == (cheat, charge)
    if segment is not None:
        named = {record.body.segment for record in case.records if isinstance(record.body, Verdict)}
        assert segment in named
        assert named <= {segment, None}
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
        HONEST,
        "puts the cheat out",
        lambda name: (status := swarm.status(name)) and cheat in status.audits.excluded,
    )
    swarm.until_members(*HONEST)
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
    swarm.assert_identical(*HONEST)
