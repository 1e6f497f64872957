"""What can be audited of recent rounds, and the verdicts on it; when a majority agrees, a case.

Verdicts may come before the round that they are about has closed here; those wait. What is older than
`ROUNDS_KEPT` rounds is forgotten: nobody holds the state any more from which it could be replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed
from training.chain import Certificate
from training.events import Adopt, Plan
from training.messages import MAX_MEMBERS, Commitment, Head, Result
from training.roster import quorum
from validation.cases import (
    SUBJECTS,
    Case,
    Target,
    equivocates,
    fits,
    found_nothing,
    is_exact,
    is_whole,
    majority_case,
)
from validation.kept import Change, Kept
from validation.lottery import opens
from validation.messages import UNSEALED, Opening, Outcome, Subject, Verdict

ROUNDS_KEPT = 8
"""Closed rounds that can still be judged. States to replay from are kept for fewer. A guess."""
MAX_WAITING = 4 * MAX_MEMBERS
"""Verdicts on rounds that have not closed here."""


SAID_FOR_EACH, SAID_BESIDES = 2, 16
"""Verdicts of one signer on others' verdicts on a round: two for each member, and a few. An honest one draws
a handful; where everything is doubted it judges all work, all parts, and as many verdicts on them. Without
this bound n members have room for n^3: a verdict by each, on each verdict, on the work of each. A guess."""


def most_said(members: int) -> int:
    """How many verdicts of one signer on others' verdicts are kept, on a round of so many members."""
    return SAID_FOR_EACH * members + SAID_BESIDES


def by_subject(verdict: Signed[Verdict]) -> tuple[bytes, bool, bytes]:
    """To sort by: who judges a verdict comes right after it, since a docket must know what that is about."""
    on_verdict = verdict.body.about == "audit"
    return verdict.body.target if on_verdict else verdict.id, on_verdict, verdict.id


class ContradictionError(Exception):
    """A judge has signed two records that no honest judge signs both of: these."""

    def __init__(self, one: Signed[Body], other: Signed[Body]) -> None:
        super().__init__(f"{one.signer} contradicts itself")
        self.pair = (one, other)


@dataclass
class Trial:
    """One record and the verdicts on it, one for each member."""

    certificate: Certificate
    target: Target
    chunks: range = range(0)
    """Indices of the update's chunks that it is about."""
    plan: Plan | None = None
    """Of a result: what it was made from."""
    verdicts: dict[str, Signed[Verdict]] = field(default_factory=dict)
    looks: dict[str, Signed[Verdict]] = field(default_factory=dict)
    """By those who then have judged all of it: what they said of some of it, whichever came first."""
    openings: dict[str, Signed[Opening]] = field(default_factory=dict)
    """What auditors have bound themselves to before they were shown anything."""
    shown: set[str] = field(default_factory=set)
    """Jurors that this node has opened a state of its run to: each is large, and one is enough."""

    @property
    def about(self) -> Subject:
        return SUBJECTS[self.target.body.KIND]

    def saying(self, outcome: Outcome) -> list[Signed[Verdict]]:
        return [verdict for _, verdict in sorted(self.verdicts.items()) if verdict.body.outcome == outcome]

    @property
    def is_disputed(self) -> bool:
        """Whether somebody calls it false."""
        return bool(self.saying("fail"))

    @property
    def is_doubted(self) -> bool:
        """Whether somebody does not find it sound."""
        return any(verdict.body.outcome != "pass" for verdict in self.verdicts.values())

    def cases(self) -> list[Case]:
        """All that the verdicts prove; empty without a majority, or while nobody doubts."""
        if not self.is_doubted:
            return []
        enough = quorum(self.certificate.head.electors)
        found: list[Case] = []
        in_vain = self._jury([verdict for verdict in self.saying("unsure") if found_nothing(verdict)])
        if len(in_vain) >= enough:
            shown = (self.certificate, self.target, in_vain[:enough])
            found.append(majority_case(*shown, "withholding"))
        false = self._jury(self.saying("fail"))
        if len(false) >= enough:
            found.append(majority_case(self.certificate, self.target, false[:enough]))
        exact_false = [verdict for verdict in self.saying("fail") if is_exact(verdict, self.target)]
        exact_sound = [
            verdict for verdict in self.saying("pass") if is_exact(verdict, self.target) and is_whole(verdict)
        ]
        against, in_favour = self._jury(exact_false), self._jury(exact_sound)
        if len(against) >= enough:
            shown = (self.certificate, self.target, against[:enough])
            found += [majority_case(*shown, "acquittal", verdict) for verdict in exact_sound]
        elif len(in_favour) >= enough:
            shown = (self.certificate, self.target, in_favour[:enough])
            found += [majority_case(*shown, "accusation", verdict) for verdict in exact_false]
        return found

    def _jury(self, verdicts: Sequence[Signed[Verdict]]) -> list[Signed[Verdict]]:
        """Verdicts of electors: those that make up a majority. Whoever has no vote may doubt, no more."""
        return [verdict for verdict in verdicts if verdict.signer in self.certificate.head.electors]


class Docket:
    """Trials of recent rounds, by the record that is audited."""

    def __init__(self) -> None:
        self._trials: dict[bytes, Trial] = {}
        self._rounds: dict[bytes, list[bytes]] = {}
        """Records of each closed round, by the head's id; the oldest first."""
        self._links: dict[tuple[bytes, str], bytes] = {}
        """Link of each member of those rounds."""
        self._kept: dict[bytes, Kept] = {}
        """Verdicts on each closed round, by the head's id."""
        self._changes: list[Change] = []
        self._waiting: dict[bytes, Signed[Verdict]] = {}

    def open(self, closed: Adopt, chunk_count: int) -> list[Trial]:
        """A round has closed: its work, and how it was reduced, may be judged.

        Args:
            closed: the round.
            chunk_count: of a whole update.
        """
        certificate, plan = closed.certificate, closed.plan
        trials = [Trial(certificate, work, range(chunk_count)) for work in closed.works]
        if plan is not None:
            ranges = plan.ranges_N
            trials += [Trial(certificate, done, ranges[done.body.part], plan) for done in closed.results]
        self._rounds[certificate.id] = []
        self._kept[certificate.id] = Kept(most_said(len(certificate.head.members)))
        for trial in trials:
            self._add(trial)
            if isinstance(trial.target.body, Commitment):
                self._links[certificate.id, trial.target.signer] = trial.target.body.link
        number = certificate.head.number - 1
        self._waiting = {id_: one for id_, one in self._waiting.items() if one.body.round >= number}
        while len(self._rounds) > ROUNDS_KEPT:
            self._forget(next(iter(self._rounds)))
        return trials

    def follow(self, head: Head) -> None:
        """The node stands on this head: rounds that its chain has closed otherwise are judged no more.

        Within one branch only one head of each number is ever certified; what lies before the founding of a
        branch is what its founder stood on.
        """
        for id_, targets in list(self._rounds.items()):
            closed = self._trials[targets[0]].certificate.head if targets else None
            if closed is not None and closed.branch != head.branch and closed.number > head.since:
                self._forget(id_)

    def open_audit(self, verdict: Signed[Verdict]) -> Trial:
        """Somebody's verdict on work may be judged itself."""
        known = self._trials.get(verdict.id)
        if known is None:
            known = Trial(self._trials[verdict.body.target].certificate, verdict)
            self._add(known)
        return known

    def add(self, verdict: Signed[Verdict]) -> Trial | None:
        """Take in a verdict. Judging goes by what a signer says first; what is kept is in `changes`.

        Returns:
            The trial it belongs to if it is new, None if it is known or has to wait.

        Raises:
            RemoteProtocolError: reason `bad-verdict`, or `flood`: its signer has said enough on that round.
            ContradictionError: its signer has said something else before.
        """
        body = verdict.body
        if body.base not in self._rounds:
            if len(self._waiting) < MAX_WAITING:
                self._waiting[verdict.id] = verdict
            return None
        trial = self._trials.get(body.target)
        if trial is None and body.about == "audit":
            audited = self._kept[body.base].find(body.target, body.worker)
            if audited is None or audited.body.about != "work":
                return None  # neighbours show both again, the one it is about before
            trial = self.open_audit(audited)
        fault = self._fault(verdict, trial)
        if trial is None or fault:
            raise RemoteProtocolError(verdict.signer, "bad-verdict", fault or "")
        self._keep(trial, verdict)
        self._hold_against(trial, verdict)
        said = trial.verdicts.get(verdict.signer)
        if said is not None and (is_whole(said) == is_whole(verdict) or verdict.signer in trial.looks):
            return None
        if said is None and verdict.id not in self._kept[body.base].verdicts:
            raise RemoteProtocolError(verdict.signer, "flood", f"more verdicts on round {body.round}")
        if said is not None:
            trial.looks[verdict.signer] = verdict if is_whole(said) else said
        if said is None or is_whole(verdict):
            trial.verdicts[verdict.signer] = verdict
        return trial

    def may_say_more(self, certificate: Certificate, signer: str) -> bool:
        """Whether one more verdict of a signer on a round is kept beside all others of its own."""
        kept = self._kept.get(certificate.id)
        return kept is None or kept.has_room(signer)

    def changes(self) -> list[Change]:
        """What is kept, and what is kept no more, since this was asked last."""
        changes, self._changes = self._changes, []
        return changes

    def kept(self, head: bytes) -> list[Signed[Verdict]]:
        """All verdicts on a round that are kept, in the order of their ids."""
        return [verdict for _, verdict in sorted(self._kept[head].verdicts.items())]

    def bind(self, opening: Signed[Opening]) -> Trial | None:
        """Take in what an auditor binds itself to.

        Returns:
            The trial it belongs to, None if that is not known here: the other may have been quicker.

        Raises:
            RemoteProtocolError: reason `bad-opening`.
            ContradictionError: its signer has said something else before.
        """
        body, trial = opening.body, self.heard(opening)
        if trial is None:
            return None
        if (body.replayed == UNSEALED) != isinstance(trial.target.body, Result):
            raise RemoteProtocolError(opening.signer, "bad-opening", "bound to nothing, or to too much")
        self._hold_against(trial, opening)
        trial.openings[opening.signer] = opening
        return trial

    def heard(self, opening: Signed[Opening]) -> Trial | None:
        """The trial that an opening is about, None if that is not known here.

        Raises:
            RemoteProtocolError: reason `bad-opening`: its signer has no place in that round.
        """
        body, trial = opening.body, self._trials.get(opening.body.target)
        if trial is None:
            return None
        if (trial.certificate.id, trial.target.body.round) != (body.base, body.round):
            raise RemoteProtocolError(opening.signer, "bad-opening", "names another round than the record's")
        if not self.proves_place(body.base, opening.signer, body.preimage):
            raise RemoteProtocolError(opening.signer, "bad-opening", "its preimage opens no link")
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

    def proves_place(self, head: bytes, peer: str, preimage: bytes) -> bool:
        """Whether a preimage opens the link that a member of a round has shown in it."""
        link = self._links.get((head, peer))
        return link is not None and opens(preimage, link)

    def trial(self, target: bytes) -> Trial | None:
        return self._trials.get(target)

    def place(self, head: bytes, peer: str) -> Signed[Commitment] | None:
        """A member's own commitment in a round that closed here."""
        found = (self._trials[id_].target for id_ in self._rounds.get(head, ()))
        return next((one for one in found if one.signer == peer and isinstance(one.body, Commitment)), None)

    def _add(self, trial: Trial) -> None:
        self._trials[trial.target.id] = trial
        self._rounds[trial.certificate.id].append(trial.target.id)

    def _keep(self, trial: Trial, verdict: Signed[Verdict]) -> None:
        kept = self._kept[verdict.body.base]
        if isinstance(trial.target.body, Verdict):
            change = kept.add_on(trial.target, verdict)
        else:
            change = kept.add(verdict)
        if change.taken or change.dropped:
            self._changes.append(change)

    def _hold_against(self, trial: Trial, record: Signed[Opening] | Signed[Verdict]) -> None:
        for said in (trial.verdicts.get(record.signer), trial.openings.get(record.signer)):
            if said is not None and equivocates(said, record):
                raise ContradictionError(said, record)

    def _fault(self, verdict: Signed[Verdict], trial: Trial | None) -> str | None:
        body = verdict.body
        if trial is None or not fits(body, trial.target, trial.certificate):
            return "names another worker or round than the record"
        if verdict.signer == body.worker:
            return "on its own work"
        if not self.proves_place(body.base, verdict.signer, body.preimage):
            return "its preimage does not open its own commitment of that round"
        if trial.about == "audit" and not is_exact(verdict, trial.target):
            return "on another device than the audit"
        if (body.replayed == UNSEALED) != isinstance(trial.target.body, Result):
            return "names a result that is no secret, or none"
        exact = is_exact(verdict, trial.target)
        if body.segment is not None and not (body.about == "work" and body.outcome == "fail" and exact):
            return "names a segment of what has none, or of what is sound, or from a distance"
        if body.outcome == "unsure" and exact:
            bad = not (found_nothing(verdict) and isinstance(trial.target.body, Result))
        else:
            bad = (body.distance is None) != exact
        return "compares bits where it has a distance, or the other way round" if bad else None

    def _forget(self, head: bytes) -> None:
        del self._kept[head]
        for target in self._rounds.pop(head):
            trial = self._trials.pop(target)
            self._links.pop((head, trial.target.signer), None)
