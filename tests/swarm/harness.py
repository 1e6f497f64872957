"""A swarm of real processes for tests: start, watch, kill, and wait for what must happen.

Waits are for conditions that the nodes themselves report; the one limit is only there to end a test
that has failed, so it is generous. Nothing is ever asserted about time.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil
import pytest
import torch

from dhtnode.cli.cluster import POLL_S, LocalNode
from dhtnode.cli.create import NewSwarm, write_swarm
from dhtnode.errors import ConfigError
from dhtnode.home import Home
from dhtnode.manifest import Manifest
from dhtnode.status import Status
from dhtnode.store import RoundSummary, Store
from rewards.heads import HEAD
from tests.swarm.nursery import PYTHON, start
from training.chain import open_certificate
from training.data import builtin_text
from training.inner import Trainer
from training.messages import Commitment
from training.rehearsal import rehearse
from training.tasks import load_task

LIMIT_S = 150.0
TINY = {
    "task.options.dim": 32,
    "task.options.layers": 1,
    "task.options.heads": 2,
    "task.options.context": 16,
    "task.options.eval_windows": 4,
    "wire.chunk_elems": 1024,
    "inner.batch_size": 2,
}
"""A model of 29 k parameters in 29 chunks, quickly computed."""
PATIENT = {"round.first_deadline_s": 600, "round.stall_s": 600}
"""Only deadlines that were learned are short: a round that needs a first one outlasts the test."""
CHEAP = {"reputation.entry_bits": 10}
"""A proof of work like any other, found after a thousand numbers instead of a quarter of a million."""
RUN = (*PYTHON, "-m", "dhtnode.cli")
LOOPBACK = "/ip4/127.0.0.1/tcp/0"

T = TypeVar("T")


class Swarm:
    """One swarm and its nodes, by name. A node's home is a folder of its name.

    Args:
        folder: of the test.
        settings: keys of the manifest.
        rounds: until it is done; by default more than a test will see.
        min_peers: that the first round waits for.
        inner_steps: as for `dhtnode swarm new`; a step takes 20 ms.
        data: a file, or None for the built-in text.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, object] | None = None,
        *,
        rounds: int = 100_000,
        min_peers: int = 1,
        inner_steps: str = "10",
        data: Path | None = None,
    ) -> None:
        self.folder = folder
        self.manifest_path = folder / "swarm.toml"
        chosen = {**TINY, **PATIENT, **CHEAP, **(settings or {})}
        wish = NewSwarm(
            task=f"{Path(__file__).with_name('drowsy.py')}:Drowsy",
            name=folder.name.replace("[", "-").replace("]", "")[:60],
            data=data or text_file(folder),
            rounds=rounds,
            min_peers=min_peers,
            inner_steps=inner_steps,
            settings=tuple(f"{key}={value}" for key, value in chosen.items()),
        )
        self.manifest: Manifest = write_swarm(wish, self.manifest_path, folder / "creator", force=False)
        self.nodes: dict[str, LocalNode] = {}
        self.started: list[LocalNode] = []
        self.asleep: set[str] = set()

    def start(
        self,
        name: str,
        *options: str,
        command: Sequence[str] = RUN,
        listen: str = LOOPBACK,
        peer: str | None = None,
    ) -> LocalNode:
        """Start a node, again with the same home if the name ran before.

        It joins through `peer`, or through any node that runs, or is the first.
        """
        door = self._door(name) if peer is None else peer
        line = [*command, "run", str(self.manifest_path), "--home", str(self.folder / name)]
        line += ["--listen", listen, "--threads", "1", *options, *(("--peer", door) if door else ())]
        node = start(line, self.folder / name)
        self.nodes[name] = node
        self.started.append(node)
        return node

    def _door(self, name: str) -> str | None:
        for other, node in self.nodes.items():
            if other != name and node.process.poll() is None:
                return self.reachable(other).addresses[0]
        return None

    # What nodes say

    def status(self, name: str) -> Status | None:
        """Its own word; None while it starts. A node that has ended fails the test."""
        try:
            return self.nodes[name].status()
        except ConfigError as error:
            pytest.fail(f"{name}: {error}\n{self.describe()}")

    def reachable(self, name: str) -> Status:
        """The status of a node that others can dial."""

        def dialable() -> Status | None:
            status = self.status(name)
            return status if status and status.addresses else None

        return self.until(f"{name} can be dialled", dialable)

    def round_of(self, name: str) -> int:
        status = self.status(name)
        return status.round.number if status else -1

    def rounds(self, name: str) -> dict[int, RoundSummary]:
        """The rounds that a node has seen the end of, from its store."""
        with Store.open_reader(Home(self.folder / name).store_path) as store:
            return {summary.round_no: summary for summary in store.rounds()}

    def receipts(self, name: str) -> list[int]:
        """Rounds that have this node's work in them, from its store."""
        home = Home(self.folder / name)
        me = home.identity().peer_id
        with Store.open_reader(home.store_path) as store:
            own = {one.id for one in store.all_records(Commitment.KIND) if one.signer == me}
            heads = {one.id: one.wire for one in store.all_records(HEAD)}
        swarm_id = self.manifest.swarm_id
        closed = [open_certificate(wire, swarm_id, me).head for wire in heads.values()]
        return sorted(head.number - 1 for head in closed if own & set(head.accepted))

    # What tests wait for

    def until(self, what: str, condition: Callable[[], T | None]) -> T:
        """Wait for the condition and return what it returns. Fails the test if it never comes."""
        deadline_s = time.monotonic() + LIMIT_S
        while not (result := condition()):
            if time.monotonic() > deadline_s:
                pytest.fail(f"not within {LIMIT_S:.0f} s: {what}\n{self.describe()}")
            time.sleep(POLL_S)
        return result

    def until_each(self, names: Iterable[str], what: str, condition: Callable[[str], object]) -> None:
        """Wait until the condition holds for each of these nodes, one after the other."""
        for name in names:
            self.until(f"{name} {what}", partial(condition, name))

    def until_round(self, number: int, *names: str) -> None:
        """Wait until these nodes (all by default) have closed the rounds before `number`."""
        self.until_each(
            names or tuple(self.nodes), f"is in round {number}", lambda name: self.round_of(name) >= number
        )

    def go_on(self, *names: str, rounds: int = 2) -> int:
        """Wait until these nodes have closed some more rounds; the number they have all reached."""
        goal = max(self.round_of(name) for name in names) + rounds
        self.until_round(goal, *names)
        return goal

    def until_members(self, *names: str) -> None:
        """Wait until just these nodes make up the roster, as each of them sees it."""
        peers = {self.reachable(name).peer_id for name in names}
        self.until_each(
            names,
            f"sees {names} in the roster",
            lambda name: (status := self.status(name)) and set(status.round.roster) == peers,
        )

    def ended(self, name: str) -> int:
        """Wait until a node's process has ended; its exit code."""
        process = self.nodes[name].process
        self.until(f"{name} has ended", lambda: process.poll() is not None)
        return int(process.returncode)

    # What tests do

    def kill(self, name: str) -> None:
        process = self.nodes[name].process
        process.kill()
        process.wait()

    @contextmanager
    def halted(self, *names: str) -> Iterator[None]:
        """As if these machines slept meanwhile: they answer nobody, and then go on as they were."""
        processes = [psutil.Process(self.nodes[name].process.pid) for name in names]
        asleep = [one for process in processes for one in (process, *process.children(recursive=True))]
        for one in asleep:
            one.suspend()
        self.asleep.update(names)
        try:
            yield
        finally:
            self.asleep.difference_update(names)
            for one in asleep:
                one.resume()

    def stop(self) -> None:
        """End all that is left, and wait until nothing of it runs any more, daemons included."""
        for node in self.started:
            if node.process.poll() is None:
                os.killpg(node.process.pid, signal.SIGKILL)
                node.process.wait()
        left = processes_of(self.folder)
        _, alive = psutil.wait_procs(left, timeout=LIMIT_S)
        assert not alive, f"left behind: {[process.cmdline() for process in alive]}"

    # What tests check

    def rehearsed(self, *names: str) -> list[str]:
        """State digests of all rounds, as one process computes them if these nodes do all their steps."""
        torch.set_num_threads(1)
        terms = self.manifest.terms
        task = load_task(terms.task, self.folder)
        shard = task.shard(builtin_text(), terms.data.held_out)
        peers = [Home(self.folder / name).identity().peer_id for name in names]
        done = rehearse(self.manifest, Trainer(self.manifest, task), dict.fromkeys(peers, shard))
        return [round_.state.digest.hex() for round_ in done]

    def assert_identical(self, *names: str) -> None:
        """No two nodes ever ended a round with different states, and some round is known to all."""
        seen = {name: self.rounds(name) for name in names or tuple(self.nodes)}
        for number in set().union(*seen.values()):
            digests = {name: done[number].state_digest for name, done in seen.items() if number in done}
            assert len(set(digests.values())) == 1, f"round {number}: {digests}"
        shared = set.intersection(*(set(done) for done in seen.values()))
        assert shared, f"no round that all know: { {name: sorted(done)[-3:] for name, done in seen.items()} }"

    def describe(self) -> str:
        """Where everybody is, for the message of a failed test."""
        lines = []
        for name, node in self.nodes.items():
            code = node.process.poll()
            log = node.output.read_text(errors="replace").splitlines()[-8:]
            where = "asleep" if name in self.asleep else _where(node)
            lines.append(f"--- {name}: {'ended with ' + str(code) if code is not None else where}")
            lines += [f"    {line}" for line in log]
        return "\n".join(lines)


def text_file(folder: Path) -> Path:
    """The built-in text, which every node has."""
    path = folder / "text.txt"
    path.write_bytes(builtin_text())
    return path


def _where(node: LocalNode) -> str:
    try:
        status = node.status()
    except ConfigError as error:
        return str(error)
    if status is None:
        return "starting"
    shown = (status.round, status.deadlines_s, len(status.peers), status.rejected, status.notices[-3:])
    return msgspec.json.encode(shown).decode()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Processes, nodes and daemons alike, whose command line names something in this folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(f"{folder}/" in word for word in line):
            found.append(process)
    return found
