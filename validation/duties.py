"""Who was drawn and did not judge: nobody is punished for it, everybody can see it.

A member's ticket for a round can be drawn again by all once a later commitment of its shows the preimage,
or a link behind it in the chain. At the base rate of the manifest the answer is the same on every node, so
it is one and the same fact that a member was obliged. Whether it kept its word is counted when the round is
forgotten: there are honest reasons not to (a crash, a state that is gone, too much to do), so this is no
proof of anything. Who shows a link that is not of its chain hides its ticket: that counts like an audit that
was not done, once for each round that is hidden, or the way not to be seen would be to make up links.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dhtnode.records import Signed
from training.messages import Commitment
from validation.cases import is_able
from validation.docket import Trial
from validation.lottery import is_one_epoch, obliged, opens, preimage_from
from validation.rates import Rates

ROUNDS_KEPT = 8
"""As long as the docket keeps a round; see there."""


@dataclass
class _Round:
    """A closed round whose tickets can be drawn again."""

    before: bytes
    """Id of the head it began with."""
    trials: tuple[Trial, ...]
    commitments: dict[str, Signed[Commitment]]
    owed: list[tuple[str, Trial]] = field(default_factory=list)
    """Who had to judge what."""
    drawn: set[str] = field(default_factory=set)
    """Whose tickets are known, or hidden."""


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
        """A round has closed: its commitments show the preimages of the rounds before.

        Args:
            head: id of the head it ended with.
            before: id of the head it began with.
            trials: what of it can be judged.
        """
        commitments = {
            trial.target.signer: trial.target for trial in trials if isinstance(trial.target.body, Commitment)
        }
        self._rounds[head] = _Round(before, tuple(trials), commitments)
        while (earlier := self._rounds.get(before)) is not None:
            for commitment in commitments.values():
                self._draw_again(before, earlier, commitment)
            before = earlier.before
        while len(self._rounds) > ROUNDS_KEPT:
            self._settle(self._rounds.pop(next(iter(self._rounds))))

    def _draw_again(self, head: bytes, earlier: _Round, later: Signed[Commitment]) -> None:
        auditor = later.signer
        own = earlier.commitments.get(auditor)
        if own is None or auditor in earlier.drawn or not is_one_epoch(own.body.round, later.body.round):
            return
        earlier.drawn.add(auditor)
        preimage = preimage_from(later.body.link, later.body.round, own.body.round)
        if not opens(preimage, own.body.link):
            self.skipped[auditor] += 1
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
