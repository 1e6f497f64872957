"""The network adapters between real daemons on loopback. Waits are for events, never for time."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import stat
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hivemind.dht import DHTNode
from hivemind.p2p import P2P
from hivemind.utils import get_dht_time
from hivemind.utils.multiaddr import Multiaddr

from dhtnode.errors import ConfigError, Exit, RemoteProtocolError, TransportError
from dhtnode.identity import Identity
from dhtnode.net.control import STREAM_SOCKET
from dhtnode.net.daemon import Daemon
from dhtnode.net.network import Network
from dhtnode.net.streams import MAX_INBOUND_PER_PEER, RefusedError, Stream
from tests.swarm.lab import SWARM, Lab

PRESENCE = f"dhtnode/{SWARM.hex()[:16]}/presence"


# Requests and streams


async def test_requests_are_answered_or_refused_with_a_reason(lab: Lab) -> None:
    a = await lab.start("a")
    b = await lab.start("b", a)

    async def answer(peer: str, payload: bytes) -> bytes:
        if payload == b"secret":
            raise RefusedError("not for you")
        return peer.encode() + payload

    await a.on_request("echo", 100, answer)
    assert await b.request(a.peer_id, "echo", b"!", max_reply_bytes=100) == b.peer_id.encode() + b"!"
    with pytest.raises(RefusedError, match="not for you"):
        await b.request(a.peer_id, "echo", b"secret", max_reply_bytes=100)
    with pytest.raises(TransportError, match="cannot open other"):
        await b.request(a.peer_id, "other", max_reply_bytes=100)


async def test_an_oversized_request_is_refused_and_blamed(lab: Lab) -> None:
    a = await lab.start("a")
    b = await lab.start("b", a)
    calls = []

    async def answer(peer: str, payload: bytes) -> bytes:
        calls.append(payload)
        return b""

    await a.on_request("small", 1000, answer)
    with pytest.raises(RefusedError, match="too large"):
        await b.request(a.peer_id, "small", bytes(1001), max_reply_bytes=100)
    assert await lab.blamed.get() == (b.peer_id, "oversized-request")
    await b.request(a.peer_id, "small", bytes(1000), max_reply_bytes=100)
    assert calls == [bytes(1000)]


async def test_an_oversized_reply_is_not_read(lab: Lab) -> None:
    a = await lab.start("a")
    b = await lab.start("b", a)

    async def answer(peer: str, payload: bytes) -> bytes:
        return bytes(101)

    await a.on_request("big", 10, answer)
    with pytest.raises(RemoteProtocolError) as caught:
        await b.request(a.peer_id, "big", max_reply_bytes=100)
    assert (caught.value.peer, caught.value.reason) == (a.peer_id, "oversized-reply")


async def test_a_request_without_an_answer_ends_at_its_deadline(lab: Lab) -> None:
    a = await lab.start("a")
    b = await lab.start("b", a)

    async def never(peer: str, payload: bytes) -> bytes:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    await a.on_request("never", 10, never)
    with pytest.raises(TransportError, match=r"no answer to never|silent"):
        await b.request(a.peer_id, "never", max_reply_bytes=10, timeout_s=0.3)


async def test_a_stream_carries_every_byte_and_counts_it(lab: Lab) -> None:
    a = await lab.start("a")
    b = await lab.start("b", a)
    sent = [os.urandom(1 << 20) for _ in range(32)]
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def sink(stream: Stream) -> None:
        received.set_result(b"".join([await stream.read_exactly(1 << 20) for _ in sent]))

    await a.serve("sink", sink)
    before = a.traffic.received_from[b.peer_id], b.traffic.sent_to[a.peer_id]
    async with b.streams.opened(a.peer_id, "sink") as stream:
        for piece in sent:
            stream.write(piece)
            await stream.drain()
        assert await received == b"".join(sent)
    assert a.traffic.received_from[b.peer_id] - before[0] == 32 << 20
    assert b.traffic.sent_to[a.peer_id] - before[1] == 32 << 20


async def test_a_bug_in_a_handler_closes_one_stream_and_is_logged(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    a = await lab.start("a")
    b = await lab.start("b", a)

    async def buggy(peer: str, payload: bytes) -> bytes:
        return bytes(1 // len(payload))

    await a.on_request("buggy", 10, buggy)
    with pytest.raises(TransportError, match="stream ended"):
        await b.request(a.peer_id, "buggy", b"", max_reply_bytes=10)
    assert "ZeroDivisionError" in caplog.text
    assert await b.request(a.peer_id, "buggy", b"x", max_reply_bytes=10) == b"\0"
    assert lab.blamed.empty()


async def test_one_peer_cannot_hold_all_streams(lab: Lab) -> None:
    a = await lab.start("a")
    b = await lab.start("b", a)
    c = await lab.start("c", a)

    async def greet(stream: Stream) -> None:
        stream.write(b"x")
        await stream.drain()
        await stream.ended()

    await a.serve("greet", greet)
    held = []
    for _ in range(MAX_INBOUND_PER_PEER):
        held.append(await b.open(a.peer_id, "greet"))
        await held[-1].read_exactly(1)
    async with b.streams.opened(a.peer_id, "greet") as one_more:
        with pytest.raises(TransportError, match="stream ended"):
            await one_more.read_exactly(1)
    async with c.streams.opened(a.peer_id, "greet") as other:
        assert await other.read_exactly(1) == b"x"
    for stream in held:
        stream.close()


# Gossip and presence


async def test_gossip_reaches_a_peer_behind_a_peer(lab: Lab) -> None:
    a = await lab.start("a")
    b, c = await lab.start("b", a), await lab.start("c", a)
    heard: dict[Network, asyncio.Queue[tuple[str, bytes]]] = {}
    for network in (a, b, c):
        heard[network] = asyncio.Queue()
        await network.subscribe("news", lambda *message, network=network: heard[network].put_nowait(message))
    for attempt in itertools.count():  # until the mesh has formed, messages may be lost on the way
        await b.publish("news", b"%d" % attempt)
        with suppress(TimeoutError):
            assert (await asyncio.wait_for(heard[c].get(), 0.5))[0] == b.peer_id
            break
    await b.publish("news", b"last")
    for network in (a, b, c):
        while await heard[network].get() != (b.peer_id, b"last"):
            pass


async def test_who_does_not_listen_is_heard_all_the_same(lab: Lab) -> None:
    """What a node relies on that has just been restarted."""
    a = await lab.start("a")
    b = await lab.start("b", a)
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    await a.subscribe("news", lambda *message: heard.put_nowait(message))
    while heard.empty():  # until b has been told who listens
        await b.publish("news", b"good")
        await asyncio.sleep(0.05)
    assert heard.get_nowait() == (b.peer_id, b"good")


async def test_a_plain_hivemind_node_reads_presence_and_cannot_forge_it(lab: Lab) -> None:
    a = await lab.start("a")
    b = await lab.start("b", a)
    assert await a.announce("presence", b"record of a", ttl_s=60)
    assert await b.announce("presence", b"record of b", ttl_s=60)
    records = {a.peer_id: b"record of a", b.peer_id: b"record of b"}

    visitor = await Daemon.start(replace(lab.config("a").daemon, identity_path=None))
    await visitor.control.connect(a.peer_id, [a.addresses()[0].partition("/p2p/")[0]], 10)
    p2p = await P2P.replicate(Multiaddr(f"/unix{visitor.control.path}"))
    plain = await DHTNode.create(p2p=p2p, initial_peers=a.addresses())
    found = await plain.get(PRESENCE, latest=True)
    assert {peer: entry.value[0] for peer, entry in found.value.items()} == records

    late = get_dht_time() + 3600
    theirs = found.value[a.peer_id].value
    forgeries = ("evil", [b"evil", bytes(64)], theirs)  # the last one: a true entry, made to live longer
    for value in forgeries:
        await plain.store(PRESENCE, value, late, subkey=a.peer_id, exclude_self=True)
    await plain.store(PRESENCE, b"no list", late, exclude_self=True)
    assert await b.lookup("presence") == records
    await plain.shutdown()
    await p2p.shutdown()
    await visitor.stop()


# Start, stop, identity


async def test_peers_that_come_and_go_are_reported(lab: Lab) -> None:
    a = await lab.start("a")
    b = await lab.start("b", a)
    assert {await lab.joined.get(), await lab.joined.get()} == {a.peer_id, b.peer_id}
    assert a.peer_id in b.connected_peers()
    await b.stop()
    assert await lab.left.get() == b.peer_id
    assert b.peer_id not in a.connected_peers()
    again = await lab.start("b")
    assert await a.connect(again.addresses()[0]) == b.peer_id
    assert {await lab.joined.get(), await lab.joined.get()} == {a.peer_id, b.peer_id}
    while lab.left.empty():  # a greeting under way may dial again at once
        await a.disconnect(b.peer_id)


async def test_a_port_in_use_is_one_clear_line(lab: Lab) -> None:
    a = await lab.start("a")
    port = a.addresses()[0].split("/")[4]
    with socket.create_server(("127.0.0.1", 0)) as other:
        for taken in (port, str(other.getsockname()[1])):
            with pytest.raises(ConfigError) as caught:
                await lab.run(lab.config("b", listen=f"/ip4/127.0.0.1/tcp/{taken}"))
            assert str(caught.value).startswith(f"port {taken} is in use")
            assert "--listen" in str(caught.value)
            assert "\n" not in str(caught.value)
            assert caught.value.exit_code == Exit.NETWORK


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("/ip4/127.0.0.1/tpc/4001", "is not a multiaddr"),
        ("4001", "is not a multiaddr"),
        ("/ip4/203.0.113.9/tcp/4001", "cannot listen on /ip4/203.0.113.9/tcp/4001"),
        ("/ip4/127.0.0.1/sctp/4001", "failed to listen"),
    ],
)
async def test_an_address_we_cannot_listen_on_is_named(lab: Lab, listen: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        await lab.run(lab.config("a", listen=listen))
    assert caught.value.exit_code == Exit.NETWORK
    assert "--listen" in str(caught.value)


async def test_a_bootstrap_peer_that_does_not_answer_is_reported_with_its_reason(lab: Lab) -> None:
    a = await lab.start("a")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = f"/ip4/127.0.0.1/tcp/{port}/p2p/{Identity.generate().peer_id}"
    b = await lab.run(replace(lab.config("b", a), bootstrap=(gone, a.addresses()[0])))
    assert list(b.unreachable) == [gone]
    assert "refused" in b.unreachable[gone]
    with pytest.raises(ConfigError, match="append /p2p/"):
        await b.connect("/ip4/127.0.0.1/tcp/4001")


async def test_a_bootstrap_peer_that_hangs_does_not_hold_up_the_start(lab: Lab) -> None:
    a = await lab.start("a")
    with socket.create_server(("127.0.0.1", 0)) as mute:  # connections succeed, and nobody ever speaks
        hung = f"/ip4/127.0.0.1/tcp/{mute.getsockname()[1]}/p2p/{Identity.generate().peer_id}"
        config = replace(lab.config("b"), bootstrap=(hung, a.addresses()[0]), check_instance=True)
        b = await lab.run(config)
    assert b.unreachable == {hung: "no answer yet, and others were quicker"}
    assert a.peer_id in b.connected_peers()


async def test_stop_leaves_nothing_behind(lab: Lab) -> None:
    a = await lab.start("a")
    folder, daemon = a.streams._control.path.parent, psutil.Process(a.daemon_pid)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(os.fsencode(folder / "control")) < 100
    assert os.getsid(a.daemon_pid) != os.getsid(0)  # Ctrl-C in our terminal does not reach it
    await a.stop()
    assert not folder.exists()
    assert not daemon.is_running()
    assert a.died.cancelled()


async def test_the_next_start_removes_what_killed_nodes_left(lab: Lab) -> None:
    a = await lab.start("a")
    living = a.streams._control.path.parent
    dead = Path(tempfile.mkdtemp(prefix="dhtnode-net-", dir=living.parent))
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(dead / STREAM_SOCKET))
    for folder in (living, dead):
        os.utime(folder, (0, 0))
    await lab.start("b")
    folders = os.listdir(living.parent)
    assert living.name in folders
    assert dead.name not in folders


NODE = """
import asyncio, sys, uvloop
from pathlib import Path
from dhtnode.net.daemon import Daemon, DaemonConfig
from dhtnode.net.network import Network, NetworkConfig

async def main():
    key, bootstrap = sys.argv[1:]
    listen = ("/ip4/127.0.0.1/tcp/0",)
    daemon = DaemonConfig(Path(key), listen, relay=False, autonat=False, nat_port_map=False)
    network = await Network.start(NetworkConfig(bytes(range(32)), daemon, (bootstrap,)))
    print(network.daemon_pid, flush=True)
    await network.died

uvloop.run(main())
"""


async def _start_process(lab: Lab, name: str, neighbour: Network) -> tuple[asyncio.subprocess.Process, int]:
    key = lab.config(name).daemon.identity_path
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-W", "ignore", "-c", NODE, str(key), neighbour.addresses()[0],
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    return process, int(await process.stdout.readline())


async def test_a_second_instance_is_refused_and_a_restart_after_sigkill_is_not(lab: Lab) -> None:
    a = await lab.start("a")
    process, daemon_pid = await _start_process(lab, "b", a)
    daemon = psutil.Process(daemon_pid)
    config = replace(lab.config("b", a), check_instance=True)
    with pytest.raises(ConfigError, match="already running in this swarm") as caught:
        await lab.run(config)
    assert caught.value.exit_code == Exit.NETWORK
    process.kill()
    await process.wait()
    b = await lab.run(config)
    assert a.peer_id in b.connected_peers()
    await asyncio.to_thread(daemon.wait, 5)


async def test_sigkill_leaves_no_daemon_behind(lab: Lab) -> None:
    a = await lab.start("a")
    process, daemon_pid = await _start_process(lab, "b", a)
    daemon = psutil.Process(daemon_pid)
    process.kill()
    await asyncio.to_thread(daemon.wait, 5)
    await process.wait()
