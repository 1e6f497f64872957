"""How soon a contributor has its page: the part of `bench-ledger` about `dhtnode status`, with real nodes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dhtnode.cli.cluster import LocalNode, local_nodes, start_node, wait_until_reachable  # noqa: E402
from dhtnode.cli.create import NewSwarm, write_swarm  # noqa: E402
from dhtnode.cli.status import read_document  # noqa: E402
from dhtnode.home import Home  # noqa: E402
from dhtnode.status import Status, parse_status  # noqa: E402

LIVE_AIM_S = 0.2
STORE_AIM_S = 0.5
PAUSE_S = 0.05
"""Between two questions, so that they fall into all phases of a round."""


def bench_status(rounds: int) -> dict[str, object]:
    """Two nodes train for some rounds while one is asked all the time; then both stop.

    Figures: seconds until the document is there, from the node and from the store, in a program that has
    started; and until the whole command has printed it.
    """
    with tempfile.TemporaryDirectory(prefix="dhtnode-bench-") as name:
        folder = Path(name)
        wish = NewSwarm(task="text", name="bench", rounds=10_000, min_peers=2, inner_steps="5")
        write_swarm(wish, folder / "swarm.toml", folder / "first", force=False)
        with local_nodes() as nodes:
            nodes.append(start_node(folder / "swarm.toml", folder / "first", ["--threads", "1"]))
            door = wait_until_reachable(nodes[0]).addresses[0]
            more = ["--threads", "1", "--peer", door]
            nodes.append(start_node(folder / "swarm.toml", folder / "second", more))
            live_s = _ask_through(nodes[0], rounds)
            live_command_s = _command_s(nodes[0].home)
        home = Home(folder / "first")
        status, _ = _asked(home)
        assert not status.running
        assert status.rewards.stake + status.rewards.vested > 0, "the page of somebody who has earned nothing"
        store_s = [_asked(home)[1] for _ in range(5)]
        store_command_s = _command_s(home)
    return {
        "status_live_s": round(statistics.median(live_s), 4),
        "status_live_worst_s": round(max(live_s), 4),
        "status_live_asked": len(live_s),
        "status_live_aim_s": LIVE_AIM_S,
        "status_store_s": round(statistics.median(store_s), 4),
        "status_store_aim_s": STORE_AIM_S,
        "status_live_command_s": live_command_s,
        "status_store_command_s": store_command_s,
    }


def _ask_through(node: LocalNode, rounds: int) -> list[float]:
    """Seconds of each answer while the node trains that many rounds, from the first with credits on."""
    seconds: list[float] = []
    goal: int | None = None
    number = 0
    while goal is None or number < goal:
        node.check()
        status, took_s = _asked(node.home)
        number = status.round.number
        if goal is None and status.rewards.by_term.get("compute"):
            goal = number + rounds
        if goal is not None:
            seconds.append(took_s)
        time.sleep(PAUSE_S)
    return seconds


def _asked(home: Home) -> tuple[Status, float]:
    start_s = time.perf_counter()
    document = read_document(home)
    took_s = time.perf_counter() - start_s
    return parse_status(document), took_s


def _command_s(home: Home) -> float:
    """Median of three: Python's start included."""
    line = [sys.executable, "-P", "-m", "dhtnode.cli", "status", "--json", "--home", str(home.root)]
    seconds = []
    for _ in range(3):
        start_s = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start_s)
    return round(statistics.median(seconds), 3)
