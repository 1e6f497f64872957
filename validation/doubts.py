"""Whose doubt has everybody look again.

An `unsure`, and a `fail` that rests on a distance, prove nothing, so nobody is ever out for one. But each has
all members of the round do the work again, and what costs its signer nothing would be said of everything. So
a doubt that a majority finds groundless takes from the trust in its signer's verdicts what one that was
found right adds to it (`evidence.of_refutation`). Who is trusted less than a newcomer there calls nobody any
more, and of what one member doubts in one round a few records are looked at.

A `fail` that rests on bits is no doubt: whoever is refuted then is out.
"""

from __future__ import annotations

from collections.abc import Callable

from dhtnode.records import Signed
from validation.cases import is_free
from validation.docket import ROUNDS_KEPT, Trial
from validation.messages import Verdict

MOST_HEEDED = 4
"""Records of one round that one member's doubt has everybody look at: that is enough to have a cheat out by,
and until the others have looked nothing is known of who doubts. A guess."""


class Doubts:
    """The records of recent rounds that all members have to look at.

    Args:
        is_trusted: whether nothing speaks against a member's verdicts, as far as this node knows.
    """

    def __init__(self, is_trusted: Callable[[str], bool]) -> None:
        self._is_trusted = is_trusted
        self._called: dict[bytes, dict[bytes, str]] = {}
        """By the round's head: record, and who has called everybody; the oldest round first."""

    def hear(self, verdict: Signed[Verdict], trial: Trial) -> bool:
        """Take in what is no `pass`.

        Returns:
            Whether it has any effect.
        """
        called = self._called.setdefault(trial.certificate.id, {})
        while len(self._called) > ROUNDS_KEPT:
            del self._called[next(iter(self._called))]
        if is_free(verdict):
            before = sum(caller == verdict.signer for caller in called.values())
            if before >= MOST_HEEDED or not self._is_trusted(verdict.signer):
                return False
        called.setdefault(trial.target.id, verdict.signer)
        return True

    def calls(self, trial: Trial) -> bool:
        """Whether all members have to look at a record."""
        return trial.target.id in self._called.get(trial.certificate.id, {})
