"""Real networks on loopback for the tests of the network adapters."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dhtnode.identity import Identity
from dhtnode.net.daemon import DaemonConfig
from dhtnode.net.network import Network, NetworkConfig

SWARM = bytes(range(32))


class Lab:
    """Starts networks in a folder, remembers what they report, stops them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blamed: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.joined: asyncio.Queue[str] = asyncio.Queue()
        self.left: asyncio.Queue[str] = asyncio.Queue()
        self.running: list[Network] = []

    def config(self, name: str, *neighbours: Network, listen: str = "/ip4/127.0.0.1/tcp/0") -> NetworkConfig:
        path = self.folder / f"{name}.key"
        Identity.load_or_create(path)
        daemon = DaemonConfig(path, listen=(listen,), relay=False, autonat=False, nat_port_map=False)
        return NetworkConfig(SWARM, daemon, tuple(node.addresses()[0] for node in neighbours), False)

    async def start(self, name: str, *neighbours: Network) -> Network:
        return await self.run(self.config(name, *neighbours))

    async def run(self, config: NetworkConfig) -> Network:
        network = await Network.start(
            config,
            on_misbehaviour=lambda peer, reason: self.blamed.put_nowait((peer, reason)),
            on_connect=self.joined.put_nowait,
            on_disconnect=self.left.put_nowait,
        )
        self.running.append(network)
        return network

    async def stop(self) -> None:
        for network in self.running:
            await network.stop()
