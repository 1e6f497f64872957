"""Values that fade by half in so many rounds, in integers: the same bits on every machine.

A float's power of two would depend on the machine's library. Here the factor of one round is the
largest integer f with (f / 2^64)^h <= 1/2 for a half-life of h rounds, and all others are its products,
rounded down. What matters more than the last digit is that every node does the same.

A value is the sum of what was added in rounds, in the order of those rounds and not of arrival: what
comes late is put in its place, and the sum from there on is done again. So two nodes that have heard
the same hold the same value, whoever told them first.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable
from functools import lru_cache

ONE = 2**64
MICRO = 1_000_000
NEAR = 2**14
"""How far from the right factor a float's may be: a double has 53 bits of the 64."""


@lru_cache(maxsize=64)
def factors(half_life_rounds: int) -> tuple[int, ...]:
    """What is left of ONE after 0, 1, ... rounds of a half-life."""
    target = ONE**half_life_rounds // 2
    guess = int(ONE * 2 ** (-1 / half_life_rounds))  # a float's: makes the search short, and decides nothing
    low, high = max(ONE // 2, guess - NEAR), min(ONE, guess + NEAR)
    if not low**half_life_rounds <= target < high**half_life_rounds:
        low, high = ONE // 2, ONE
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**half_life_rounds <= target else (low, middle)
    found = [ONE]
    while len(found) < half_life_rounds:
        found.append(found[-1] * low >> 64)
    return tuple(found)


def faded(value: int, rounds: int, half_life_rounds: int) -> int:
    """What is left of a value after so many rounds, rounded down."""
    halvings, rest = divmod(max(0, rounds), half_life_rounds)
    return value * factors(half_life_rounds)[rest] >> (64 + halvings)


class Series:
    """One fading value and what it was made from, as far as that may still be added to.

    Args:
        add: what one piece of evidence adds, in millionths.
        most: what the value never exceeds.
        half_life_rounds: see above.
        kept_percent: what a cut leaves.
        cuts: open rounds of cuts that came before this series was begun.
        settled: value and round of what can't change any more, of an earlier life.
    """

    def __init__(
        self,
        add: int,
        most: int,
        half_life_rounds: int,
        kept_percent: int,
        cuts: Iterable[int] = (),
        settled: tuple[int, int] = (0, 0),
    ) -> None:
        self._add = add
        self._most = most
        self._half_life = half_life_rounds
        self._kept = kept_percent
        self.settled = settled
        """Value and round of what can't change any more."""
        self._open: list[tuple[int, bool]] = sorted((round_no, True) for round_no in cuts)
        """Round of each later piece of evidence; True for a cut, which comes last in its round."""
        self._newest = self._fold(self._open)
        """Value and round after all of it."""

    def add(self, round_no: int) -> None:
        self._insert((round_no, False))

    def cut(self, round_no: int) -> None:
        """Take away most of what was added up to this round."""
        self._insert((round_no, True))

    def at(self, round_no: int) -> int:
        """The value at the end of a round, in millionths."""
        value, since = self._newest
        if round_no < since:
            until = bisect_right(self._open, (round_no, True))
            value, since = self._fold(self._open[:until])
        return faded(value, round_no - since, self._half_life)

    def settle(self, before: int) -> None:
        """Nothing more will come for earlier rounds."""
        until = bisect_right(self._open, (before - 1, True))
        if until:
            self.settled = self._fold(self._open[:until])
            del self._open[:until]

    def _insert(self, event: tuple[int, bool]) -> None:
        if not self._open or event >= self._open[-1]:
            self._open.append(event)
            self._newest = self._step(self._newest, event)
        else:
            insort(self._open, event)
            self._newest = self._fold(self._open)

    def _fold(self, events: Iterable[tuple[int, bool]]) -> tuple[int, int]:
        state = self.settled
        for event in events:
            state = self._step(state, event)
        return state

    def _step(self, state: tuple[int, int], event: tuple[int, bool]) -> tuple[int, int]:
        value, since = state
        round_no, is_cut = event
        value = faded(value, round_no - since, self._half_life)
        return (value * self._kept // 100 if is_cut else min(self._most, value + self._add)), round_no
