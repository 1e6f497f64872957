"""Figures of real nodes: how soon one contributes, how much memory it takes idle, and what a swarm says
beside the bytes that its reductions move."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from dhtnode.cli.cluster import LocalNode, local_nodes, start_node, wait_until_reachable
from dhtnode.cli.create import NewSwarm, write_swarm
from dhtnode.status import Status

START_AIM_S = 20.0
MEMORY_AIM_MB = 450.0
TRAFFIC_AIM = 0.02
POLL_S = 0.05
MEMBERS = 4
LARGE = (416, 5)
"""Width and layers of a GPT of ten million parameters."""
WINDOW_ROUNDS = 8
"""Audits of newcomers are many: the share falls from window to window."""


def machine() -> str:
    """One line for the table."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {model}, {memory:.0f} GiB, Python {platform.python_version()}"


def until(node: LocalNode, done: Callable[[Status], bool]) -> Status:
    """Poll a node's own status; its end is an error that `status` raises."""
    while True:
        status = node.status()
        if status is not None and done(status):
            return status
        time.sleep(POLL_S)


def until_round(node: LocalNode, number: int) -> None:
    until(node, lambda status: status.round.number >= number)


def bench_start(repeats: int) -> dict[str, object]:
    """A node with an empty home joins a swarm of two: seconds until a certificate names its work."""
    seconds = []
    with tempfile.TemporaryDirectory(prefix="dhtnode-bench-") as name, local_nodes() as nodes:
        folder = Path(name)
        wish = NewSwarm(task="text", name="bench", rounds=10_000, min_peers=2)
        write_swarm(wish, folder / "swarm.toml", folder / "first", force=False)
        nodes.append(start_node(folder / "swarm.toml", folder / "first", ["--threads", "1"]))
        door = ["--threads", "1", "--peer", wait_until_reachable(nodes[0]).addresses[0]]
        nodes.append(start_node(folder / "swarm.toml", folder / "second", door))
        until(nodes[0], lambda status: status.round.number >= 3)
        for repeat in range(repeats):
            start_s = time.monotonic()
            newcomer = start_node(folder / "swarm.toml", folder / f"newcomer-{repeat}", door)
            nodes.append(newcomer)
            until(newcomer, lambda status: status.receipts.rounds >= 1)
            seconds.append(round(time.monotonic() - start_s, 2))
            print(f"{repeat + 1} of {repeats}: {seconds[-1]:.1f} s")
            newcomer.process.terminate()
            newcomer.process.wait()
            nodes.remove(newcomer)
    return {
        "figure": "start to first accepted commitment",
        "seconds": seconds,
        "median_s": statistics.median(seconds),
        "max_s": max(seconds),
        "aim_s": START_AIM_S,
    }


def bench_memory(repeats: int) -> dict[str, object]:
    """A node that has built its model, done its first round's work, and waits for company."""
    samples = []
    with tempfile.TemporaryDirectory(prefix="dhtnode-bench-") as name:
        for repeat in range(repeats):
            folder = Path(name) / str(repeat)
            folder.mkdir()
            wish = NewSwarm(task="text", name="bench", min_peers=2)
            write_swarm(wish, folder / "swarm.toml", folder / "home", force=False)
            with local_nodes() as nodes:
                nodes.append(start_node(folder / "swarm.toml", folder / "home", ["--threads", "1"]))
                until(nodes[0], lambda status: status.round.phase == "commit")
                samples.append(_memory_mb(nodes[0]))
            print(f"{repeat + 1} of {repeats}: {samples[-1]}")
    totals = [sum(sample.values()) for sample in samples]
    return {
        "figure": "memory of an idle node (proportional set size)",
        "samples_mb": samples,
        "median_mb": round(statistics.median(totals), 1),
        "max_mb": round(max(totals), 1),
        "aim_mb": MEMORY_AIM_MB,
    }


def bench_traffic(repeats: int) -> dict[str, object]:
    """Four nodes and a model of ten million parameters: bytes sent for anything but parts and results."""
    settings = {
        "task.options.dim": LARGE[0],
        "task.options.layers": LARGE[1],
        "task.options.heads": 8,
        "task.options.context": 16,
        "task.options.eval_windows": 1,
        "inner.batch_size": 1,
        "wire.codec": "int8",
    }
    with tempfile.TemporaryDirectory(prefix="dhtnode-bench-") as name, local_nodes() as nodes:
        folder = Path(name)
        wish = NewSwarm(
            task="text",
            name="bench",
            rounds=10_000,
            min_peers=MEMBERS,
            inner_steps="2",
            settings=tuple(f"{key}={value}" for key, value in settings.items()),
        )
        write_swarm(wish, folder / "swarm.toml", folder / "0", force=False)
        nodes.append(start_node(folder / "swarm.toml", folder / "0", ["--threads", "1"]))
        door = ["--threads", "1", "--peer", wait_until_reachable(nodes[0]).addresses[0]]
        nodes.extend(
            start_node(folder / "swarm.toml", folder / str(place), door) for place in range(1, MEMBERS)
        )
        started = [until(node, lambda status: len(status.round.roster) == MEMBERS) for node in nodes]
        windows = []
        begin = max(status.round.number for status in started)
        before, wire_before = _sent(nodes), _loopback_bytes()
        for repeat in range(repeats):
            goal = begin + WINDOW_ROUNDS * (repeat + 1)
            for node in nodes:
                until_round(node, goal)
            after, wire_after = _sent(nodes), _loopback_bytes()
            sent = after - before
            reduce_bytes = sent["part"] + sent["result"]
            beside = sum(sent.values()) - reduce_bytes
            wire_bytes = wire_after - wire_before
            windows.append(
                {
                    "rounds": f"{goal - WINDOW_ROUNDS} to {goal}",
                    "reduce_mb": round(reduce_bytes / 1e6, 1),
                    "protocol_traffic_share": round(beside / reduce_bytes, 4),
                    "sent_mb_by": {name: round(count / 1e6, 2) for name, count in sent.items()},
                    "loopback_share_beyond": round(wire_bytes / reduce_bytes - 1, 4),
                }
            )
            print(windows[-1], flush=True)
            before, wire_before = after, wire_after
        parameters = nodes[0].status()
    return {
        "figure": "bytes sent for anything but parts and results, over those",
        "members": MEMBERS,
        "parameters": parameters.training.parameters if parameters else None,
        "windows": windows,
        "protocol_traffic_share": windows[-1]["protocol_traffic_share"],
        "aim": TRAFFIC_AIM,
    }


def _sent(nodes: list[LocalNode]) -> Counter[str]:
    """Bytes that all nodes have sent, by protocol."""
    total: Counter[str] = Counter()
    for node in nodes:
        total.update(until(node, lambda status: bool(status.addresses)).traffic.sent_by)
    return total


def _loopback_bytes() -> int:
    """All that has crossed the loopback device, with headers, encryption and what gossip passes on."""
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)


def _memory_mb(node: LocalNode) -> dict[str, float]:
    python = psutil.Process(node.process.pid)
    processes = {"python": python, **{child.name(): child for child in python.children(recursive=True)}}
    return {name: round(_held(process) / 1e6, 1) for name, process in processes.items()}


def _held(process: psutil.Process) -> int:
    """Bytes: shared pages count in proportion where the system tells (Linux)."""
    info = process.memory_full_info()
    return int(getattr(info, "pss", info.rss))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", choices=["start", "memory", "traffic"])
    parser.add_argument("--quick", action="store_true", help="one repetition: does it run?")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    args = parser.parse_args()
    bench = {"start": bench_start, "memory": bench_memory, "traffic": bench_traffic}[args.figure]
    result = {"machine": machine(), **bench(1 if args.quick else args.repeats)}
    print("\n".join(f"{key:>12}  {value}" for key, value in result.items()))
    if args.json:
        args.json.write_bytes(msgspec.json.format(json.dumps(result).encode(), indent=1) + b"\n")


if __name__ == "__main__":
    main()
