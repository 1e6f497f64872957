"""When a member goes on without the others: whom it has heard of, and whose turn it is.

A quorum is gone when, for the stall time, too few of the electors have been heard of. Then those
that are left go on as a branch of one, best placed first, the next one a training time later: by
then the first has usually closed a round, and the others follow it instead.

A quorum that is heard of but gets nowhere, for several stall times after all the work was there, is
no better than none: what it had agreed on may be lost with those who are gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from training.messages import Head
from training.pace import Pace
from training.pool import MAX_SIGNERS
from training.roster import ordered, quorum

DEADLOCK_STALLS = 5
"""Stall times that a living quorum may take over an agreement. A guess; in simulated storms it takes
less than one."""


class Stall:
    """One member's view of who is alive.

    Args:
        me: own peer id.
        now_s: the caller's clock.
    """

    def __init__(self, me: str, now_s: float) -> None:
        self._me = me
        self._since_s = now_s
        self._ripe_s: float | None = None
        self._heard_s: dict[str, float] = {}

    def begin(self, now_s: float) -> None:
        """A head was adopted: the swarm lives."""
        self._since_s = now_s
        self._ripe_s = None

    def hear(self, peer: str, now_s: float) -> None:
        """A peer is alive."""
        if peer in self._heard_s or len(self._heard_s) < MAX_SIGNERS:
            self._heard_s[peer] = now_s

    def forget(self, now_s: float, pace: Pace) -> None:
        """Drop those that were not heard of for the stall time."""
        self._heard_s = {peer: at_s for peer, at_s in self._heard_s.items() if now_s - at_s < pace.stall_s}

    def alive(self, peers: Iterable[str], now_s: float, pace: Pace) -> set[str]:
        """Those of some peers, and ourselves, that were heard of lately."""
        after_s = now_s - pace.stall_s
        return {peer for peer in peers if peer == self._me or self._heard_s.get(peer, after_s) > after_s}

    def heard(self, now_s: float, pace: Pace) -> set[str]:
        """All that were heard of lately, and we."""
        return self.alive({*self._heard_s, self._me}, now_s, pace)

    def is_long(self, now_s: float, pace: Pace) -> bool:
        """Whether no head was adopted for the stall time."""
        return now_s - self._since_s >= pace.stall_s

    def has_quorum(self, electors: tuple[str, ...], now_s: float, pace: Pace) -> bool:
        """Whether enough of the electors are alive to decide anything."""
        return len(self.alive(electors, now_s, pace)) >= quorum(electors)

    def is_over(
        self,
        head: Head,
        electors: tuple[str, ...],
        others: Iterable[str],
        ripe: bool,
        now_s: float,
        pace: Pace,
    ) -> bool:
        """Whether it is our turn to go on alone.

        Args:
            head: what all wait on.
            electors: whose votes are needed.
            others: who else would go on, after them.
            ripe: whether the work of a majority is here, so that only an agreement is missing.
            now_s: the caller's clock.
            pace: learned deadlines.
        """
        if ripe and self._ripe_s is None:
            self._ripe_s = now_s
        waited_s = now_s - self._since_s - pace.stall_s
        if self.has_quorum(electors, now_s, pace):
            if self._ripe_s is None:
                return False
            waited_s = now_s - self._ripe_s - DEADLOCK_STALLS * pace.stall_s
        if waited_s < 0:
            return False
        queue = [
            *ordered(self.alive(electors, now_s, pace), head.state, head.number, "leader"),
            *ordered(self.alive(set(others) - set(electors), now_s, pace), head.state, head.number, "leader"),
        ]
        return self._me in queue and waited_s >= queue.index(self._me) * pace.train.limit_s
