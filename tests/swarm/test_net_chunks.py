"""Content fetched from real peers on loopback: sources that lie, die, stall or have nothing."""

from __future__ import annotations

import os
import signal

import pytest

from dhtnode.digest import leaf_digests, root_digest
from dhtnode.errors import TransportError
from dhtnode.net.chunkplan import Content
from dhtnode.net.chunks import ENDPOINT, fetch, serve_chunks
from dhtnode.net.network import Network
from dhtnode.net.streams import Stream
from tests.swarm.lab import Lab


class Shelf:
    """Content in memory; `spoil` makes it a bad source."""

    def __init__(self, data: bytes, chunk_bytes: int) -> None:
        self.chunks = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
        self.digests = leaf_digests("test", self.chunks)
        self.content = Content("test", root_digest("test", self.digests), len(data), chunk_bytes)
        self.spoil = False
        self.served = 0

    def leaves(self, root: bytes) -> list[bytes] | None:
        return self.digests if root == self.content.root else None

    def chunk(self, root: bytes, index: int) -> bytes | None:
        if root != self.content.root or index >= len(self.chunks):
            return None
        self.served += 1
        return bytes(len(self.chunks[index])) if self.spoil else self.chunks[index]


DATA = os.urandom(100 * 65536 + 17)


async def _fetch_all(reader: Network, sources: list[str], content: Content) -> bytes:
    parts: dict[int, bytes] = {}

    def write(index: int, chunk: bytes) -> None:
        assert index not in parts
        parts[index] = chunk

    await fetch(reader.streams, sources, content, write, silence_s=100)
    return b"".join(parts[index] for index in sorted(parts))


async def test_a_wrong_chunk_is_named_and_the_others_complete_the_fetch(lab: Lab) -> None:
    a = await lab.start("a")
    b, liar, reader = [await lab.start(name, a) for name in ("b", "liar", "reader")]
    shelf, spoiled = Shelf(DATA, 65536), Shelf(DATA, 65536)
    spoiled.spoil = True
    for network, served in ((a, shelf), (b, shelf), (liar, spoiled)):
        await serve_chunks(network.streams, served)
    with pytest.raises(TransportError, match=f"{liar.peer_id}: bad-chunk"):
        await _fetch_all(reader, [liar.peer_id], shelf.content)
    assert await lab.blamed.get() == (liar.peer_id, "bad-chunk")
    assert await _fetch_all(reader, [liar.peer_id, a.peer_id, b.peer_id], shelf.content) == DATA


async def test_a_source_that_dies_half_way_is_replaced(lab: Lab) -> None:
    a = await lab.start("a")
    dying, reader = await lab.start("dying", a), await lab.start("reader", a)
    shelf = Shelf(DATA, 65536)
    for network in (a, dying):
        await serve_chunks(network.streams, shelf)
    parts: dict[int, bytes] = {}

    def write(index: int, chunk: bytes) -> None:
        parts[index] = chunk
        if len(parts) == 20:
            os.kill(dying.daemon_pid, signal.SIGKILL)

    await fetch(reader.streams, [dying.peer_id, a.peer_id], shelf.content, write, silence_s=100)
    assert b"".join(parts[index] for index in sorted(parts)) == DATA
    assert "code -9" in await dying.died
    assert lab.blamed.empty()


async def test_a_source_that_stalls_is_overtaken_without_waiting_for_it(lab: Lab) -> None:
    a = await lab.start("a")
    stalled, reader = await lab.start("stalled", a), await lab.start("reader", a)
    shelf = Shelf(DATA, 65536)

    async def swallow(stream: Stream) -> None:
        await stream.ended()

    await serve_chunks(a.streams, shelf)
    await stalled.serve(ENDPOINT, swallow)
    assert await _fetch_all(reader, [a.peer_id, stalled.peer_id], shelf.content) == DATA


async def test_content_that_nobody_has_is_an_error_that_says_so(lab: Lab) -> None:
    a = await lab.start("a")
    reader = await lab.start("reader", a)
    shelf, other = Shelf(DATA, 65536), Shelf(DATA[:-1], 65536)
    await serve_chunks(a.streams, shelf)
    with pytest.raises(TransportError, match="does not have it"):
        await _fetch_all(reader, [a.peer_id], other.content)
    del shelf.chunks[-1]
    with pytest.raises(TransportError, match="1 of 101 chunks"):
        await _fetch_all(reader, [a.peer_id], shelf.content)


async def test_leaves_that_do_not_match_the_root_are_blamed(lab: Lab) -> None:
    a = await lab.start("a")
    liar, reader = await lab.start("liar", a), await lab.start("reader", a)
    shelf, lying = Shelf(DATA, 65536), Shelf(DATA, 65536)
    lying.digests = list(reversed(lying.digests))
    await serve_chunks(a.streams, shelf)
    await serve_chunks(liar.streams, lying)
    assert await _fetch_all(reader, [liar.peer_id, a.peer_id], shelf.content) == DATA
    assert await lab.blamed.get() == (liar.peer_id, "bad-leaves")
    assert lying.served == 0


async def test_a_full_disk_ends_the_fetch(lab: Lab) -> None:
    a = await lab.start("a")
    reader = await lab.start("reader", a)
    shelf = Shelf(DATA, 65536)
    await serve_chunks(a.streams, shelf)

    def write(index: int, chunk: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await fetch(reader.streams, [a.peer_id], shelf.content, write)
