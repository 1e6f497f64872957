"""Loads what a node loads only when it needs it: imported where nodes are forked from, for that alone."""

from __future__ import annotations

from hivemind.utils.multiaddr import Multiaddr
from typer.testing import CliRunner

from dhtnode.cli.root import app
from dhtnode.identity import Identity

CliRunner().invoke(app, ["run", "no-such-swarm.toml"])
Multiaddr(f"/ip4/127.0.0.1/tcp/1/p2p/{Identity.from_seed(bytes(32)).peer_id}")
