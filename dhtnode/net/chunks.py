"""Content by digest, fetched from several peers at once; every chunk is checked as it comes.

One stream to each source, on endpoint `chunks`. The reader writes the 32-byte root of the content once
and then chunk indices (u32, big-endian) ahead of the answers; the index 2^32 - 1 asks for the leaf list.
Answers come in the order of the questions: `length u32 | bytes`, length 2^32 - 1 meaning "I don't have
it". Model states and datasets travel in this one way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from dhtnode.digest import DIGEST_BYTES
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.net.chunkplan import WINDOW_BYTES, Assignment, ChunkPlan, Content
from dhtnode.net.streams import IO_DEADLINE_S, Stream, Streams

ENDPOINT = "chunks"
PIECE_BYTES = 512 * 1024
"""Written at once before waiting for the queue to shrink; 256 KiB to 1 MiB are equally fast."""
IDLE_DEADLINE_S = 120.0
"""How long a reader may hold its stream open without a question."""
_LEAVES = _ABSENT = 2**32 - 1

Write = Callable[[int, bytes], None]
Progress = Callable[[int, int], None]


class Provider(Protocol):
    """What a node can serve. Both are called in the event loop: a read from the page cache, no more."""

    def leaves(self, root: bytes) -> Sequence[bytes] | None:
        """Leaf digests of the content with this root."""
        ...

    def chunk(self, root: bytes, index: int) -> bytes | memoryview | None:
        """One chunk; None for an index that is out of range or not here (yet)."""
        ...


async def serve_chunks(streams: Streams, provider: Provider) -> None:
    """Answer the readers of this node's content."""

    async def handle(stream: Stream) -> None:
        root = await stream.read_exactly(DIGEST_BYTES)
        while True:
            index = int.from_bytes(await stream.read_exactly(4, IDLE_DEADLINE_S), "big")
            if index == _LEAVES:
                leaves = provider.leaves(root)
                await _send(stream, None if leaves is None else b"".join(leaves))
            else:
                await _send(stream, provider.chunk(root, index))

    await streams.serve(ENDPOINT, handle)


async def fetch(
    streams: Streams,
    sources: Collection[str],
    content: Content,
    write: Write,
    *,
    leaves: Sequence[bytes] | None = None,
    wanted: Sequence[int] | None = None,
    progress: Progress | None = None,
    silence_s: float = IO_DEADLINE_S,
) -> ChunkPlan:
    """Fetch content from those of the sources that have it.

    A source that serves a wrong chunk or wrong leaves is dropped and named to `on_misbehaviour` of
    the streams (`bad-chunk`, `bad-leaves`); others take over what it owed.

    Args:
        streams: this node's streams.
        sources: peer ids; some may be dead, slow, lack chunks or lie.
        content: what to fetch.
        write: called once for each chunk with (index, bytes), in any order, checked. What it raises
            ends the fetch and is raised here.
        leaves: the leaf list where it is known (ValueError if wrong); otherwise it is fetched first.
        wanted: indices to fetch, all by default.
        progress: called with (chunks here, chunks wanted) after each chunk.
        silence_s: a source that answers nothing for so long is given up.

    Returns:
        The plan, whose leaves the caller can serve from.

    Raises:
        TransportError: no source is left for some chunks; what was written stays valid.
    """
    trusted = list(dict.fromkeys(sources))
    if leaves is not None:
        plan = ChunkPlan(content, leaves)
    else:
        plan = await _fetch_plan(streams, trusted, content, silence_s)
    indices = range(content.chunks) if wanted is None else wanted
    await _Fetch(streams, trusted, plan, indices, write, progress, silence_s).run()
    return plan


async def _fetch_plan(streams: Streams, sources: list[str], content: Content, silence_s: float) -> ChunkPlan:
    """Ask one source after the other for the leaves; those that lie leave the list."""
    problems = []
    for source in list(sources):
        try:
            plan = await _ask_plan(streams, source, content, silence_s)
        except TransportError as error:
            problems.append(str(error))
        except RemoteProtocolError as error:
            problems.append(str(error))
            sources.remove(source)
            streams.on_misbehaviour(error.peer, error.reason)
        else:
            if plan is not None:
                return plan
            problems.append(f"{source}: does not have it")
    raise TransportError(f"nobody has the leaves of {content}: {'; '.join(problems) or 'no sources'}")


async def _ask_plan(streams: Streams, source: str, content: Content, silence_s: float) -> ChunkPlan | None:
    async with streams.opened(source, ENDPOINT) as stream:
        stream.write(content.root + _LEAVES.to_bytes(4, "big"))
        packed = await _receive(stream, content.chunks * DIGEST_BYTES, "bad-leaves", silence_s)
    try:
        return None if packed is None else ChunkPlan.parse(content, packed)
    except ValueError as error:
        raise RemoteProtocolError(source, "bad-leaves", str(error)) from error


class _Fetch:
    """One running fetch: a task for each source, all drawing from one assignment."""

    def __init__(
        self,
        streams: Streams,
        sources: list[str],
        plan: ChunkPlan,
        wanted: Sequence[int],
        write: Write,
        progress: Progress | None,
        silence_s: float,
    ) -> None:
        self._streams, self._sources, self._plan = streams, sources, plan
        self._write, self._progress, self._silence_s = write, progress, silence_s
        self._wanted = len(wanted)
        window = max(2, WINDOW_BYTES // plan.content.chunk_bytes)
        self._work = Assignment(wanted, sources, window)
        self._complete = asyncio.Event()
        self._changed = asyncio.Event()
        self._problems: list[str] = []

    async def run(self) -> None:
        if not self._work.missing:
            return
        complete = asyncio.create_task(self._complete.wait())
        tasks = [asyncio.create_task(self._draw_from(source)) for source in self._sources]
        try:
            while not complete.done() and (running := [task for task in tasks if not task.done()]):
                await asyncio.wait([complete, *running], return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()  # what `write` raised
        finally:
            complete.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(complete, *tasks, return_exceptions=True)
        if missing := self._work.missing:
            problems = "; ".join(self._problems) or "no source has them"
            content = self._plan.content
            raise TransportError(
                f"{len(missing)} of {self._wanted} chunks of {content} are missing: {problems}"
            )

    async def _draw_from(self, source: str) -> None:
        try:
            async with self._streams.opened(source, ENDPOINT) as stream:
                stream.write(self._plan.content.root)
                await self._converse(source, stream)
        except TransportError as error:
            self._problems.append(str(error))
        except RemoteProtocolError as error:
            self._problems.append(str(error))
            self._streams.on_misbehaviour(error.peer, error.reason)
        self._work.drop(source)
        self._wake()

    async def _converse(self, source: str, stream: Stream) -> None:
        """Ask ahead, read answers in order, until this source can't be of use any more."""
        asked: deque[int] = deque()
        while True:
            while (index := self._work.take(source)) is not None:
                stream.write(index.to_bytes(4, "big"))
                asked.append(index)
            if asked:
                await stream.drain(self._silence_s)
                await self._take_answer(source, stream, asked.popleft())
            elif self._work.may_get_work(source):
                await self._changed.wait()
            else:
                return

    async def _take_answer(self, source: str, stream: Stream, index: int) -> None:
        chunk = await _receive(stream, self._plan.content.size(index), "bad-chunk", self._silence_s)
        if chunk is None:
            self._work.lacking(source, index)
            self._wake()
            return
        if not self._plan.holds(index, chunk):
            raise RemoteProtocolError(source, "bad-chunk", f"chunk {index} of {self._plan.content}")
        if not self._work.arrived(source, index):
            return
        self._write(index, chunk)
        left = len(self._work.missing)
        if self._progress is not None:
            self._progress(self._wanted - left, self._wanted)
        if not left:
            self._complete.set()

    def _wake(self) -> None:
        """Let idle sources look again."""
        self._changed.set()
        self._changed = asyncio.Event()


async def _send(stream: Stream, data: bytes | memoryview | None) -> None:
    if data is None:
        stream.write(_ABSENT.to_bytes(4, "big"))
        await stream.drain()
        return
    stream.write(len(data).to_bytes(4, "big"))
    view = memoryview(data)
    for at in range(0, max(1, len(view)), PIECE_BYTES):
        stream.write(view[at : at + PIECE_BYTES])
        await stream.drain()


async def _receive(stream: Stream, expected_bytes: int, reason: str, silence_s: float) -> bytes | None:
    """One answer of exactly the expected size; None if the peer does not have it."""
    length = int.from_bytes(await stream.read_exactly(4, silence_s), "big")
    if length == _ABSENT:
        return None
    if length != expected_bytes:
        raise RemoteProtocolError(stream.peer, reason, f"{length} bytes instead of {expected_bytes}")
    return await stream.read_exactly(length, silence_s)
