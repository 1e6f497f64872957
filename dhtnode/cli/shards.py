"""`dhtnode data`: who has brought which part of the data, and registering one."""

from __future__ import annotations

import sys

import msgspec
from rich.console import Console
from rich.table import Table

from dhtnode.cli.asking import ask_node
from dhtnode.errors import ConfigError, Exit
from dhtnode.home import Home
from dhtnode.proposals import ShardPart, ShardsPart
from dhtnode.reward import PPM

SHORT = 12
"""Digits of an id that are shown."""


def register_shard(home: Home, domain: str, chunks: str) -> None:
    """Have the node name a shard in its next commitment.

    Raises:
        ConfigError: USAGE (2) for chunks that are no FIRST:COUNT; FAILED (1) as the node says.
    """
    first, colon, count = chunks.partition(":")
    if chunks and not (colon and first.isdigit() and count.isdigit()):
        raise ConfigError(f"--chunks {chunks}: write FIRST:COUNT, for example 0:16", Exit.USAGE)
    answer = ask_node(home, "register", domain=domain, first=first or "0", chunks=count or "0")
    wish = msgspec.json.decode(answer, type=ShardPart)
    print(f"{_what(wish)}: {wish.state}; 'dhtnode data list' shows from which round on it counts")


def show_shards(home: Home, *, as_json: bool) -> None:
    """Print all registrations that the running node knows, and what waits. Raises as `register_shard`."""
    known = _shards(home)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(known), indent=2).decode() + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    if not known.shards:
        console.print("nobody has registered data")
        return
    table = Table("shard", "by", "round", "what", "counts", "copied", box=None, padding=(0, 2, 0, 0))
    for one in known.shards:
        by, what, copied = one.by[-SHORT:], _what(one), f"{one.duplicate_ppm / PPM:.0%}"
        if one.id is None:
            table.add_row("", by, "", what, one.state, "")
        else:
            table.add_row(one.id[:SHORT], by, str(one.round), what, _own(one), copied)
    console.print(table)


def _shards(home: Home) -> ShardsPart:
    return msgspec.json.decode(ask_node(home, "shards"), type=ShardsPart)


def _what(shard: ShardPart) -> str:
    if not shard.chunks:
        return f"{shard.domain}, private data"
    return f"{shard.domain}, chunks {shard.first} to {shard.first + shard.chunks - 1}"


def _own(shard: ShardPart) -> str:
    if not shard.own:
        return "nothing"
    return f"{shard.own:,} chunks" if shard.chunks else f"{shard.own:,} tokens"
