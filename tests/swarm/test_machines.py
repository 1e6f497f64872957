"""What a lab does: one machine starts a swarm with one command, two more join with the line it prints.

Three machines with networks of their own (`machines.py`), each behind 100 Mbit/s. The members have
nothing but the manifest: data and state come over the network.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from dhtnode.cli.cluster import POLL_S, LocalNode, launch
from dhtnode.control import NotRunningError, ask
from dhtnode.home import Home
from dhtnode.manifest import Manifest
from dhtnode.status import Status, parse_status
from dhtnode.store import Store
from tests.swarm.harness import processes_of
from tests.swarm.machines import Machines, require

SCRIPTS = Path(__file__).parents[2] / "scripts"
PATIENCE_S = 300.0
"""Only there to end a test that has failed."""


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Three machines. At the end nothing that was started on them runs any more."""
    require()
    with Machines("a", "b", "c") as made:
        yield made
        left = processes_of(tmp_path)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=PATIENCE_S)


def test_three_machines_train_together(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "corpus.txt"
    text.write_bytes(bytes(range(32, 127)) * 4000)
    monkeypatch.setenv("DHTNODE_CACHE", str(tmp_path / "cache-a"))
    wish = ["--folder", str(tmp_path / "lab"), "--data", str(text), "--detach"]
    terms = ["--", "--min-peers", "3", "--inner-steps", "4", "--rounds", "100000"]
    said = run_on(machines, "a", [str(SCRIPTS / "bootstrap-swarm"), *wish, *terms])
    (line,) = re.findall(r"^ +(scripts/dhtnode run swarm\.toml --peer \S+)$", said, re.MULTILINE)
    assert f"/ip4/{machines.address('a')}/tcp/" in line, "the machine's own address, found by itself"

    homes = {"a": tmp_path / "lab" / "node-0"}
    members: dict[str, LocalNode] = {}
    for name in "bc":
        place = tmp_path / name
        place.mkdir()
        manifest = Path(shutil.copy(tmp_path / "lab" / "swarm.toml", place))
        homes[name] = place / "home"
        monkeypatch.setenv("DHTNODE_CACHE", str(place / "cache"))
        command = line.replace("scripts/", f"{SCRIPTS}/").replace("swarm.toml", str(manifest))
        members[name] = launch(
            [*machines.on(name), *shlex.split(command), "--home", str(homes[name])], homes[name]
        )

    peers = {name: Home(home).identity().peer_id for name, home in homes.items()}
    until_each("trains with the two others", lambda home: roster(home) == set(peers.values()), homes)
    goal = max(round_of(home) for home in homes.values()) + 3
    until_each(f"is in round {goal}", lambda home: round_of(home) >= goal, homes)

    seen = {name: digests(home) for name, home in homes.items()}
    shared = set.intersection(*(set(rounds) for rounds in seen.values()))
    assert len(shared) >= 3
    assert all(len({rounds[number] for rounds in seen.values()}) == 1 for number in shared)
    for name, home in homes.items():
        status = parse_status(ask(Home(home).control_path, "status", PATIENCE_S))
        assert machines.sent_bytes(name) > status.traffic.sent_bytes > 0, "all of it went through the uplink"
    for name in "bc":
        cached = homes[name] / "data" / str(Manifest.load(tmp_path / name / "swarm.toml").terms.data.digest)
        assert cached.read_bytes() == text.read_bytes()
        members[name].process.send_signal(signal.SIGTERM)
        assert members[name].process.wait(PATIENCE_S) == 0
    (stop,) = re.findall(r"^To stop it: +(kill [\d ]+)$", said, re.MULTILINE)
    subprocess.run(shlex.split(stop), check=True)
    until("the first node has left", lambda: not processes_of(tmp_path), homes)


def run_on(machines: Machines, name: str, command: list[str]) -> str:
    """Standard output of a command that ends by itself."""
    done = subprocess.run([*machines.on(name), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def status_of(home: Path) -> Status | None:
    try:
        return parse_status(ask(Home(home).control_path, "status", PATIENCE_S))
    except NotRunningError:
        return None


def roster(home: Path) -> set[str]:
    return set(status.round.roster) if (status := status_of(home)) else set()


def round_of(home: Path) -> int:
    return status.round.number if (status := status_of(home)) else -1


def digests(home: Path) -> dict[int, str]:
    """State digest of each round that the node has seen the end of."""
    with Store.open_reader(Home(home).store_path) as store:
        return {summary.round_no: summary.state_digest for summary in store.rounds()}


def until_each(what: str, condition: Callable[[Path], bool], homes: dict[str, Path]) -> None:
    """Wait until the condition holds for each home, one after the other."""
    for name, home in homes.items():
        until(f"{name} {what}", partial(condition, home), homes)


def until(what: str, condition: Callable[[], bool], homes: dict[str, Path]) -> None:
    """Wait for the condition; if it does not come, say what the nodes wrote."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            logs = [
                f"--- {name}\n" + (home / "output.log").read_text()[-2000:] for name, home in homes.items()
            ]
            pytest.fail(f"not within {PATIENCE_S:.0f} s: {what}\n" + "\n".join(logs))
        time.sleep(POLL_S)
