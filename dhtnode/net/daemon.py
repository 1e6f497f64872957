"""The libp2p daemon as a child: start it, know why it failed, never leave it behind.

Three things that a plain start gets wrong, and what is done here:

- go-libp2p listens with SO_REUSEPORT, so a second daemon of the same user shares a port with the
  first one and takes half of its connections, without any error. Ports are tried before the start.
- A daemon outlives a killed parent. Ours runs with an idle time-out and we hold one persistent
  control connection: the kernel closes it when this process ends, however it ends, and the daemon
  leaves by itself. No signal handler, no launcher, the same on every Unix.
- Ctrl-C reaches the whole foreground process group. The daemon gets a session of its own, so that
  the node can still finish its round over the network.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import tempfile
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import cast

from hivemind.utils.multiaddr import Multiaddr

from dhtnode.errors import ConfigError, Exit, TransportError
from dhtnode.net.control import STREAM_SOCKET, Connection, Control, one_line
from dhtnode.net.multiaddress import check_addresses

log = logging.getLogger(__name__)

START_DEADLINE_S = 60.0
"""Generous: a loaded laptop needs seconds; hivemind's 15 s is its users' most frequent complaint."""
STOP_DEADLINE_S = 5.0
UNHELD_S = 15
"""How long a daemon waits for our persistent connection before it takes us for dead."""
OUTPUT_LINES = 50
STALE_AFTER_S = 60.0
_FOLDER = "dhtnode-net-"
_GREETING = ("Control socket:", "Peer ID:", "Peer Addrs:", "/ip")


@dataclass(frozen=True)
class DaemonConfig:
    """How this node shows itself to the network."""

    identity_path: Path | None
    """Ed25519 key file in libp2p's format; None draws a throw-away identity."""
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    """Multiaddrs to listen on, TCP or QUIC (`/udp/PORT/quic-v1`); port 0 picks a free one,
    none at all makes a node that only dials."""
    announce: tuple[str, ...] = ()
    """Multiaddrs to tell others instead of the ones we see, for a forwarded port."""
    relays: tuple[str, ...] = ()
    """Peers asked to relay for us when `auto_relay` finds that we can't be dialled."""
    relay: bool = True
    """Reach others through relays, and relay for others."""
    auto_relay: bool = False
    """Find out whether we are behind a NAT, and if so become reachable through a relay."""
    autonat: bool = True
    """Tell others whether they can be dialled, and punch holes."""
    nat_port_map: bool = True
    """Ask the router for a port by UPnP or NAT-PMP."""
    dht_client: bool = False
    """Ask libp2p's routing but answer no queries: for short visits."""


class Daemon:
    """One running p2pd and its control socket."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.control = Control(folder / "control")
        self.peer_id = ""
        self.died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Resolves to a readable reason when the daemon ends without `stop` having been called."""
        self._process = process
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._ready = asyncio.Event()
        self._pump = asyncio.create_task(self._read_output())
        self._held: Connection | None = None
        self._stopping = False

    @classmethod
    async def start(cls, config: DaemonConfig) -> Daemon:
        """Start the daemon and wait until it listens.

        Raises:
            ConfigError: exit code NETWORK; names the address or port and the remedy, and quotes
                the daemon's last line where there is one.
        """
        check_addresses("--listen", config.listen)
        check_addresses("--announce", config.announce)
        check_addresses("--peer", config.relays)
        for address in config.listen:
            check_port_free(address)
        remove_stale_folders()
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER))  # mode 0700; short: socket paths end at 107 bytes
        try:
            process = await _spawn(config, folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ConfigError(
                f"cannot start the network daemon: {error}; reinstall hivemind", Exit.NETWORK
            ) from error
        daemon = cls(folder, process)
        try:
            await daemon._settle()
        except BaseException:
            await daemon.stop()
            raise
        return daemon

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> list[str]:
        """The daemon's last lines."""
        return list(self._output)

    async def stop(self) -> None:
        """End the daemon and remove its folder. Safe to call twice."""
        self._stopping = True
        if self._held is not None:
            self._held.writer.close()
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._pump
        self.died.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _settle(self) -> None:
        """Wait for the daemon's message, take hold of it, learn who we are."""
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                await self._ready.wait()
        except TimeoutError:
            raise ConfigError(
                f"the network daemon did not start within {START_DEADLINE_S:g} s{self._quote()}; "
                "is the machine overloaded? start again",
                Exit.NETWORK,
            ) from None
        try:
            self._held = await self.control.hold()
            self.peer_id, _ = await self.control.identify()
        except TransportError as error:
            await self.stop()  # and with it, all that it still had to say
            raise ConfigError(
                f"the network daemon ended at its start{self._quote()}; "
                "check the addresses given with --listen and --announce",
                Exit.NETWORK,
            ) from error

    async def _read_output(self) -> None:
        stdout = cast(asyncio.StreamReader, self._process.stdout)
        while True:
            try:
                line = await stdout.readline()
            except ValueError:  # a line beyond the buffer: keep draining, or the daemon would block
                continue
            if not line:
                break
            text = one_line(line.decode(errors="replace"))[:500]
            self._output.append(text)
            log.debug("p2pd: %s", text)
            if text.startswith("Peer ID:"):
                self._ready.set()
        code = await self._process.wait()
        self._ready.set()  # `_settle` then finds no socket and reports
        if not self._stopping and not self.died.done():
            self.died.set_result(f"the network daemon ended with code {code}{self._quote()}")

    def _quote(self) -> str:
        said = [line for line in self._output if not line.startswith(_GREETING)]
        return f" (its last words: {said[-1]})" if said else ""


async def _spawn(config: DaemonConfig, folder: Path) -> asyncio.subprocess.Process:
    flags: dict[str, str | int] = {
        "listen": f"/unix{folder}/control",
        "idleTimeout": f"{UNHELD_S}s",
        "pubsub": 1,
        "dhtClient" if config.dht_client else "dhtServer": 1,
        "connManager": 1,
        "tls": 1,
        "noise": 1,
        "relay": int(config.relay),
        "autoRelay": int(config.auto_relay),
        "relayDiscovery": 1,
        "autonat": int(config.autonat),
        "natPortMap": int(config.nat_port_map),
    }
    if config.listen:
        flags["hostAddrs"] = ",".join(config.listen)
    else:
        flags["noListenAddrs"] = 1
    if config.identity_path is not None:
        flags["id"] = str(config.identity_path)
    if config.announce:
        flags["announceAddrs"] = ",".join(config.announce)
    if config.auto_relay and config.relays:
        flags["trustedRelays"] = ",".join(config.relays)
    environment = {"GOLOG_LOG_LEVEL": "error", "GOLOG_LOG_FMT": "nocolor", **os.environ}
    with as_file(files("hivemind.hivemind_cli") / "p2pd") as binary:
        return await asyncio.create_subprocess_exec(
            str(binary),
            *(f"-{name}={value}" for name, value in flags.items()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )


def check_port_free(address: str) -> None:
    """Try to bind the port of a listen address as an exclusive owner would.

    Raises:
        ConfigError: exit code NETWORK, for a port in use or an address that is not ours.
    """
    parts = Multiaddr(address)
    for ip, family in (("ip4", socket.AF_INET), ("ip6", socket.AF_INET6)):
        for transport, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
            if ip not in parts or transport not in parts:
                continue
            host, port = parts[ip], int(parts[transport])
            with socket.socket(family, kind) as probe:
                if kind == socket.SOCK_STREAM:  # a closed connection's TIME_WAIT is no obstacle
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    raise ConfigError(_bind_failure(address, port, error), Exit.NETWORK) from error


def _bind_failure(address: str, port: int, error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, PermissionError):
        return f"port {port} needs privileges ({address}: {reason}); choose one above 1023 with --listen"
    if "in use" in reason:
        return (
            f"port {port} is in use ({address}: {reason}); choose another with --listen, "
            f"or stop the program that holds it"
        )
    return f"cannot listen on {address}: {reason}; choose an address of this machine with --listen"


def remove_stale_folders() -> None:
    """Remove what killed nodes of this user left: folders whose stream socket nobody listens to."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            about = folder.lstat()
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < STALE_AFTER_S:
                continue
            try:
                probe.connect(str(folder / STREAM_SOCKET))
            except ConnectionRefusedError:
                shutil.rmtree(folder, ignore_errors=True)
