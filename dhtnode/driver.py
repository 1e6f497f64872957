"""The one event loop around a synchronous core: events in, effects out, in order.

Everything that happens to a node, from a record on the wire to a finished thread, becomes an event
in one queue. The core answers each with effects, which are started in their order before the next
event is looked at. Time reaches the core only as an argument.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

Event = TypeVar("Event", contravariant=True)
Effect = TypeVar("Effect")
E = TypeVar("E")
F = TypeVar("F")

TICK_S = 0.1
"""How late a deadline may be noticed; well under any learned one."""


class Core(Protocol[Event, Effect]):
    """A deterministic state machine."""

    def on(self, event: Event, now_s: float) -> list[Effect]:
        """Take in one event, at a time that only rises."""
        ...


class Driver(Generic[E, F]):
    """Feeds a core and performs its effects until somebody calls `end`.

    Args:
        core: the state machine.
        perform: starts one effect; it must not block. What it raises ends the node.
        tick: the event that only says that time has passed.
    """

    def __init__(self, core: Core[E, F], perform: Callable[[F], None], tick: E) -> None:
        self._core = core
        self._perform = perform
        self._tick = tick
        self._queue: asyncio.Queue[E] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @staticmethod
    def now_s() -> float:
        """The clock of all events."""
        return time.monotonic()

    @property
    def runs(self) -> bool:
        """Whether it performs and spawns."""
        return self._tasks is not None

    def post(self, event: E) -> None:
        """Let an event happen. From the loop's own thread only."""
        self._queue.put_nowait(event)

    def perform_all(self, effects: list[F]) -> None:
        """Start effects that came from elsewhere than an event, in order."""
        for effect in effects:
            self._perform(effect)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run something beside the loop; what it raises ends the node. None: there is no loop any more."""
        if self._tasks is None:
            work.close()
            return None
        return self._tasks.create_task(work)

    def end(self) -> None:
        """Stop after the current event; running tasks are cancelled."""
        self._ended.set()

    async def run(self, begin: Callable[[], list[F]]) -> None:
        """Perform what `begin` asks for, then events until the end.

        Raises:
            Exception: the first error of the core, an effect or a task.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self.perform_all(begin())
                loop = tasks.create_task(self._loop())
                await self._ended.wait()
                loop.cancel()
                raise _End  # noqa: TRY301  the way out of a task group
        except* _End:
            pass
        except* Exception as group:
            raise _first(group) from None
        finally:
            self._tasks = None

    async def _loop(self) -> None:
        while True:
            try:
                async with asyncio.timeout(TICK_S):
                    event = await self._queue.get()
            except TimeoutError:
                event = self._tick
            self.perform_all(self._core.on(event, self.now_s()))


class _End(Exception):  # noqa: N818  not an error: how a task group is left
    """Cancels the remaining tasks."""


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
