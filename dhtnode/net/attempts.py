"""Several dials at once: how long the slow ones are waited for.

Some remembered peers are always gone, and an address where nobody is takes its whole deadline to fail.
That must not hold up a node whose other peers have answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

GRACE_S = 2.0
"""Wait for stragglers after an answer. A guess: a dial over a bad line takes three round trips."""

T = TypeVar("T")


async def in_good_time(
    attempts: Sequence[Coroutine[Any, Any, T | None]], grace_s: float = GRACE_S
) -> list[T | None]:
    """Results in the order of the attempts; None for those that failed or were not waited for.

    As long as nothing but failures (None) has come, all attempts get their own full time.
    """
    tasks = [asyncio.create_task(attempt) for attempt in attempts]
    pending = set(tasks)
    answered = False
    try:
        while pending:
            timeout_s = grace_s if answered else None
            done, pending = await asyncio.wait(
                pending, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            answered = answered or any(task.result() is not None for task in done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [None if task.cancelled() else task.result() for task in tasks]
