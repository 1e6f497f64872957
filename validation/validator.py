"""A member that also judges: the core of a node, around the core that trains.

Every round that closes is a draw (`lottery`): who has drawn a member's work replays it from the shared
state, who has drawn a reduced part reduces some of it again, who has drawn another's verdict replays
what that was about. Each says what it found. If somebody doubts, all members of that round judge: a
majority decides, and who said the opposite of it is out, be it the worker, the reducer, the accuser,
who acquitted, or who judged without looking. A key that contradicts itself is out for good; a majority's case
counts in each node's table of trust, and that bans (`reputation`). Who is banned is left out of rosters.

Events in, effects out, as in `training.member`; those that are not about judging go through to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import cast

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed
from training.chain import Certificate
from training.events import Adopt, Blame, Effect, Publish, RecordArrived
from training.member import Member
from training.messages import Commitment, Ready
from training.roster import quorum
from validation.auditor import Auditor, Tolerance
from validation.cases import Case, equivocates, equivocation_case
from validation.dispute import is_named
from validation.docket import ContradictionError, Docket
from validation.doubts import Doubts
from validation.duties import Duties
from validation.entry import Entry, Gate, entry_name
from validation.events import (
    Admit,
    CaseShown,
    Compared,
    Convict,
    Declare,
    Displaced,
    Judged,
    NodeEffect,
    NodeEvent,
    Replayed,
    Rereduced,
    SealsShown,
    SegmentReplayed,
    Show,
    Vouched,
)
from validation.holdings import Holdings, case_name
from validation.lottery import Chain
from validation.messages import Opening, Verdict
from validation.rates import Rates
from validation.showing import Refusal, Shown, open_proof, proof, shows, shows_stranger
from validation.voucher import Backing, NoBacking, Voucher, Vouchers
from validation.witness import Witness

MAX_CASES = 512
"""Beyond it nobody is convicted any more: new keys have to become costly first."""


NOBODY_ANSWERS = NoBacking()


def _unknown(_: str) -> int | None:
    """Other device profiles are not judged."""
    return None


class Validator:
    """The synchronous core of a node.

    Args:
        member: what trains; its context's `excluded` is filled here.
        witness: feeds this node's table of trust; the context's `regard` may rest on that.
        gate: who has paid for its entry; the same holds for it.
        chain: this node's own, for the lottery.
        tolerance: how far apart honest work on two device profiles may be.
        backing: what chain and ledger say of who answers for a newcomer.
    """

    def __init__(
        self,
        member: Member,
        witness: Witness,
        gate: Gate,
        chain: Chain,
        tolerance: Tolerance = _unknown,
        backing: Backing = NOBODY_ANSWERS,
    ) -> None:
        self.member = member
        self.cases: dict[str, Case] = {}
        """The last one against each key that was ever out."""
        self._held: dict[bytes, Case] = {}
        """All, by what they go by among neighbours."""
        self.docket = Docket()
        terms = member.context.terms
        self.holdings = Holdings(terms.reputation.open_rounds)
        """What has been taken in, as neighbours compare it."""
        self.rates = Rates(terms.audit, member.context.identity.peer_id)
        self.duties = Duties(self.rates)
        self.witness = witness
        self.doubts = Doubts(witness.judges_well)
        self.gate = gate
        self.vouchers = Vouchers(gate, terms.reputation, backing, member.context.is_out)
        self.entry: Signed[Entry] | None = None
        """What this node itself shows while it is new; None if nothing is asked for, or not found yet."""
        self._auditor = Auditor(member.context, self.docket, self.rates, chain, tolerance)

    def out(self) -> dict[str, Case]:
        """Whose work this node takes in no more, for good or while a ban lasts, and for what."""
        return {peer: case for peer, case in self.cases.items() if self.member.context.is_out(peer)}

    def admit(self, entry: Signed[Entry]) -> str | None:
        """Let a newcomer in that has paid. Returns what is wrong with its proof of work, or None."""
        fault = self.gate.find_fault(entry)
        if fault is None:
            gone = self.gate.let_in(entry.signer, entry)
            if gone is not None:
                self.holdings.drop(entry_name(gone))
            self.holdings.add(entry_name(entry.signer), None)
        return fault

    def _audits(self, round_no: int) -> bool:
        """Whether the work of a closed round is audited: private data can't be replayed by anybody else."""
        terms = self.member.context.in_force.at(round_no)
        return terms.data.mode == "shared" and terms.audit.rate > 0

    def _may_be_audited(self, round_no: int) -> bool:
        """The same of any round: others may have closed one already of which this node can't tell."""
        head = self.member.certificate.head if self.member.certificate else None
        if head is None or round_no >= head.number:
            return self.member.context.terms.data.mode == "shared"
        return self._audits(round_no)

    def remember(self, cases: Iterable[Case]) -> None:
        """Take back what was proven before a restart."""
        for case in cases:
            self._exclude(case)

    def resume(self, certificate: Certificate, own: Iterable[Signed[Body]], now_s: float) -> list[NodeEffect]:
        """As `Member.resume`."""
        self.witness.stood(certificate)
        self._begin(certificate)
        effects = self.member.resume(certificate, own, now_s)
        self._settle(certificate)
        return self._seen(effects)

    def _begin(self, certificate: Certificate) -> None:
        """What is held is what counts in the round that begins."""
        self.holdings.begin(certificate.head.number)
        self.vouchers.begin(certificate.head.number, self.holdings.since)

    def _settle(self, certificate: Certificate) -> None:
        """Judge by the terms in force, and how often by those of the round that has closed."""
        context = self.member.context
        closed = context.in_force.at(max(0, certificate.head.number - 1))
        self.rates.settle(closed.audit)
        self.witness.table.settle(context.terms.reputation)

    def on(self, event: NodeEvent, now_s: float) -> list[NodeEffect]:
        """Take in one event; a peer's fault comes back as `Blame`, never as an exception."""
        match event:
            case Replayed():
                return self._said(self._auditor.on_replayed(event))
            case SealsShown():
                return self._said(self._auditor.on_seals(event))
            case SegmentReplayed():
                return self._said(self._auditor.on_segment(event))
            case Compared():
                return self._said(self._auditor.on_compared(event))
            case Rereduced():
                return self._said(self._auditor.on_rereduced(event))
            case CaseShown(case):
                return self._on_case(case)
            case RecordArrived(record, _) if isinstance(record.body, Verdict):
                return self._on_verdict(cast("Signed[Verdict]", record))
            case RecordArrived(record, _) if isinstance(record.body, Entry):
                return self._on_entry(cast("Signed[Entry]", record))
            case RecordArrived(record, _) if isinstance(record.body, Voucher):
                return self._on_voucher(cast("Signed[Voucher]", record))
        return self._seen(self.member.on(event, now_s))

    # Exchange with a neighbour: rounds as `Member` does it, and the name of what is held beside them

    def sync_request(self) -> bytes:
        return self.member.sync_request()

    def on_sync_request(self, wire: bytes, sender: str, now_s: float) -> tuple[bytes, list[NodeEffect]]:
        """As `Member.on_sync_request`.

        Raises:
            RemoteProtocolError: the request is malformed.
        """
        reply, effects = self.member.on_sync_request(wire, sender, now_s, self.holdings.held)
        return reply, self._seen(effects)

    def on_question(self, wire: bytes, sender: str, wire_of: Callable[[bytes], bytes | None]) -> bytes:
        """Answer a neighbour whose holdings differ.

        Args:
            wire: its question.
            sender: the neighbour.
            wire_of: a stored record by its id.

        Raises:
            RemoteProtocolError: reason `bad-antientropy`.
        """

        def named(name: bytes) -> bytes | None:
            shown = self._held.get(name) or self.gate.shown(name)
            return shown.wire if shown else wire_of(name)

        return self.holdings.answer(wire, sender, named)

    def is_past(self, verdict: Verdict) -> bool:
        """Whether a verdict is on a round that has ended, and that is not judged here, or not any more."""
        head = self.member.certificate.head if self.member.certificate else None
        if head is None or verdict.round >= head.number:
            return False
        return self._audits(verdict.round) and not self.docket.knows(verdict.base)

    def on_opening(
        self, opening: Signed[Opening], worker: str, indices: Sequence[int], shown: bytes | None
    ) -> tuple[Shown | Refusal, list[NodeEffect]]:
        """An auditor asks for chunks that a member has committed to.

        Args:
            opening: what it has bound itself to.
            worker: whose chunks.
            indices: which.
            shown: its `showing.proof` of the record, once it was asked for that.

        Returns:
            The record that it audits if it may see them, else why not; and what follows from its asking.
        """
        try:
            trial = self.docket.bind(opening)
            if trial is None:
                if shown is None:
                    return Refusal.UNKNOWN, []
                target = open_proof(shown, opening, opening.signer)
                good = shows_stranger(target, worker, indices, self.member.context.identity.peer_id)
                return (target if good else Refusal.NO), []
        except RemoteProtocolError as error:
            return Refusal.NO, [Blame(error.peer, error.reason, error.detail)]
        except ContradictionError as error:
            return Refusal.NO, self._convict(equivocation_case(*error.pair))
        known = trial.target
        if isinstance(known.body, Verdict) or not shows(trial, opening, worker, indices):
            return Refusal.NO, []
        return known, []

    def on_dispute(
        self, opening: Signed[Opening], accusation: Signed[Verdict] | None
    ) -> tuple[Signed[Commitment] | None, list[NodeEffect]]:
        """Another member asks for this node's boundaries.

        Args:
            opening: its own.
            accusation: the `fail` that names the segment whose beginning it wants; None for the list alone.

        Returns:
            The own commitment that is to be opened if the other may see that, a state once; and what follows.
        """
        effects = self._on_verdict(accusation) if accusation else []
        try:
            trial = self.docket.heard(opening)
        except RemoteProtocolError as error:
            return None, [*effects, Blame(error.peer, error.reason, error.detail)]
        me = self.member.context.identity.peer_id
        if trial is None or trial.target.signer != me or not isinstance(trial.target.body, Commitment):
            return None, effects
        if accusation is not None:
            if not is_named(trial, accusation.body.segment) or opening.signer in trial.shown:
                return None, effects
            trial.shown.add(opening.signer)
        return trial.target, effects

    def proof(self, opening: Signed[Opening]) -> bytes | None:
        """What an own opening is about, for who does not know that."""
        trial = self.docket.trial(opening.body.target)
        place = self.docket.place(opening.body.base, self.member.context.identity.peer_id)
        if trial is None or place is None or isinstance(trial.target.body, Verdict):
            return None
        return proof(trial.certificate, trial.target, place)

    # Rounds

    def _seen(self, effects: list[Effect]) -> list[NodeEffect]:
        """Look at what training asks for, and judge rounds that have closed."""
        seen: list[NodeEffect] = []
        for effect in effects:
            if isinstance(effect, Publish) and isinstance(effect.record.body, Ready) and self.entry:
                seen.append(Show(self.entry))
            seen.append(effect)
            if isinstance(effect, Publish) and isinstance(effect.record.body, Commitment):
                seen += self._said(self._auditor.on_committed())
            if isinstance(effect, Adopt):
                self._settle(effect.certificate)
                gone = self.member.gone(effect.certificate.head.parent)
                self.witness.adopted(effect, None if gone is None else gone | self.out().keys())
                self._begin(effect.certificate)
                self.docket.follow(effect.certificate.head)
            if isinstance(effect, Adopt) and effect.works:
                seen += self._on_closed(effect)
            if isinstance(effect, Blame) and effect.reason == "equivocation":
                seen += self._on_equivocation(effect.peer)
        return seen

    def _on_closed(self, closed: Adopt) -> list[NodeEffect]:
        trials = self.docket.open(closed, self.member.context.chunk_count)
        certificate = closed.certificate
        if not self._audits(certificate.head.number - 1):
            return []
        self.duties.closed(certificate.id, certificate.head.parent, trials)
        effects = self._said(self._auditor.on_closed(trials, closed))
        for verdict in self.docket.take_waiting(certificate):
            effects += self._on_verdict(verdict)
        return effects

    def _on_entry(self, entry: Signed[Entry]) -> list[NodeEffect]:
        if self.gate.has_shown(entry.signer):
            return []
        fault = self.admit(entry)
        return [Blame(entry.signer, "bad-entry", fault)] if fault else [Admit(entry)]

    def _on_voucher(self, voucher: Signed[Voucher]) -> list[NodeEffect]:
        fault = self.vouchers.find_fault(voucher)
        if fault is not None:
            return [Blame(voucher.signer, "bad-voucher", fault)]
        if not self.vouchers.take(voucher, self.holdings.since):
            return []
        self.holdings.add(voucher.id, voucher.body.round)
        return [Vouched(voucher)]

    # Verdicts

    def _said(self, effects: list[NodeEffect]) -> list[NodeEffect]:
        """Own verdicts are taken in as everybody takes them in."""
        seen: list[NodeEffect] = []
        for effect in effects:
            seen.append(effect)
            if isinstance(effect, Declare):
                seen += self._on_verdict(effect.verdict)
        return seen

    def _on_verdict(self, verdict: Signed[Verdict]) -> list[NodeEffect]:
        if not self._may_be_audited(verdict.body.round):
            return [Blame(verdict.signer, "bad-verdict", "nothing is replayed in this swarm")]
        try:
            trial = self.docket.add(verdict)
        except RemoteProtocolError as error:
            return [*self._keep(), Blame(error.peer, error.reason, error.detail)]
        except ContradictionError as error:
            return [*self._keep(), *self._convict(equivocation_case(*error.pair))]
        effects = self._keep()
        if trial is None:
            return effects
        body = verdict.body
        if body.outcome == "pass":
            self.rates.passed(body.about, body.worker, verdict.signer)
        elif self.doubts.hear(verdict, trial):
            self.rates.doubted(body.about, body.worker)
        groundless = self.witness.heard(verdict, trial.verdicts, trial.certificate.head.electors)
        if groundless:
            self.rates.cleared(body.about, body.worker)
        if self.doubts.calls(trial):
            effects += self._said(self._auditor.judge(trial, "jury"))
        effects += self._said(self._auditor.check_audit(verdict))
        for case in trial.cases():
            if case.charge == "accusation":
                self.rates.cleared(body.about, body.worker)
            effects += self._convict(case)
        return effects

    def _keep(self) -> list[NodeEffect]:
        """Hold what the docket keeps, and nothing that it does not keep any more."""
        effects: list[NodeEffect] = []
        for change in self.docket.changes():
            for verdict in change.taken:
                self.holdings.add(verdict.id, verdict.body.round)
                effects.append(Judged(verdict))
            for verdict in change.dropped:
                self.holdings.drop(verdict.id)
                effects.append(Displaced(verdict))
        return effects

    # Cases

    def _on_equivocation(self, peer: str) -> list[NodeEffect]:
        for one, other in combinations(self.member.said_by(peer), 2):
            if equivocates(one, other):
                return self._convict(equivocation_case(one, other))
        return []

    def _on_case(self, case: Case) -> list[NodeEffect]:
        """Believe a case that rests on a round we know, or on a majority that we believe anyway."""
        if not case.is_for_good:
            head = self.member.certificate.head if self.member.certificate else None
            known = case.certificate is not None and self.docket.knows(case.certificate.id)
            trusted = head is not None and len(case.judges & set(head.electors)) >= quorum(head.electors)
            if not (known or trusted):
                return []
        return self._convict(case)

    def _convict(self, case: Case) -> list[NodeEffect]:
        return [Convict(case)] if self._exclude(case) else []

    def _exclude(self, case: Case) -> bool:
        """Whether this is news."""
        name = case_name(case)
        if name in self._held or len(self._held) >= MAX_CASES:
            return False
        self._held[name] = case
        if case.guilty not in self.member.context.excluded:
            self.cases[case.guilty] = case
        self.holdings.add(name, None)
        self.witness.convicted(case)
        self.vouchers.convicted(case.guilty)
        self.rates.discredited(case.guilty)
        if case.is_for_good:
            self.member.context.excluded.add(case.guilty)
        return True
