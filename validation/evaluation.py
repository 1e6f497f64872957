"""Whether the swarm gets better, by what many members see on data that they keep from training.

After each round every member judges the shared state by its own held-out data and says what it saw. One
member's word is worth nothing, but the middle of all members' changes lies between honest members' changes
as long as more than half of them are honest. If the loss keeps rising, something is wrong with the work that
goes in, or with the learning rate: whose work it is does not follow from it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec

from dhtnode.records import Body, Count, Digest, Signed
from training.messages import Head

MICRO = 1_000_000
MOST_MICRO = 2**53
LEAST = 3
"""Members of whom one may lie without deciding what the middle is."""
KEPT = 4
"""Evaluations of each member: of the two heads that are compared, and of those that came early."""
WINDOW = 16
"""Rounds over which the usual change is taken. A guess."""
IN_A_ROW = 5
NOISE = 3
"""The loss has to stand this many usual changes above the lowest that was reached, for so many rounds. Honest
swarms of digits came to 1.4 in 40 runs of 40 rounds; the bound is a guess about twice as far out."""


class Evaluation(Body, frozen=True, kw_only=True):
    """A member's word on how good a head's state is."""

    KIND: ClassVar[str] = "evaluation"
    MAX_BYTES: ClassVar[int] = 512
    round: Count
    """The head's number."""
    base: Digest
    """Id of the head."""
    loss_micro: Annotated[int, msgspec.Meta(ge=0, le=MOST_MICRO)]
    """Mean loss on held-out data, in millionths."""
    examples: Count
    """How many held-out examples it rests on; 0 if the task does not say."""
    public: bool
    """Whether these are examples that everybody has."""


def evaluation_of(head: Head, loss: float, examples: int, public: bool) -> Evaluation:
    """What to sign after a head's state has been judged; a loss that is no number is as bad as can be."""
    micro = round(min(loss * MICRO, float(MOST_MICRO))) if math.isfinite(loss) else MOST_MICRO
    return Evaluation(
        round=head.number, base=head.id, loss_micro=max(0, micro), examples=examples, public=public
    )


@dataclass(frozen=True)
class Change:
    """What a round did to the held-out loss."""

    round: int
    """The round that was judged."""
    micro: int
    """Lower median over the members, in millionths; below zero is better."""
    members: int
    """How many have judged the states before and after it."""


class Outlook:
    """Follows the held-out loss from head to head."""

    def __init__(self) -> None:
        self.changes: deque[Change] = deque(maxlen=WINDOW + IN_A_ROW)
        self._said: dict[str, dict[bytes, Evaluation]] = {}
        self._heads: deque[bytes] = deque(maxlen=2)
        self._heard: frozenset[str] = frozenset()
        """Electors: names are free, and a crowd of them must not be the middle."""

    def add(self, record: Signed[Evaluation]) -> None:
        """Take in an elector's word; others are not heard, nor is a second word on the same head."""
        if record.signer not in self._heard:
            return
        said = self._said.setdefault(record.signer, {})
        said.setdefault(record.body.base, record.body)
        while len(said) > KEPT:
            del said[next(iter(said))]

    def adopt(self, head: Head) -> Change | None:
        """A round is over: by now the members have judged the states before and after the one before it.

        Returns:
            What that earlier round did, if enough members have said.
        """
        change = None
        if self._heads and self._heads[-1] != head.parent:
            self._heads.clear()  # caught up over several rounds
        elif len(self._heads) == 2:
            before, after = (
                {peer: said[base] for peer, said in self._said.items() if base in said}
                for base in self._heads
            )
            found = changed(before, after)
            if found is not None:
                change = Change(head.number - 2, *found)
                self.changes.append(change)
        self._heads.append(head.id)
        self._heard = frozenset(head.electors)
        self._said = {peer: said for peer, said in self._said.items() if peer in self._heard}
        return change

    @property
    def is_rising(self) -> bool:
        """Whether the loss stands well above what was reached before, and has for rounds."""
        return rises([change.micro for change in self.changes])


def changed(before: Mapping[str, Evaluation], after: Mapping[str, Evaluation]) -> tuple[int, int] | None:
    """Lower median of the members' changes in millionths, and how many members it rests on.

    A member counts if it has judged both states by equally many examples of the same kind. None if fewer
    than LEAST do.
    """
    changes = sorted(
        after[peer].loss_micro - word.loss_micro
        for peer, word in before.items()
        if peer in after and (word.examples, word.public) == (after[peer].examples, after[peer].public)
    )
    if len(changes) < LEAST:
        return None
    return changes[(len(changes) - 1) // 2], len(changes)


def rises(changes: Sequence[int]) -> bool:
    """Whether the last IN_A_ROW levels all lie more than NOISE usual changes above the lowest before them."""
    if len(changes) <= IN_A_ROW:
        return False
    levels = [0]
    for change in changes:
        levels.append(levels[-1] + change)
    usual = sorted(abs(change) for change in changes)[(len(changes) - 1) // 2]
    lowest = min(levels[:-IN_A_ROW])
    return min(levels[-IN_A_ROW:]) > lowest + NOISE * usual
