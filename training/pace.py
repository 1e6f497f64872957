"""How long each phase of a round takes in this swarm, as this node has seen it."""

from __future__ import annotations

from collections.abc import Iterable

from dhtnode.manifest import RoundSection
from training.deadlines import LearnedDeadline, lower_median

NETWORK_SHARE = 0.1
"""Share of the first deadline allowed to a network phase before anything is known. A guess."""
TRAIN_SHARE = 0.8
"""Share of the commitment deadline that own training may use: the rest is for encoding, sending
and clocks that start apart."""
LATE, IN_TIME, MAX_HURRY = 2.0, 0.7, 16.0
"""A round that closed without our work halves the next one's training; one that has it in lets that
grow again. Three misses in a row are down to an eighth, so a busy machine is soon in. Guesses."""
STALL_ROUNDS = 3
"""A quorum is not missed before this many commitment deadlines, however short the stall time."""


class Pace:
    """One learned deadline for each phase.

    train   from a head's adoption until half of the members had committed
    roster  from the last commitment until the roster is certified
    reduce  from the certified roster until all results are here
    close   from the results until the close is certified
    """

    def __init__(self, settings: RoundSection) -> None:
        first_s, floor_s = settings.first_deadline_s, settings.min_deadline_s
        self._stall_s = settings.stall_s
        self._hurry = 1.0
        self.train = LearnedDeadline(first_s, settings.slack, floor_s)
        self.roster = LearnedDeadline(first_s * NETWORK_SHARE, settings.slack, floor_s)
        self.reduce = LearnedDeadline(first_s * NETWORK_SHARE, settings.slack, floor_s)
        self.close = LearnedDeadline(first_s * NETWORK_SHARE, settings.slack, floor_s)

    def settle(self, settings: RoundSection) -> None:
        """From this round on, these hold. What was learned stays."""
        self._stall_s = settings.stall_s
        for deadline in (self.train, self.roster, self.reduce, self.close):
            deadline.settle(settings.slack, settings.min_deadline_s)

    def learn_train(self, delays_s: Iterable[float]) -> None:
        """How long after the round's start each commitment came."""
        self.train.learn(lower_median(delays_s))

    def noted(self, included: bool) -> None:
        """Whether our work was in time for a round's roster.

        The others' deadline began before ours, by as much as this machine lags behind: that can't be
        measured from here, but being left out shows it.
        """
        self._hurry = min(MAX_HURRY, max(1.0, self._hurry * (IN_TIME if included else LATE)))

    def steps(self, usual: int) -> int:
        """Inner steps to do, out of those of a full-speed node in good time.

        Fewer after a miss: who lags so far behind that all others had committed when it began has
        learned of no deadline, and no time limit would ever bring it in.
        """
        return max(1, int(usual / self._hurry))

    @property
    def budget_s(self) -> float | None:
        """Time for own training; None while nothing is known."""
        return self.train.limit_s * TRAIN_SHARE / self._hurry if self.train.learned else None

    @property
    def stall_s(self) -> float:
        return max(self._stall_s, STALL_ROUNDS * self.train.limit_s)

    def limits(self) -> dict[str, float]:
        """For `status`: the deadlines in force, in seconds."""
        phases = {"train": self.train, "roster": self.roster, "reduce": self.reduce, "close": self.close}
        return {name: deadline.limit_s for name, deadline in phases.items()}
