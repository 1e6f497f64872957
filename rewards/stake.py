"""A member's credits: what it owns for good, what is still at stake, and what it has lost.

A credit vests as a whole, `vesting_rounds` after the round in which it was earned; until then it is the
stake. Who is proven guilty of something in round r loses all that had not vested in round r, and earns
nothing in that round and the `vesting_rounds` after it: the time in which what it earned before the
fault was found would have been its stake. The fault's own round counts and not the day it was found,
which no two nodes agree on. A stake can be burned once: it is gone then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Stake:
    """The credits of one member, in micro-credits. Rounds never go back.

    Args:
        vesting_rounds: the manifest's.
        vested: owned for good.
        burned: taken away by cases, against its owner or against whom it answered for.
        forfeited: not credited, because it was earned soon after a fault.
        outlaw_until: rounds below this one earn nothing.
        open_: (round, amount) of what has not vested, by round.
    """

    __slots__ = ("_open", "burned", "forfeited", "outlaw_until", "vested", "vesting_rounds")

    def __init__(
        self,
        vesting_rounds: int,
        vested: int = 0,
        burned: int = 0,
        forfeited: int = 0,
        outlaw_until: int = 0,
        open_: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.vesting_rounds = vesting_rounds
        self.vested = vested
        self.burned = burned
        self.forfeited = forfeited
        self.outlaw_until = outlaw_until
        self._open = deque([round_no, amount] for round_no, amount in open_)

    def earn(self, round_no: int, amount: int) -> int:
        """Credit what was earned in a round. Returns what was credited: nothing to an outlaw."""
        if round_no < self.outlaw_until:
            self.forfeited += amount
            return 0
        if self._open and self._open[-1][0] == round_no:
            self._open[-1][1] += amount
        elif amount:
            self.mature(round_no)
            self._open.append([round_no, amount])
        return amount

    def mature(self, round_no: int) -> None:
        """Let everything vest that is due at a round."""
        due = round_no - self.vesting_rounds
        while self._open and self._open[0][0] <= due:
            self.vested += self._open.popleft()[1]

    def at(self, round_no: int) -> tuple[int, int]:
        """(vested, at stake) as of a round that is not before the last one: nothing changes by looking."""
        due = round_no - self.vesting_rounds
        matured = sum(amount for earned, amount in self._open if earned <= due)
        return self.vested + matured, self.at_stake - matured

    def burn(self, round_no: int) -> int:
        """Take the stake for a fault in a round. Returns what was burned."""
        self.mature(round_no)
        burned = self.at_stake
        self.burned += burned
        self._open.clear()
        self.outlaw_until = max(self.outlaw_until, round_no + self.vesting_rounds)
        return burned

    def take(self, round_no: int, amount: int) -> int:
        """Take at most so much of the stake in a round, what would vest first. Returns what was burned."""
        self.mature(round_no)
        left = amount
        while left and self._open:
            taken = min(left, self._open[0][1])
            left -= taken
            self._open[0][1] -= taken
            if not self._open[0][1]:
                self._open.popleft()
        self.burned += amount - left
        return amount - left

    @property
    def at_stake(self) -> int:
        """What had not vested when something changed last."""
        return sum(amount for _, amount in self._open)

    @property
    def open(self) -> tuple[tuple[int, int], ...]:
        """(round, amount) of what has not vested, by round."""
        return tuple((round_no, amount) for round_no, amount in self._open)
