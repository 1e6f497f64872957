"""Who was drawn and did not judge: nobody is punished for it, everybody can see it.

A member's ticket for a round can be drawn again by all once its next commitment shows the preimage. At
the base rate of the manifest the answer is the same on every node, so it is one and the same fact that a
member was obliged. Whether it kept its word is counted when the round is forgotten: there are honest
reasons not to (a crash, a state that is gone, too much to do), so this is no proof of anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dhtnode.records import Signed
from training.messages import Commitment
from validation.cases import is_able
from validation.docket import Trial
from validation.lottery import obliged, opens
from validation.rates import Rates

ROUNDS_KEPT = 8
"""As long as the docket keeps a round; see there."""


@dataclass
class _Round:
    """A closed round whose tickets can be drawn again."""

    trials: tuple[Trial, ...]
    commitments: dict[str, Signed[Commitment]]
    owed: list[tuple[str, Trial]] = field(default_factory=list)
    """Who had to judge what."""


class Duties:
    """Counts drawn audits that were done, and that were not.

    Args:
        rates: for the base rate.
    """

    def __init__(self, rates: Rates) -> None:
        self.kept: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self._rates = rates
        self._rounds: dict[bytes, _Round] = {}
        """By the head that the round ended with; the oldest first."""

    def closed(self, head: bytes, before: bytes, trials: Sequence[Trial]) -> None:
        """A round has closed: its commitments show the preimages of the round before.

        Args:
            head: id of the head it ended with.
            before: id of the head it began with.
            trials: what of it can be judged.
        """
        commitments = {
            trial.target.signer: trial.target for trial in trials if isinstance(trial.target.body, Commitment)
        }
        self._rounds[head] = _Round(tuple(trials), commitments)
        earlier = self._rounds.get(before)
        if earlier is not None:
            for commitment in self._rounds[head].commitments.values():
                self._draw_again(before, earlier, commitment)
        while len(self._rounds) > ROUNDS_KEPT:
            self._settle(self._rounds.pop(next(iter(self._rounds))))

    def _draw_again(self, head: bytes, earlier: _Round, later: Signed[Commitment]) -> None:
        auditor, preimage = later.signer, later.body.link
        own = earlier.commitments.get(auditor)
        if own is None or not opens(preimage, own.body.link):
            return
        for trial in earlier.trials:
            if trial.target.signer == auditor or not is_able(own.body.device, trial.target):
                continue
            rate = self._rates.least(trial.about) / max(1, len(earlier.commitments) - 1)
            if obliged(preimage, head, trial.target.id, rate):
                earlier.owed.append((auditor, trial))

    def _settle(self, round_: _Round) -> None:
        for auditor, trial in round_.owed:
            (self.kept if auditor in trial.verdicts else self.skipped)[auditor] += 1
