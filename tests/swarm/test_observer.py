"""A swarm watched by others' software: py-libp2p in a process of its own, and a plain hivemind node."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hivemind.dht import DHTNode

from dhtnode.app.effects import TOPIC
from dhtnode.errors import Exit
from dhtnode.identity import Identity
from dhtnode.net.daemon import DaemonConfig
from dhtnode.net.network import Network, NetworkConfig
from dhtnode.presence import KEY, Presence
from dhtnode.records import canonical, open_record, sign
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import LIMIT_S, LOOPBACK, Swarm
from tests.unit.parties import plain
from training.messages import Leave

OBSERVER = (sys.executable, "-P", "-m", "dhtnode.observer")
ROUNDS = 12

Line = dict[str, Any]


class Watcher:
    """A `dhtnode-observer --json` and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.lines: list[Line] = []

    def next(self) -> Line:
        """Its next line. It has to say something more."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, f"it ended with {self.process.wait()} after {self.lines[-3:]}"
        self.lines.append(json.loads(text))
        return self.lines[-1]

    def until(self, wanted: Callable[[Line], bool]) -> Line:
        """The first line from now on that is wanted."""
        while not wanted(line := self.next()):
            pass
        return line

    def end(self) -> tuple[int, Line]:
        """Read on until it ends; exit code and summary."""
        assert self.process.stdout is not None
        self.lines += [json.loads(text) for text in self.process.stdout]
        return self.process.wait(), self.lines[-1]


@contextmanager
def watching(swarm: Swarm, name: str, *options: str) -> Iterator[Watcher]:
    """An observer that looks through one node; it gives up before the test would hang."""
    door = swarm.reachable(name).addresses[0]
    command = [*OBSERVER, str(swarm.manifest_path), "--peer", door, "--json", *options]
    command += ["--seconds", str(LIMIT_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield Watcher(process)
        finally:
            process.kill()


@asynccontextmanager
async def stranger(swarm: Swarm, key: Path, door: str) -> AsyncIterator[Network]:
    """Somebody with a network and bad manners."""
    Identity.load_or_create(key)
    daemon = DaemonConfig(key, listen=(LOOPBACK,), relay=False, autonat=False, nat_port_map=False)
    network = await Network.start(NetworkConfig(swarm.manifest.swarm_id, daemon, (door,), False))
    try:
        yield network
    finally:
        await network.stop()


def wait_for_head(swarm: Swarm, name: str) -> None:
    def stands() -> bool:
        status = swarm.status(name)
        return status is not None and status.round.state_digest is not None

    swarm.until(f"{name} stands on a head", stands)


def test_it_verifies_both_members_records_and_reports_the_state_that_they_hold(
    make_swarm: MakeSwarm,
) -> None:
    swarm = make_swarm(rounds=ROUNDS, min_peers=2, inner_steps="40")
    swarm.start("a", "--stay")
    wait_for_head(swarm, "a")
    with watching(swarm, "a") as watcher:
        founded = watcher.until(lambda line: line["event"] == "head")
        assert (founded["number"], founded["source"]) == (0, "sync")
        swarm.start("b", "--stay")
        code, summary = watcher.end()
    assert (code, summary["rounds"]) == (Exit.OK, ROUNDS), f"{watcher.lines[-5:]}\n{swarm.describe()}"
    swarm.until_round(ROUNDS)

    statuses = [status for name in "ab" if (status := swarm.status(name))]
    assert {status.round.state_digest for status in statuses} == {summary["head"]["state"]}
    assert summary["head"]["number"] == ROUNDS
    closed = {done.round_no + 1: done.state_digest for done in swarm.rounds("b").values()}
    heads = [line for line in watcher.lines if line["event"] == "head" and line["number"] in closed]
    assert {line["number"]: line["state"] for line in heads}.items() <= closed.items()
    assert "votes" in {line["source"] for line in heads}

    members = {status.peer_id for status in statuses}
    gossip = [line for line in watcher.lines if line["event"] == "record" and line["via"] == "gossip"]
    for kind in ("commitment", "vote", "result"):
        assert {line["signer"] for line in gossip if line["kind"] == kind} == members
    assert set(summary["records"]) == members
    assert summary["rejected"] == {}


async def test_forged_and_garbage_gossip_is_counted_and_stops_nobody(
    make_swarm: MakeSwarm, tmp_path: Path
) -> None:
    swarm = make_swarm(min_peers=2, inner_steps="40")
    for name in "ab":
        swarm.start(name)
    swarm.until_round(1)
    status = swarm.reachable("a")
    me, other = Identity.load_or_create(tmp_path / "key"), bytes(32)
    body = Leave(round=1, base=other)
    kind, _, fields, signature = "leave", "", plain(body), me.sign(b"something else")
    junk = {
        "malformed": os.urandom(100),
        "oversized": canonical([kind, me.peer_id, {**fields, "base": bytes(600)}, signature]),
        "unknown-kind": canonical(["praise", me.peer_id, fields, signature]),
        "schema": canonical([kind, me.peer_id, {**fields, "round": -1}, signature]),
        "bad-signature": canonical([kind, status.peer_id, fields, signature]),
    }
    junk_of_another_swarm = sign(me, other, body).wire

    with watching(swarm, "a", "--peer", swarm.reachable("b").addresses[0]) as watcher:
        await asyncio.to_thread(watcher.until, lambda line: line["event"] == "head")
        async with stranger(swarm, tmp_path / "key", status.addresses[0]) as network:
            missing = set(junk)
            while missing:  # until the mesh has formed, messages may be lost on the way
                for wire in (*junk.values(), junk_of_another_swarm):
                    await network.publish(TOPIC, wire)
                line = await asyncio.to_thread(
                    watcher.until, lambda line: line["event"] in ("rejected", "head")
                )
                if line["event"] == "rejected":
                    assert line["peer"] == me.peer_id
                    missing.discard(line["reason"])
        seen = max(line["number"] for line in watcher.lines if line["event"] == "head")
        await asyncio.to_thread(
            watcher.until,
            lambda line: line["event"] == "head" and line["number"] > seen + 2 and line["source"] == "votes",
        )
        watcher.process.send_signal(signal.SIGINT)
        code, summary = await asyncio.to_thread(watcher.end)
    assert code == Exit.OK
    assert summary["rejected"].keys() == junk.keys()
    assert me.peer_id not in summary["records"]
    swarm.go_on("a", "b")


@pytest.mark.filterwarnings("ignore:path is deprecated:DeprecationWarning")  # hivemind finds its daemon so
async def test_a_plain_hivemind_node_finds_presence_and_anybody_can_verify_it(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm()
    for name in "ab":
        swarm.start(name)
    statuses = {status.peer_id: status for status in map(swarm.reachable, "ab")}
    addresses = [status.addresses[0] for status in statuses.values()]
    node = await DHTNode.create(
        initial_peers=addresses, host_maddrs=[LOOPBACK], use_relay=False, auto_nat=False, nat_port_map=False
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            entries: dict[str, Any] = {}
            while entries.keys() != statuses.keys():
                found = await node.get(f"dhtnode/{swarm.manifest.swarm_id.hex()[:16]}/{KEY}", latest=True)
                entries = found.value if found else {}
    finally:
        await node.shutdown()
    for peer, entry in entries.items():
        wire, _ = entry.value
        record = open_record(wire, swarm.manifest.swarm_id, {Presence.KIND: Presence})
        assert record.signer == peer
        assert set(record.body.addresses) == set(statuses[peer].addresses)


@pytest.mark.parametrize("mode", [(), ("--watch",)])
def test_a_member_that_does_not_answer_is_one_clear_line(
    make_swarm: MakeSwarm, mode: tuple[str, ...]
) -> None:
    swarm = make_swarm()
    with socket.socket() as taken:  # bound and not listening: nobody else gets this port
        taken.bind(("127.0.0.1", 0))
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}/p2p/{Identity.generate().peer_id}"
        command = [*OBSERVER, str(swarm.manifest_path), "--peer", address, *mode]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.NETWORK
    assert done.stderr.count("\n") == 1
    assert "Connection refused" in done.stderr
    assert "--peer" in done.stderr


BROKEN_PEER = """
import multiaddr, trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.utils import encode_varint_prefixed

async def main():
    host = new_host(key_pair=create_new_key_pair(bytes(32)))

    async def speak(stream):
        back = await host.new_stream(stream.muxed_conn.peer_id, ["/meshsub/1.1.0"])
        await back.write(encode_varint_prefixed(bytes(range(200))))

    host.set_stream_handler("/meshsub/1.1.0", speak)
    async with host.run(listen_addrs=[multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        print(host.get_addrs()[0], flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.parametrize("mode", [(), ("--watch",)])
def test_a_member_that_breaks_libp2p_itself_is_one_clear_line(
    make_swarm: MakeSwarm, mode: tuple[str, ...]
) -> None:
    swarm = make_swarm()
    with subprocess.Popen([sys.executable, "-P", "-c", BROKEN_PEER], stdout=subprocess.PIPE) as peer:
        assert peer.stdout is not None
        address = peer.stdout.readline().decode().strip()
        command = [*OBSERVER, str(swarm.manifest_path), "--peer", address, *mode]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        peer.kill()
    assert done.returncode == Exit.NETWORK
    assert done.stderr.count("\n") == 1
    if mode:  # a page asks for little, and may be told that this is not served before the rest comes
        assert "can't read what a member sends" in done.stderr
        assert "rejected   nothing" in done.stdout  # the summary comes all the same


def test_it_runs_without_torch_and_without_hivemind() -> None:
    heavy = "{'torch', 'numpy', 'hivemind'} & sys.modules.keys()"
    code = (
        "import sys, dhtnode.observer.command, dhtnode.observer.program, dhtnode.observer.directory as d; "
        f"d._stubs('dht_pb2'), d._stubs('p2pd_pb2'); print(sorted({heavy}))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_page_needs_neither_torch_nor_hivemind() -> None:
    code = "import sys, dhtnode.observer.reading, dhtnode.cli.view; "
    code += "print(sorted({'torch', 'hivemind'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
