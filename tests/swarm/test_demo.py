"""What `dhtnode demo` leaves: a summary that the homes of its nodes bear out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.status import parse_status
from tests.swarm.harness import RUN

NODES, ROUNDS = 3, 2


@pytest.mark.parametrize("task", ["text", "digits"])
def test_its_summary_is_what_its_nodes_hold(tmp_path: Path, task: str) -> None:
    file, kept = tmp_path / "summary.json", tmp_path / "kept"
    wish = ("--task", task, "--nodes", str(NODES), "--rounds", str(ROUNDS))
    done = subprocess.run(
        [*RUN, "demo", *wish, "--json", str(file), "--keep", str(kept)],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(file.read_text())
    assert summary["identical"] is True
    assert summary["rounds"] == ROUNDS
    assert 0 < summary["eval_loss"] <= summary["first_eval_loss"]
    assert summary["seconds"] > 0
    assert len(summary["nodes"]) == NODES
    for index, node in enumerate(summary["nodes"]):
        home = Home(kept / f"node-{index}")
        asked = subprocess.run(
            [*RUN, "status", "--home", str(home.root), "--json"], capture_output=True, check=True
        )
        status = parse_status(asked.stdout)
        assert not status.running
        assert node["peer_id"] == status.peer_id == Identity.load_or_create(home.identity_path).peer_id
        assert node["round"] == status.round.number == ROUNDS
        assert node["state_digest"] == status.round.state_digest == summary["nodes"][0]["state_digest"]
        assert min(node["tokens"], node["sent_bytes"], node["received_bytes"]) > 0
    if task == "text":  # a full all-reduce in every step sends far more
        assert summary["ddp_bytes_per_node"] > 10 * max(node["sent_bytes"] for node in summary["nodes"])
