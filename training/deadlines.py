"""Deadlines learned from what recent rounds took, never fixed guesses.

A fixed time-out is wrong twice: too short on a slow link, too long after a death. Here each phase
remembers how long it took lately and allows a multiple of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

WINDOW = 32
"""Rounds remembered: long enough to be calm, short enough to follow a changed network. A guess."""
QUANTILE = 0.9
"""High, so that an ordinary slow round is no time-out."""
MAX_SPREAD = 4
"""The quantile counts up to this multiple of the median: one round that a partition held up for a
minute must not set the deadline while samples are few. A guess."""
MAX_BACKOFF = 8
"""Largest factor after rounds in which the deadline passed."""


class LearnedDeadline:
    """How long a phase may take: a high quantile of recent durations times a slack.

    Only phases that ended by themselves teach: one that waited for the dead took as long as the
    deadline allowed, and learning from it would double the deadline with every death. A deadline
    that passes doubles the next one instead, until a phase ends by itself again.

    Args:
        first_s: used until something was learned.
        slack: allowed multiple of the quantile.
        floor_s: never less than this.
    """

    def __init__(self, first_s: float, slack: float, floor_s: float) -> None:
        self._first_s = first_s
        self._slack = slack
        self._floor_s = floor_s
        self._samples_s: deque[float] = deque(maxlen=WINDOW)
        self._backoff = 1

    def settle(self, slack: float, floor_s: float) -> None:
        """Other bounds hold from now on."""
        self._slack, self._floor_s = slack, floor_s

    def learn(self, duration_s: float) -> None:
        """The phase ended by itself after this time."""
        self._samples_s.append(max(0.0, duration_s))
        self._backoff = 1

    def missed(self) -> None:
        """The deadline passed: perhaps somebody died, perhaps the network became slower."""
        self._backoff = min(2 * self._backoff, MAX_BACKOFF)

    @property
    def limit_s(self) -> float:
        if not self._samples_s:
            return self._first_s
        ordered = sorted(self._samples_s)
        high_s = ordered[min(len(ordered) - 1, int(QUANTILE * len(ordered)))]
        usual_s = min(high_s, MAX_SPREAD * ordered[len(ordered) // 2])
        return self._backoff * max(self._floor_s, self._slack * usual_s)

    @property
    def learned(self) -> bool:
        return bool(self._samples_s)


def lower_median(durations_s: Iterable[float]) -> float:
    """The middle duration, the faster of two middles.

    A round's training time is this over its members: a high quantile would be the slowest
    member's time, the deadline would follow it, and everybody would wait for one slow machine
    that is meant to do fewer steps instead.
    """
    ordered = sorted(durations_s)
    return ordered[(len(ordered) - 1) // 2]
