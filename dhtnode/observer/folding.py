"""Where everybody stands, folded from what members have shown, by the code that nodes fold with. Pure.

Each round of the followed chain is put together from its commitments and results, its verdicts are heard as
a node hears them (`validation.docket`), and all of it becomes entries of the ledger (`rewards.evidence`). A
record that no certified head leads to counts for nothing, whoever signed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from dhtnode.amendments import Amendment
from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import Terms
from dhtnode.observer.chains import Chosen
from dhtnode.observer.evidence import Evidence
from dhtnode.records import Signed
from rewards.data import Registration, find_fault, register, training_chunks
from rewards.entries import ANY_HEAD, Entry, EntrySet
from rewards.evidence import (
    ClosedRound,
    bond_entry,
    case_entry,
    close_round,
    fault_of,
    is_dated,
    round_entries,
    shard_entry,
    verdict_entry,
)
from rewards.ledger import Ledger, rules_in_force
from training.chain import Certificate
from training.codec import chunk_bytes, chunk_sizes
from training.in_force import TermsInForce
from training.messages import WHOLE, Commitment, Head, Result
from validation.cases import Case, equivocation_case
from validation.docket import ContradictionError, Docket, Trial, by_subject
from validation.messages import Verdict
from validation.validator import MAX_CASES
from validation.voucher import Voucher

T = TypeVar("T", Commitment, Verdict)


@dataclass(frozen=True)
class Model:
    """What the ledger has to know of the model."""

    params: int
    update_elems: int
    """Elements of what a member sends."""

    @classmethod
    def of_state(cls, terms: Terms, length: int) -> Model | None:
        """The model whose states have so many bytes; None if no state of the swarm has that length."""
        moments = 0
        if terms.inner.moments == "averaged":
            from training.optimizer import moment_names  # only here: torch takes seconds to load

            moments = len(moment_names(terms.inner))
        vectors = 1 + (terms.outer.momentum > 0) + (terms.inner.scaling > 0) + moments
        params, rest = divmod(length, 4 * vectors)
        return cls(params, params * (1 + moments)) if params and not rest else None


class Folding:
    """Everything that follows from evidence.

    Args:
        evidence: what members have shown.
        chosen: the chain that is followed.
        terms: the swarm's.
        model: its size.
    """

    def __init__(self, evidence: Evidence, chosen: Chosen, terms: Terms, model: Model) -> None:
        self.number = chosen.newest.head.number
        self.followed = chosen.followed
        self.rounds: dict[int, ClosedRound] = {}
        """Those whose records are all here."""
        self.verdicts: list[Signed[Verdict]] = []
        """That nodes take in."""
        self.cases: dict[str, Case] = {}
        """By the key that is out."""
        self.faults: list[RemoteProtocolError] = []
        """What members have signed that no honest one signs."""
        self.used: dict[bytes, int] = {}
        """Ids of the heads, records and verdicts that all this rests on, and of which round."""
        self.parameters = model.params
        self.terms = _in_force(evidence, chosen.newest.head, terms)
        """Those of the chain's rounds."""
        sizes_K = chunk_sizes(model.update_elems, terms.wire)
        self._chunk_bytes_K = [chunk_bytes(elems, terms.wire) for elems in sizes_K]
        self._entries: list[Entry] = []
        self._proven: list[Case] = []
        self._commitments = _by_base(evidence.of(Commitment))
        self._results = {one.id: one for one in evidence.of(Result)}
        self._said = _by_base(evidence.of(Verdict))
        for round_no, id_ in sorted(chosen.followed.items()):
            self.used[id_] = round_no
            closed = self._closed(evidence.heads[id_])
            if closed is not None:
                self.rounds[round_no] = closed
                self._book(closed)
        shards = self._registered(evidence, terms)
        self._rules = rules_in_force(
            *(self.terms, self.number - 1, model.params),
            registry_of=lambda section: register(shards, training_chunks(terms.data), section),
        )
        self._convict(evidence)
        self._burn_bonds(evidence, terms.reputation.open_rounds)
        self.entries = EntrySet(terms.reward.epoch_rounds, (entry.packed for entry in self._entries))

    @property
    def missing_rounds(self) -> int:
        """Closed rounds of which records are lacking."""
        return self.number - len(self.rounds)

    def knows(self, key: str) -> bool:
        """Whether a round names a key."""
        return any(key in closed.by_signer for closed in self.rounds.values())

    def ledger(self, watched: bytes | None = None) -> Ledger:
        """All balances; the changes of one key are listed."""
        ledger = Ledger(self._rules, watched)
        ledger.fold(self.entries.packed, self.followed)
        return ledger

    def receipts(self, key: str) -> list[Signed[Commitment]]:
        """A member's accepted commitments, by round."""
        return [
            one
            for round_no, closed in self.rounds.items()
            if (one := closed.by_signer.get(key)) and one.id in closed.certificate.head.accepted
        ]

    def accepted_tokens(self, since: int) -> int:
        """Tokens of all accepted work from a round on."""
        return sum(
            one.body.tokens
            for round_no, closed in self.rounds.items()
            if round_no >= since
            for one in closed.by_signer.values()
            if one.id in closed.certificate.head.accepted
        )

    def _registered(self, evidence: Evidence, terms: Terms) -> list[Signed[Registration]]:
        """What counts of the data that was registered, as for a node. Whoever reads has no data: that the
        sketches are true is for those to say who show it.
        """
        shards = []
        for one in evidence.of(Registration):
            if not self.knows(one.signer) or find_fault(one.body, terms.data):
                continue
            head = self._dated_by(one)
            if head is not None:
                shards.append(one)
                self._entries.append(shard_entry(one, head))
        return shards

    def _dated_by(self, registration: Signed[Registration]) -> bytes | None:
        """The head of the round that dates a registration; ANY_HEAD if all that is known here came later."""
        round_no = registration.body.round
        closed = self.rounds.get(round_no)
        if closed is None:
            return ANY_HEAD if round_no < min(self.rounds, default=0) else None
        work = closed.by_signer.get(registration.signer)
        return closed.certificate.id if work is not None and is_dated(work, registration) else None

    def _closed(self, certificate: Certificate) -> ClosedRound | None:
        """A round with its records; None where one is missing."""
        head = certificate.head
        committed: dict[str, Signed[Commitment]] = {}
        for one in self._commitments.get(head.parent, ()):
            if one.signer not in committed or one.id in head.within:
                committed[one.signer] = one
        results = [self._results[id_] for id_ in head.results if id_ in self._results]
        commitments = [committed[peer] for peer in head.members if peer in committed]
        try:
            return close_round(certificate, commitments, results)
        except RemoteProtocolError:
            return None

    def _book(self, closed: ClosedRound) -> None:
        for record in (*closed.commitments_N, *closed.results):
            self.used[record.id] = closed.number
        terms = self.terms.at(closed.number)
        self._entries += round_entries(closed, self._chunk_bytes_K)
        if terms.data.mode == "shared" and terms.audit.rate > 0:
            self._hear(closed)

    def _hear(self, closed: ClosedRound) -> None:
        """The verdicts on a round: on work, then on those; a look at a part before all of it."""
        docket = Docket()
        chunk_count = len(self._chunk_bytes_K)
        docket.open(closed.adopted(chunk_count), chunk_count)
        heard: dict[bytes, Trial] = {}
        for verdict in sorted(self._said.get(closed.certificate.id, ()), key=_hearing_order):
            try:
                trial = docket.add(verdict)
            except RemoteProtocolError as error:
                self.faults.append(error)
                continue
            except ContradictionError as error:
                self._proven.append(equivocation_case(*error.pair))
                continue
            if trial is not None:
                heard[trial.target.id] = trial
        kept = {verdict.id: verdict for verdict in docket.kept(closed.certificate.id)}
        for verdict in kept.values():
            self.verdicts.append(verdict)
            self.used[verdict.id] = closed.number
            target = closed.by_id.get(verdict.body.target) or kept.get(verdict.body.target)
            if target is not None:
                self._pay(closed, verdict, target)
        for trial in heard.values():
            self._proven += trial.cases()

    def _pay(
        self, closed: ClosedRound, verdict: Signed[Verdict], target: Signed[Commitment] | Signed[Verdict]
    ) -> None:
        try:
            self._entries.append(verdict_entry(closed, verdict, target))
        except RemoteProtocolError:
            return  # a record that earns nothing is no offence

    def _convict(self, evidence: Evidence) -> None:
        """One case against each key: the one that most members have shown, else one that is proven here."""
        known = {*self.followed.values(), None}
        shown = Counter(id_ for ids in evidence.shown_by.values() for id_ in ids if id_ in evidence.cases)
        good = (one for one in evidence.cases.values() if _round_of(one) in known)
        ranked = sorted(good, key=lambda one: (-shown[one.id], one.round_no, fault_of(one), one.id))
        for case in (*ranked, *self._proven):
            if case.guilty in self.cases or len(self.cases) >= MAX_CASES:
                continue
            self.cases[case.guilty] = case
            if case.round_no < self.number:
                self._entries.append(case_entry(case))

    def _burn_bonds(self, evidence: Evidence, open_rounds: int) -> None:
        """What whoever answered for one of these keys loses, if it had a whole vote when it said so."""
        for voucher in evidence.of(Voucher):
            body, case = voucher.body, self.cases.get(voucher.body.newcomer)
            entry = bond_entry(voucher, case, open_rounds) if case else None
            if entry is None or case is None or max(entry.round, case.round_no) >= self.number:
                continue
            head = evidence.heads.get(self.followed.get(body.round - 1, b""))
            if head is not None and head.head.vote_of(voucher.signer) == WHOLE:
                self._entries.append(entry)
                self.used[voucher.id] = body.round


def _in_force(evidence: Evidence, head: Head, terms: Terms) -> TermsInForce:
    """The terms of a chain's rounds; the manifest's where what it has adopted is not shown or not known."""
    in_force = TermsInForce(terms)
    for amendment in evidence.of(Amendment):
        in_force.learn(amendment)
    if not in_force.missing(head.amendments) and in_force.fault(head.amendments) is None:
        in_force.stand_on(head.amendments, head.number)
    return in_force


def _by_base(records: Iterable[Signed[T]]) -> dict[bytes, list[Signed[T]]]:
    found: dict[bytes, list[Signed[T]]] = {}
    for record in records:
        found.setdefault(record.body.base, []).append(record)
    return found


def _round_of(case: Case) -> bytes | None:
    """Id of the head whose round's majority a case rests on; None if it rests on nobody's word."""
    return case.certificate.id if case.certificate else None


def _hearing_order(verdict: Signed[Verdict]) -> tuple[bool, tuple[bytes, bool, bytes]]:
    return verdict.body.role == "jury" and verdict.body.about == "reduction", by_subject(verdict)
