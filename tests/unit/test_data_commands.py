"""`data register` and `data list`: what is asked of the node, and what a person reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from dhtnode.control import control_server
from dhtnode.home import Home
from dhtnode.proposals import ShardPart, ShardsPart
from tests.unit.commandline import Command, refusal
from tests.unit.parties import person

WAITING = ShardPart(
    state="waiting for the next round",
    id=None,
    by=person(1).peer_id,
    round=None,
    domain="law",
    first=4,
    chunks=2,
    own=0,
    duplicate_ppm=0,
)
COUNTS = msgspec.structs.replace(
    WAITING, state="registered", id="3f" * 32, round=7, first=0, chunks=4, own=3, duplicate_ppm=250_000
)


class Node:
    """A node that only answers on its socket."""

    def __init__(self, *shards: ShardPart) -> None:
        self.known = ShardsPart(chunks=9, shards=shards)
        self.asked: list[dict[str, str]] = []

    async def register(self, **options: str) -> ShardPart:
        self.asked.append(options)
        return WAITING

    async def shards(self) -> ShardsPart:
        return self.known

    @asynccontextmanager
    async def running(self, home: Home) -> AsyncIterator[None]:
        async with control_server(home.control_path, {"register": self.register, "shards": self.shards}):
            yield


async def typed(dhtnode: Command, home: Home, node: Node, words: str) -> str:
    """What a command prints while a node runs in its home."""
    async with node.running(home):
        return (await asyncio.to_thread(dhtnode, words, "--home home")).out


async def test_a_shard_waits_for_the_next_round(dhtnode: Command, home: Home) -> None:
    node = Node()
    said = await typed(dhtnode, home, node, "data register law --chunks 4:2")
    assert node.asked == [{"domain": "law", "first": "4", "chunks": "2"}]
    assert said.startswith("law, chunks 4 to 5: waiting for the next round; 'dhtnode data list' shows")


async def test_what_waits_is_listed_after_what_counts(dhtnode: Command, home: Home) -> None:
    node = Node(COUNTS, WAITING)
    counts, waits = (await typed(dhtnode, home, node, "data list")).splitlines()[1:]
    assert counts.split()[0] == "3f" * 6
    assert "law, chunks 0 to 3  3 chunks" in counts
    assert counts.split()[-1] == "25%"
    assert "law, chunks 4 to 5  waiting for the next round" in waits
    shown = json.loads(await typed(dhtnode, home, node, "data list --json"))["shards"]
    assert [(one["state"], one["id"], one["round"]) for one in shown] == [
        ("registered", "3f" * 32, 7),
        ("waiting for the next round", None, None),
    ]
    assert "nobody has registered data" in await typed(dhtnode, home, Node(), "data list")


@pytest.mark.parametrize("chunks", ["4", "4:", "a:2", "4-2"])
def test_chunks_are_a_first_one_and_a_count(dhtnode: Command, home: Home, chunks: str) -> None:
    assert "write FIRST:COUNT" in refusal(dhtnode(f"data register law --chunks {chunks} --home home"), 2)
