"""The work of recent rounds and what members have found in it; when a majority agrees, a case.

Verdicts may come before the round that they are about has closed here; those wait. What is older than
`ROUNDS_KEPT` rounds is forgotten: nobody holds the state any more from which it could be replayed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Signed
from training.chain import Certificate
from training.messages import MAX_MEMBERS, Commitment
from training.roster import quorum
from validation.cases import Case, work_case
from validation.lottery import opens
from validation.messages import Outcome, Verdict

ROUNDS_KEPT = 8
"""Closed rounds that can still be judged. States to replay from are kept for fewer. A guess."""
MAX_WAITING = 4 * MAX_MEMBERS
"""Verdicts on rounds that have not closed here."""


@dataclass
class Trial:
    """One commitment and the verdicts on it, one for each member."""

    certificate: Certificate
    commitment: Signed[Commitment]
    verdicts: dict[str, Signed[Verdict]] = field(default_factory=dict)

    def saying(self, outcome: Outcome) -> list[Signed[Verdict]]:
        return [verdict for _, verdict in sorted(self.verdicts.items()) if verdict.body.outcome == outcome]

    @property
    def is_disputed(self) -> bool:
        return bool(self.saying("fail"))

    def cases(self) -> list[Case]:
        """All that the verdicts prove; empty without a majority, or while nobody has said `fail`."""
        enough = quorum(self.certificate.head.members)
        false, sound = self.saying("fail"), self.saying("pass")
        if len(false) >= enough:
            shown = (self.certificate, self.commitment, false[:enough])
            return [work_case(*shown), *(work_case(*shown, "acquittal", verdict) for verdict in sound)]
        if len(sound) >= enough:
            shown = (self.certificate, self.commitment, sound[:enough])
            return [work_case(*shown, "accusation", verdict) for verdict in false]
        return []


class Docket:
    """Trials of recent rounds, by commitment."""

    def __init__(self) -> None:
        self._trials: dict[bytes, Trial] = {}
        self._rounds: dict[bytes, list[bytes]] = {}
        """Commitments of each closed round, by the head's id; the oldest first."""
        self._links: dict[tuple[bytes, str], bytes] = {}
        """Link of each member of those rounds."""
        self._waiting: dict[bytes, Signed[Verdict]] = {}

    def open(self, certificate: Certificate, accepted: Iterable[Signed[Commitment]]) -> list[Trial]:
        """A round has closed: its work may be judged."""
        trials = [Trial(certificate, commitment) for commitment in accepted]
        self._rounds[certificate.id] = [trial.commitment.id for trial in trials]
        for trial in trials:
            self._trials[trial.commitment.id] = trial
            self._links[certificate.id, trial.commitment.signer] = trial.commitment.body.link
        number = certificate.head.number - 1
        self._waiting = {id_: one for id_, one in self._waiting.items() if one.body.round >= number}
        while len(self._rounds) > ROUNDS_KEPT:
            self._forget(next(iter(self._rounds)))
        return trials

    def add(self, verdict: Signed[Verdict]) -> Trial | None:
        """Take in a verdict.

        Returns:
            The trial it belongs to if it is new, None if it is known or has to wait.

        Raises:
            RemoteProtocolError: reason `bad-verdict` or `equivocation`.
        """
        if verdict.body.base not in self._rounds:
            if len(self._waiting) < MAX_WAITING:
                self._waiting[verdict.id] = verdict
            return None
        trial = self._trials.get(verdict.body.target)
        fault = self._fault(verdict, trial)
        if trial is None or fault:
            raise RemoteProtocolError(verdict.signer, "bad-verdict", fault or "")
        known = trial.verdicts.get(verdict.signer)
        if known is not None:
            if known.body.outcome != verdict.body.outcome:
                raise RemoteProtocolError(verdict.signer, "equivocation", "two verdicts on one commitment")
            return None
        trial.verdicts[verdict.signer] = verdict
        return trial

    def take_waiting(self, certificate: Certificate) -> list[Signed[Verdict]]:
        """Verdicts on a round that came before it closed here."""
        taken = [verdict for verdict in self._waiting.values() if verdict.body.base == certificate.id]
        for verdict in taken:
            del self._waiting[verdict.id]
        return taken

    def knows(self, head: bytes) -> bool:
        """Whether a round was closed here, lately."""
        return head in self._rounds

    def may_judge(self, head: bytes, peer: str) -> bool:
        """Whether a peer's own work of that round was taken in: only such members are heard."""
        return (head, peer) in self._links

    def trial(self, target: bytes) -> Trial | None:
        return self._trials.get(target)

    def verdicts(self) -> list[Signed[Verdict]]:
        """All that are held, for neighbours that lack them."""
        return [verdict for trial in self._trials.values() for verdict in trial.verdicts.values()]

    def _fault(self, verdict: Signed[Verdict], trial: Trial | None) -> str | None:
        body = verdict.body
        link = self._links.get((body.base, verdict.signer))
        if trial is None or trial.certificate.id != body.base or trial.commitment.signer != body.worker:
            return "names another worker or round than the commitment"
        if verdict.signer == body.worker:
            return "on its own work"
        if link is None or not opens(body.preimage, link):
            return "its preimage does not open its own commitment of that round"
        if body.round != trial.commitment.body.round or body.device != trial.commitment.body.device:
            return "another round or device than the commitment"
        return None

    def _forget(self, head: bytes) -> None:
        for target in self._rounds.pop(head):
            trial = self._trials.pop(target)
            self._links.pop((head, trial.commitment.signer), None)
