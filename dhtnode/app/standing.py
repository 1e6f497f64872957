"""Where everybody stands, as this node keeps it: the ledger, and what its table of trust is made from.

What the validator adopts, takes in and proves becomes entries of the ledger (`rewards.evidence`), and the
records they rest on are kept, so that `dhtnode why` can show them. A record that earns nothing is no
offence: it gives no entry, and that is all.

A node books the rounds that it has closed itself. Those that it skipped by fetching a state, or in which it
was away, it asks its neighbours for (`app.gaps`) and books later, with the verdicts on them. What lies so far
back that nobody is asked for it is in nobody's balance here; `rewards.missing_rounds` says how many that are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import cast

from dhtnode.app.archive import Archive, by_subject
from dhtnode.app.folding import Folding
from dhtnode.app.opinions import Opinions
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import Terms
from dhtnode.records import Body, Signed
from dhtnode.reward import PPM
from dhtnode.status import OfMePart, ReputationPart, RewardsPart, TrustPart, WhyPart
from dhtnode.store import Store
from rewards.accounts import TERMS
from rewards.book import PARAMETERS, Book, FoldedAwayError
from rewards.entries import Entry, raw_key
from rewards.evidence import ClosedRound, case_entry, close_round, round_entries, verdict_entry
from rewards.heads import Heads
from rewards.ledger import rules_of
from rewards.ownership import shares_ppm
from rewards.rounds import Step, answer_question
from training.chain import Certificate
from training.codec import chunk_bytes
from training.events import Adopt
from training.messages import WHOLE, Commitment, Result
from validation.cases import Case, equivocation_case
from validation.docket import ROUNDS_KEPT, ContradictionError
from validation.epochs import Summary
from validation.evidence import Evidence
from validation.holdings import Holdings
from validation.messages import Verdict
from validation.reputation import Reputation
from validation.validator import Validator
from validation.voting import proposed
from validation.witness import Witness

log = logging.getLogger(__name__)

WHY_ROUNDS = 16
"""Rounds whose changes of credits are listed."""
WHY_KEPT = 20
_BOOKS = "reputation.books"


class Standing:
    """Ledger and table of one node.

    Args:
        store: the node's, used from the event loop's thread only.
        terms: the swarm's.
        swarm_id: signature domain.
        identity: own.
        parameters: of the model.
        sizes_K: elements of each chunk of an update.
    """

    def __init__(
        self,
        store: Store,
        terms: Terms,
        swarm_id: bytes,
        identity: Identity,
        parameters: int,
        sizes_K: Sequence[int],
    ) -> None:
        self.opinions: Opinions | None = None
        self._store = store
        self._terms = terms
        self._swarm_id = swarm_id
        self._me = peer_id = identity.peer_id
        self._chunk_bytes_K = [chunk_bytes(elems, terms.wire) for elems in sizes_K]
        self._heads = Heads(store)
        self._book = Book(store, rules_of(self._terms, parameters))
        self._archive = Archive(store, swarm_id, peer_id, len(sizes_K))
        self._folding = Folding(store, terms, identity, swarm_id, self._book, self._heads)
        self._number = 0
        """Of the newest head."""
        self._booked = store.entry_rounds()
        self._held = self._book.heads(0)
        """Heads whose rounds are booked."""
        self._unbooked: list[Case] = []
        """On rounds that have not closed here, or otherwise."""
        self._account: tuple[RewardsPart, list[WhyPart]] | None = None
        """Until something is booked."""
        store.set_fact(PARAMETERS, parameters.to_bytes(8, "big"))

    # After a restart

    def restore(self, validator: Validator, cases: Iterable[Case]) -> None:
        """Put the stored table in place, with all evidence of rounds whose books are open.

        Who was late is not told by stored records (some had said that they go), so of absences only those in
        closed books come back.
        """
        witness = validator.witness
        stored = self._store.fact(_BOOKS)
        if stored:
            witness.table = Reputation.reopened(self._terms.reputation, stored)
        for case in cases:
            witness.convicted(case)
            self.convicted(case)
        followed = self._heads.followed
        for round_no in range(witness.table.round_no, max(followed, default=-1) + 1):
            witness.began(round_no + 1)
            if round_no in followed:
                self._credit(followed[round_no], round_no, witness)
                self._hear_again(followed[round_no], round_no, witness)
        self._hold_again(validator.holdings)

    def _credit(self, head: bytes, round_no: int, witness: Witness) -> None:
        """Whose work a round took in, for the table."""
        for signer, work in self._archive.accepted(head):
            for context in ("work", "liveness"):
                witness.table.add(Evidence(signer, context, "accepted", round_no, work, work))

    def _hear_again(self, head: bytes, round_no: int, witness: Witness) -> None:
        """The verdicts on a round, as they were heard; a crash may have come before they were booked."""
        on_record: dict[bytes, dict[str, Signed[Verdict]]] = {}
        for verdict in self._archive.verdicts(round_no, head):
            on_record.setdefault(verdict.body.target, {})[verdict.signer] = verdict
            if round_no > max(self._heads.followed) - ROUNDS_KEPT:
                self.judged(verdict)
        for beside in on_record.values():
            for verdict in beside.values():
                witness.heard(verdict, beside)

    def _hold_again(self, holdings: Holdings) -> None:
        """What is stored about rounds of the followed chain is what neighbours compare."""
        holdings.begin(max(self._heads.followed, default=-1) + 1)
        holdings.leave_rounds()
        for round_no, head in self._heads.followed.items():
            if round_no >= holdings.since:
                for name in self._archive.names(round_no, head):
                    holdings.add(name, round_no)
        self._folding.hold_again(holdings)

    def stand_on(self, certificate: Certificate) -> None:
        """The head from which the node goes on."""
        self._heads.adopt(certificate)
        self._number = certificate.head.number
        self._try_again()

    def _try_again(self) -> None:
        """More rounds are known: cases on them can be booked."""
        self._account = None
        waiting, self._unbooked = self._unbooked, []
        for case in waiting:
            self.convicted(case)

    # What happens

    def adopted(self, effect: Adopt, validator: Validator | None) -> None:
        """A head is final here: keep it, and book its round if this node was there."""
        goes_on = effect.certificate.head.parent == self._heads.newest
        self.stand_on(effect.certificate)
        if effect.plan is not None:
            self._book_round(effect.certificate, effect.plan.commitments_N, effect.results)
        if validator is None:
            return
        if not goes_on:
            self._leave_branches()
            self._hold_again(validator.holdings)
        self._folding.fold(self._number, validator.holdings)
        if self._number % self._terms.reward.epoch_rounds == 0:
            self._store.set_fact(_BOOKS, validator.witness.table.closed_books())

    def _leave_branches(self) -> None:
        """Other rounds may be followed than before: nobody else has what those that were left are worth."""
        if self._book.leave(self._heads.followed):
            self._held = self._book.heads(0)

    def _book_round(
        self,
        certificate: Certificate,
        commitments_N: Sequence[Signed[Commitment]],
        results: Sequence[Signed[Result]],
    ) -> None:
        try:
            closed = close_round(certificate, commitments_N, results)
        except RemoteProtocolError as error:
            log.warning("round %d is not in the ledger: %s", certificate.head.number - 1, error.detail)
            return
        self._take_in(closed)

    def _take_in(self, closed: ClosedRound) -> None:
        with self._store.batch():
            self._archive.keep(closed)
        self._add(round_entries(closed, self._chunk_bytes_K, self._terms.reward))
        self._booked.add(closed.number)
        self._held.add(closed.certificate.id)

    def judged(self, verdict: Signed[Verdict]) -> None:
        """A verdict is in."""
        body = verdict.body
        if body.about == "reduction" or self._heads.followed.get(body.round) != body.base:
            return  # looks at a chunk or two, or at another branch: not paid
        closed = self._archive.round(body.base)
        if closed is None:
            return
        target = closed.by_id.get(body.target) or self._archive.verdict(body.target)
        if target is None:
            return
        try:
            self._add([verdict_entry(closed, verdict, target)])
        except RemoteProtocolError as error:
            log.debug("a verdict of %s earns nothing: %s", verdict.signer, error.detail)

    # What happened while this node was away

    def lacking(self, since: int) -> bytes | None:
        """Id of the newest head whose round is not booked here, from a round on; None if all are."""
        return self._heads.lacking(self._held, since)

    def take_rounds(self, steps: Sequence[Step], validator: Validator) -> None:
        """Book rounds that neighbours have shown, the newest first, as names along the followed chain."""
        since = validator.holdings.since
        steps = [step for step in steps if step.certificate.head.number >= since]
        self._heads.learn(step.certificate for step in steps)
        for step in steps:
            if step.closed is not None and step.closed.number >= since:
                self._take_in(step.closed)
                self._credit(step.certificate.id, step.closed.number, validator.witness)
        if self.lacking(since) is None:
            self._leave_branches()
        self._try_again()

    def take_late(
        self, records: Iterable[Signed[Body]], validator: Validator
    ) -> list[Case | RemoteProtocolError]:
        """Take in verdicts on rounds of the followed chain that are no longer judged, and summaries.

        Returns:
            What they show about others: contradictions, and records that no honest key signs.
        """
        found: list[Case | RemoteProtocolError] = []
        by_round: dict[tuple[int, bytes], list[Signed[Verdict]]] = {}
        for record in records:
            if isinstance(record.body, Verdict):
                verdict = cast("Signed[Verdict]", record)
                by_round.setdefault((verdict.body.round, verdict.body.base), []).append(verdict)
            elif isinstance(record.body, Summary):
                fault = self._folding.take(cast("Signed[Summary]", record), validator.holdings)
                if fault is not None:
                    found.append(RemoteProtocolError(record.signer, "bad-summary", fault))
        for (round_no, base), verdicts in sorted(by_round.items()):
            if self._heads.followed.get(round_no) == base:
                found += self._judge_again(base, verdicts, validator)
        return found

    def _judge_again(
        self, head: bytes, verdicts: Iterable[Signed[Verdict]], validator: Validator
    ) -> list[Case | RemoteProtocolError]:
        closed = self._archive.round(head)
        if closed is None:
            return []
        found: list[Case | RemoteProtocolError] = []
        docket = self._archive.docket(closed)
        for verdict in by_subject(verdicts):
            try:
                trial = docket.add(verdict)
            except RemoteProtocolError as error:
                found.append(error)
                continue
            except ContradictionError as error:
                found.append(equivocation_case(*error.pair))
                continue
            if trial is not None:
                self._archive.keep_verdict(verdict)
                self.judged(verdict)
                validator.witness.heard(verdict, trial.verdicts)
                validator.holdings.add(verdict.id, closed.number)
        return found

    def record(self, id_: bytes) -> bytes | None:
        """A stored record, for a neighbour that lacks it."""
        stored = self._store.record(id_)
        return stored.wire if stored else None

    def answer_rounds(self, wire: bytes, sender: str) -> bytes:
        """Answer a neighbour that lacks rounds.

        Raises:
            RemoteProtocolError: reason `bad-round`.
        """
        return answer_question(wire, sender, self._archive.step)

    def convicted(self, case: Case) -> None:
        """A fault is proven. How many such entries there can be is bounded by `validator.MAX_CASES`.

        Who contradicts itself names any round. One far ahead would let all credits vest, so it has to wait.
        So has one on a round that this node does not know, or that its chain has closed otherwise.
        """
        closed = self._heads.followed.get(case.round_no)
        known = case.certificate is None or case.certificate.id == closed
        if case.round_no < self._number and known:
            self._add([case_entry(case)])
        else:
            self._unbooked.append(case)

    def _add(self, entries: Iterable[Entry]) -> None:
        if self._book.add(entry.packed for entry in entries):
            self._account = None

    # What a contributor sees

    def rewards(self) -> RewardsPart:
        """The node's own account."""
        return self._fold()[0]

    def why(self, table: Reputation) -> tuple[WhyPart, ...]:
        """The last changes of own credits, and of trust in this node as its own table has it."""
        trust = [
            WhyPart(
                round=change.round_no,
                change=f"{change.delta_micro / PPM:+.6f} trust",
                cause=change.cause,
                record=change.record.hex(),
            )
            for change in table.why(self._me)
            if change.context == "work"
        ]
        both = sorted([*self._fold()[1], *trust], key=lambda part: -part.round)
        return tuple(both[:WHY_KEPT])

    def reputation(self, validator: Validator) -> ReputationPart:
        """Trust, in both directions."""
        table, section = validator.witness.table, self._terms.reputation
        can_replay = self._terms.data.mode == "shared" and self._terms.audit.rate > 0
        rows = []
        for peer, (trust, *_), bans, _ in table.table():
            opinion = table.opinion(peer)
            if peer == self._me or opinion is None:
                continue
            row = TrustPart(
                peer=peer,
                trust_ppm=trust,
                vote=proposed(0, opinion, section) / WHOLE,
                audit_rate=validator.rates.of("work", peer) if can_replay else 0.0,
                bans=bans,
                banned_until=opinion.banned_until or None,
            )
            rows.append(row)
        of_me = self.opinions.of_me() if self.opinions else OfMePart()
        return ReputationPart(of_me=of_me, table=tuple(rows))

    def _fold(self) -> tuple[RewardsPart, list[WhyPart]]:
        """Done again when something was booked, from the last snapshot."""
        if self._account is None:
            key, followed = raw_key(self._me), self._heads.followed
            try:
                since = max(self._book.first_round, self._number - WHY_ROUNDS)
                ledger = self._book.ledger(followed, (key, since))
            except FoldedAwayError as error:  # the chain was left at a round that is not here any more
                log.warning("no balances: %s", error)
                return RewardsPart(missing_rounds=self._number), []
            balances = {one.key: one for one in ledger.balances(max(self._number, ledger.next_round))}
            shares = shares_ppm({one.key: one.vested for one in balances.values() if one.vested})
            mine = balances.get(key)
            missing = self._book.missing(followed, self._booked, self._number)
            part = RewardsPart(
                by_term=dict(zip(TERMS, mine.by_term if mine else (0,) * len(TERMS), strict=True)),
                vested=mine.vested if mine else 0,
                stake=mine.stake if mine else 0,
                ownership_ppm=shares.get(key, 0),
                missing_rounds=missing,
            )
            changes = [
                WhyPart(
                    round=change.round,
                    change=f"{change.amount / PPM:+,.6f} credits",
                    cause=change.reason,
                    record=change.record.hex(),
                )
                for change in reversed(ledger.changes)
                if change.round >= self._number - WHY_ROUNDS
            ]
            self._account = part, changes
        return self._account
