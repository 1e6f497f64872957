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
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from dhtnode.app.archive import Archive
from dhtnode.app.balances import Balances
from dhtnode.app.bonds import Bonds
from dhtnode.app.dating import Dating
from dhtnode.app.folding import Folding
from dhtnode.app.opinions import Opinions
from dhtnode.app.page import Page
from dhtnode.digest import DIGEST_BYTES
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed
from dhtnode.status import ReputationPart, RewardsPart, WhyPart
from dhtnode.store import Store
from rewards.book import PARAMETERS
from rewards.entries import Entry
from rewards.evidence import ClosedRound, close_round, round_entries, verdict_entry
from rewards.heads import Heads
from rewards.rounds import Step, answer_question
from training.chain import Certificate
from training.codec import chunk_bytes
from training.events import Adopt
from training.in_force import TermsInForce
from training.messages import Commitment, Result
from validation.cases import Case, equivocation_case
from validation.docket import ROUNDS_KEPT, ContradictionError, by_subject
from validation.epochs import Summary
from validation.evidence import Evidence
from validation.messages import Verdict
from validation.reputation import Reputation
from validation.validator import Validator
from validation.voucher import Voucher
from validation.witness import Witness

log = logging.getLogger(__name__)

LATE_ROUNDS = 64
"""For which verdicts on missed rounds are heard: enough to ask many neighbours, also where a round takes less
than a second. A guess."""
_BOOKS = "reputation.books"
_MISSED = "evidence.missed"


class Standing:
    """Ledger and table of one node.

    Args:
        store: the node's, used from the event loop's thread only.
        in_force: the swarm's terms, round by round.
        swarm_id: signature domain.
        identity: own.
        parameters: of the model.
        sizes_K: elements of each chunk of an update.
    """

    def __init__(
        self,
        store: Store,
        in_force: TermsInForce,
        swarm_id: bytes,
        identity: Identity,
        parameters: int,
        sizes_K: Sequence[int],
    ) -> None:
        self.opinions: Opinions | None = None
        self._store = store
        self._in_force = in_force
        self._swarm_id = swarm_id
        manifest, me = in_force.manifest, identity.peer_id
        self._chunk_bytes_K = [chunk_bytes(elems, manifest.wire) for elems in sizes_K]
        self._heads = Heads(store)
        self._balances = Balances(store, in_force, swarm_id, parameters, me, self._heads)
        self._book = self._balances.book
        self._archive = Archive(store, swarm_id, me, len(sizes_K))
        self.bonds = Bonds(store, in_force, swarm_id, me, self._heads, self._archive, self._balances)
        self._folding = Folding(store, manifest, identity, swarm_id, self._book, self._heads)
        self.dating = Dating(self._heads, self._archive, self._folding, self._balances)
        self._page = Page(in_force, me, self._balances)
        self._held = self._book.heads()
        """Heads whose rounds are booked."""
        self._missed: dict[bytes, int | None] = {}
        """Heads whose rounds this node was not there to judge, with the last round in which verdicts on them
        are heard; None until it stands where the others do."""
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
            witness.table = Reputation.reopened(self._in_force.now.reputation, stored)
        for case in cases:
            witness.convicted(case)
            self.convicted(case)
        followed = self._heads.followed
        for round_no in range(witness.table.round_no, max(followed, default=-1) + 1):
            witness.began(round_no + 1)
            if round_no in followed:
                self._credit(followed[round_no], round_no, witness)
                self._hear_again(followed[round_no], round_no, witness)
        self._hold_again(validator)
        missed = self._store.fact(_MISSED) or b""
        self._missed = {missed[at : at + DIGEST_BYTES]: None for at in range(0, len(missed), DIGEST_BYTES)}
        self._missed |= dict.fromkeys(list(followed.values())[-ROUNDS_KEPT:])

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
        electors = self._archive.electors(head)
        for beside in on_record.values():
            for verdict in beside.values():
                witness.heard(verdict, beside, electors)

    def _hold_again(self, validator: Validator) -> None:
        """What is stored about rounds of the followed chain is what neighbours compare."""
        holdings, number = validator.holdings, max(self._heads.followed, default=-1) + 1
        holdings.begin(number)
        holdings.leave_rounds()
        for round_no, head in self._heads.followed.items():
            if round_no >= holdings.since:
                for name in self._archive.names(round_no, head):
                    holdings.add(name, round_no)
        self._folding.hold_again(holdings)
        validator.vouchers.again(self.bonds.stored(), number, holdings.since)
        for voucher in validator.vouchers.held:
            holdings.add(voucher.id, voucher.body.round)

    def stand_on(self, certificate: Certificate) -> None:
        """The head from which the node goes on."""
        self._heads.adopt(certificate)
        self._balances.stand_on(certificate.head.number)
        self._try_again()

    @property
    def _number(self) -> int:
        """Of the newest head."""
        return self._balances.number

    def _try_again(self) -> None:
        """More rounds are known: cases on them can be booked."""
        self._balances.turn()
        self._add(self.bonds.entries(self._number))

    # What happens

    def adopted(self, effect: Adopt, validator: Validator | None) -> None:
        """A head is final here: keep it, and book its round if this node was there."""
        goes_on = effect.certificate.head.parent == self._heads.newest
        self.stand_on(effect.certificate)
        known = {head: self._hears_until if until is None else until for head, until in self._missed.items()}
        self._missed = {head: until for head, until in known.items() if until >= self._number}
        if effect.plan is not None:
            self._book_round(effect.certificate, effect.plan.commitments_N, effect.results)
        self.dating.on_rounds()
        if validator is None:
            return
        if not goes_on:
            self._leave_branches()
            self._hold_again(validator)
        if self._folding.fold(self._number, validator.holdings):
            self.bonds.forget_before(validator.holdings.since)
            self._look_again()
        if self._number % self._in_force.manifest.reward.epoch_rounds == 0:
            self._store.set_fact(_BOOKS, validator.witness.table.closed_books())

    def _leave_branches(self) -> None:
        """Other rounds may be followed than before: nobody else has what those that were left are worth."""
        if self._book.leave(self._heads.followed):
            self._look_again()
            self.dating.on_left()

    def _look_again(self) -> None:
        """Entries have gone: what is booked is what is left."""
        self._balances.look_again()
        self._held = self._book.heads()

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
        self._add(round_entries(closed, self._chunk_bytes_K))
        self._balances.booked.add(closed.number)
        self._held.add(closed.certificate.id)

    def judged(self, verdict: Signed[Verdict]) -> None:
        """A verdict is in: keep it, and book it if it is worth anything."""
        self._archive.keep_verdict(verdict)
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

    def displaced(self, verdict: Signed[Verdict]) -> None:
        """A verdict is not kept any more: as if it had never come."""
        self._archive.drop_verdict(verdict)
        if self._book.drop(verdict.body.round, verdict.id):
            self._balances.turn()

    # What happened while this node was away

    @property
    def _hears_until(self) -> int:
        return self._number + LATE_ROUNDS

    def lacking(self, since: int) -> bytes | None:
        """Id of the newest head whose round is not booked here, from a round on; None if all are."""
        return self._heads.lacking(self._held, since)

    def take_rounds(self, steps: Sequence[Step], validator: Validator) -> None:
        """Book rounds that neighbours have shown, the newest first, as names along the followed chain."""
        since = validator.holdings.since
        steps = [step for step in steps if step.certificate.head.number >= since]
        self._heads.learn(step.certificate for step in steps)
        oldest = min((step.certificate.head.number for step in steps), default=0)
        for round_no in range(oldest - ROUNDS_KEPT, oldest):  # of which it has not heard everything
            if round_no in self._heads.followed:
                self._missed[self._heads.followed[round_no]] = self._hears_until
        for step in steps:
            if step.closed is not None and step.closed.number >= since:
                self._take_in(step.closed)
                self._missed[step.certificate.id] = self._hears_until
                self._credit(step.certificate.id, step.closed.number, validator.witness)
        self._store.set_fact(_MISSED, b"".join(self._missed))
        if self.lacking(since) is None:
            self._leave_branches()
        self._try_again()
        self.dating.on_rounds()

    def take_late(
        self, records: Iterable[Signed[Body]], peer: str, validator: Validator
    ) -> list[Case | RemoteProtocolError]:
        """Take in summaries, and verdicts on rounds of the followed chain that are no longer judged.

        Nobody holds the state any more from which such a verdict could be checked, so who has not audited
        could say late that it has, without any risk. Hence who was there to judge a round hears more about it
        only by members that were away themselves when its time was up: that costs them more than an audit
        brings. Who was not there hears everything for LATE_ROUNDS, and from nobody its own verdicts.

        Args:
            records: verified.
            peer: who shows them.
            validator: the core.

        Returns:
            What they show about others: contradictions, and records that no honest key signs.
        """
        found: list[Case | RemoteProtocolError] = []
        by_round: dict[tuple[int, bytes], list[Signed[Verdict]]] = {}
        for record in records:
            if isinstance(record.body, Verdict):
                verdict = cast("Signed[Verdict]", record)
                if self._hears(verdict, peer):
                    by_round.setdefault((verdict.body.round, verdict.body.base), []).append(verdict)
            elif isinstance(record.body, Summary):
                fault = self._folding.take(cast("Signed[Summary]", record), validator.holdings)
                if fault is not None:
                    found.append(RemoteProtocolError(record.signer, "bad-summary", fault))
        for (_, base), verdicts in sorted(by_round.items()):
            found += self._judge_again(base, verdicts, validator)
        return found

    def _hears(self, verdict: Signed[Verdict], peer: str) -> bool:
        """Whether a verdict that a neighbour shows late is looked at."""
        body, followed = verdict.body, self._heads.followed
        if followed.get(body.round) != body.base:
            return False
        if body.base in self._missed:
            return verdict.signer != peer
        time_up = followed.get(body.round + ROUNDS_KEPT)
        return time_up is not None and verdict.signer not in self._archive.members(time_up)

    def _judge_again(
        self, head: bytes, verdicts: Iterable[Signed[Verdict]], validator: Validator
    ) -> list[Case | RemoteProtocolError]:
        closed = self._archive.round(head)
        if closed is None:
            return []
        found: list[Case | RemoteProtocolError] = []
        docket = self._archive.docket(closed)
        for verdict in sorted(verdicts, key=by_subject):
            try:
                trial = docket.add(verdict)
                if trial is not None:
                    validator.witness.heard(verdict, trial.verdicts, trial.certificate.head.electors)
            except RemoteProtocolError as error:
                found.append(error)
            except ContradictionError as error:
                found.append(equivocation_case(*error.pair))
        for change in docket.changes():
            for one in change.taken:
                self.judged(one)
                validator.holdings.add(one.id, closed.number)
            for one in change.dropped:
                self.displaced(one)
                validator.holdings.drop(one.id)
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
        """A fault is proven."""
        self.bonds.convicted(case)
        self._add(self.bonds.entries(self._number))

    def vouched(self, voucher: Signed[Voucher]) -> None:
        """A member answers for a newcomer, which may have been found false already."""
        self.bonds.keep(voucher)
        self._add(self.bonds.entries(self._number))

    def _add(self, entries: Iterable[Entry]) -> None:
        if self._book.add(entry.packed for entry in entries):
            self._balances.turn()

    # What the balances are for

    def vested_before(self, round_no: int) -> Mapping[bytes, int] | None:
        """As `Balances.vested_before`."""
        return self._balances.vested_before(round_no)

    def notes(self, certificate: Certificate) -> dict[str, str]:
        """As `Balances.notes`."""
        return self._balances.notes(certificate)

    # What a contributor sees

    def rewards(self) -> RewardsPart:
        """The node's own account."""
        return self._page.rewards()

    def why(self, table: Reputation) -> tuple[WhyPart, ...]:
        """The last changes of own credits, and of trust in this node as its own table has it."""
        return self._page.why(table)

    def reputation(self, validator: Validator) -> ReputationPart:
        """Trust, in both directions."""
        return self._page.reputation(validator, self.opinions)
