"""`dhtnode demo`: a private swarm of real nodes on this machine, from nothing to equal models."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dhtnode.cli.cluster import POLL_S, LocalNode, local_nodes, start_node, wait_until_reachable
from dhtnode.cli.create import NewSwarm, write_swarm
from dhtnode.cli.view import number, rate, round_line, size
from dhtnode.errors import ConfigError, Exit
from dhtnode.files import SHARED, replacing
from dhtnode.manifest import Manifest
from dhtnode.status import Status
from training.data import pack_arrays, split_by_label
from training.tasks.digits import public_split

ROUNDS = {"text": 40, "digits": 20}
"""About three minutes on two cores."""


@dataclass(frozen=True)
class Demo:
    """What the user asked for."""

    task: Literal["text", "digits"]
    data: Path | None
    nodes: int
    rounds: int | None
    json_file: Path | None
    keep: Path | None


class NodeSummary(msgspec.Struct, frozen=True):
    """One node at the end."""

    peer_id: str
    round: int
    state_digest: str | None
    eval_loss: float | None
    tokens: int
    sent_bytes: int
    received_bytes: int


class Summary(msgspec.Struct, frozen=True):
    """The JSON document of `--json`."""

    nodes: list[NodeSummary]
    identical: bool
    """All nodes finished the same round with the same state digest."""
    rounds: int
    first_eval_loss: float | None
    eval_loss: float | None
    seconds: float
    ddp_bytes_per_node: int | None
    """What an fp32 ring all-reduce in every inner step would have sent: 2 d (n-1)/n x 4 bytes x steps."""


def run_demo(demo: Demo) -> int:
    """Run the whole demonstration.

    Returns:
        0 if all nodes end with the same state, else 1.

    Raises:
        ConfigError: a node does not start, or ends before it is done.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the nodes are stopped then too
    console = Console()
    start_s = time.monotonic()
    with _folder(demo.keep) as folder, local_nodes() as nodes:
        manifest = _make_swarm(demo, folder)
        console.print(f"A private swarm of {demo.nodes} nodes on this machine, task '{demo.task}'.")
        _start_all(demo, folder, nodes)
        before = nodes[0].sample()
        first, last = _follow(nodes, manifest.terms.round.rounds, console)
        after = nodes[0].sample()
    summary = _summarize(last, first, time.monotonic() - start_s)
    if before or after:
        console.print(Panel(Text(before), title="what the model writes before training", title_align="left"))
        console.print(Panel(Text(after), title="and after it", title_align="left"))
    console.print(_final_table(summary))
    console.print(_verdict(summary))
    if demo.keep:
        console.print(
            f"Homes and logs are in {demo.keep}; look at one: dhtnode status --home {nodes[0].home.root}"
        )
    if demo.json_file:
        with replacing(demo.json_file.absolute(), SHARED) as draft:
            draft.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    return Exit.OK if summary.identical else Exit.FAILED


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        if (keep / "swarm.toml").exists():
            raise ConfigError(f"{keep} holds an earlier run; remove it or give another --keep", Exit.USAGE)
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="dhtnode-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _make_swarm(demo: Demo, folder: Path) -> Manifest:
    wish = NewSwarm(
        task=demo.task,
        name=f"demo-{demo.task}",
        data=demo.data,
        rounds=demo.rounds or ROUNDS[demo.task],
        min_peers=demo.nodes,
    )
    return write_swarm(wish, folder / "swarm.toml", folder / "node-0", force=False)


def _start_all(demo: Demo, folder: Path, nodes: list[LocalNode]) -> None:
    """The first node, and when it can be dialled the others through it."""
    arguments = ["--threads", str(max(1, (os.cpu_count() or 1) // demo.nodes)), "--stay"]
    shards = _private_shards(folder, demo.nodes) if demo.task == "digits" else []
    for index in range(demo.nodes):
        own = ["--data", str(shards[index])] if shards else []
        door = ["--peer", wait_until_reachable(nodes[0]).addresses[0]] if index else []
        nodes.append(start_node(folder / "swarm.toml", folder / f"node-{index}", [*arguments, *own, *door]))
    wait_until_reachable(nodes[0])


def _private_shards(folder: Path, nodes: int) -> list[Path]:
    """A file for each node that knows few of the ten digits: the hard case of federated learning."""
    train, _ = public_split()
    paths = [folder / f"shard-{index}.npz" for index in range(nodes)]
    for path, (images, labels) in zip(paths, split_by_label(*train, nodes), strict=True):
        path.write_bytes(pack_arrays(images, labels))
    return paths


def _follow(nodes: Sequence[LocalNode], rounds: int, console: Console) -> tuple[Status | None, list[Status]]:
    """Watch until all nodes have done their rounds.

    Returns:
        The first node's earliest status with an evaluation, and the last status of each node.
    """
    first: Status | None = None
    printed = 0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            known = [node.status() for node in nodes]
            live.update(_live_table(known), refresh=console.is_terminal)
            leader = known[0]
            if leader is not None and first is None and leader.training.eval_loss is not None:
                first = leader
            if leader is not None and leader.round.number > printed:
                console.print(Text(round_line(leader)), soft_wrap=True)
                printed = leader.round.number
            present = [status for status in known if status is not None]
            if len(present) == len(nodes) and all(_is_done(status, rounds) for status in present):
                return first, present
            time.sleep(POLL_S)


def _is_done(status: Status, rounds: int) -> bool:
    """The last round is closed, and its state judged."""
    return status.round.number >= rounds and (status.training.eval_round or 0) >= rounds


def _live_table(known: Sequence[Status | None]) -> Table:
    table = Table("node", "round", "phase", "loss", "speed", "peers", "sent", "received", "what it waits for")
    for index, status in enumerate(known):
        if status is None:
            table.add_row(str(index), *["-"] * 7, "starting")
            continue
        table.add_row(
            str(index),
            str(status.round.number),
            status.round.phase,
            number(status.training.eval_loss),
            rate(status.training),
            str(len(status.peers)),
            size(status.traffic.sent_bytes),
            size(status.traffic.received_bytes),
            Text(status.round.reason, overflow="ellipsis", no_wrap=True),
        )
    return table


def _summarize(last: Sequence[Status], first: Status | None, seconds: float) -> Summary:
    ends = {(status.round.number, status.round.state_digest) for status in last}
    return Summary(
        nodes=[
            NodeSummary(
                peer_id=status.peer_id,
                round=status.round.number,
                state_digest=status.round.state_digest,
                eval_loss=status.training.eval_loss,
                tokens=status.training.tokens,
                sent_bytes=status.traffic.sent_bytes,
                received_bytes=status.traffic.received_bytes,
            )
            for status in last
        ],
        identical=len(ends) == 1 and None not in {digest for _, digest in ends},
        rounds=min(status.round.number for status in last),
        first_eval_loss=None if first is None else first.training.eval_loss,
        eval_loss=last[0].training.eval_loss,
        seconds=round(seconds, 1),
        ddp_bytes_per_node=ddp_bytes(last[0].training.parameters, len(last), last[0].training.steps),
    )


def ddp_bytes(parameters: int | None, nodes: int, steps: int) -> int | None:
    """Bytes that each of `nodes` sends for `steps` fp32 ring all-reduces (Patarasuk and Yuan, 2009)."""
    return None if parameters is None else 2 * 4 * parameters * (nodes - 1) // nodes * steps


def _final_table(summary: Summary) -> Table:
    table = Table("node", "round", "state digest", "eval loss", "tokens", "sent", "received")
    for node in summary.nodes:
        table.add_row(
            node.peer_id[-12:],
            str(node.round),
            (node.state_digest or "-")[:12],
            number(node.eval_loss),
            f"{node.tokens:,}",
            size(node.sent_bytes),
            size(node.received_bytes),
        )
    return table


def _verdict(summary: Summary) -> str:
    equal = "All states are equal to the bit" if summary.identical else "THE STATES DIFFER"
    text = (
        f"{equal} after {summary.rounds} rounds in {summary.seconds:.0f} s; "
        f"held-out loss {number(summary.first_eval_loss)} -> {number(summary.eval_loss)}."
    )
    most_sent = max(node.sent_bytes for node in summary.nodes)
    if summary.ddp_bytes_per_node and most_sent:
        text += (
            f"\nA node sent at most {size(most_sent)}; averaging every step in fp32 would have sent "
            f"{size(summary.ddp_bytes_per_node)}, {summary.ddp_bytes_per_node / most_sent:.0f} times as much."
        )
    return text
