"""Where everybody stands, as this node keeps it: the ledger, and what its table of trust is made from.

What the validator adopts, takes in and proves becomes entries of the ledger (`rewards.evidence`), and the
records they rest on are kept, so that `dhtnode why` can show them. A record that earns nothing is no
offence: it gives no entry, and that is all.

A node books the rounds that it has closed itself. Of rounds before it came, or that it skipped by fetching
a state, it has neither commitments nor results, so its balances leave them out for everybody, and
`rewards.missing_rounds` says how many. The same holds for verdicts that came while it was down and whose
round its docket no longer knows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from dhtnode.app.opinions import Opinions
from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import Terms
from dhtnode.records import Signed, open_record
from dhtnode.reward import PPM
from dhtnode.status import OfMePart, ReputationPart, RewardsPart, TrustPart, WhyPart
from dhtnode.store import Store, StoredRecord
from rewards.book import PARAMETERS, Book
from rewards.entries import Entry, raw_key
from rewards.evidence import ClosedRound, case_entry, close_round, round_entries, verdict_entry
from rewards.heads import Heads
from rewards.ledger import rules_of
from rewards.statement import WHY_ROUNDS, account_of, changes_of
from training.chain import Certificate
from training.codec import chunk_bytes
from training.events import Adopt
from training.messages import WHOLE, Commitment, Result
from validation.cases import Case
from validation.docket import ROUNDS_KEPT
from validation.evidence import Evidence
from validation.messages import Verdict
from validation.reputation import Reputation
from validation.validator import Validator
from validation.voting import proposed
from validation.witness import Witness

log = logging.getLogger(__name__)

WHY_KEPT = 20
_BOOKS = "reputation.books"


class Standing:
    """Ledger and table of one node.

    Args:
        store: the node's, used from the event loop's thread only.
        terms: the swarm's.
        swarm_id: signature domain.
        peer_id: own.
        parameters: of the model.
        sizes_K: elements of each chunk of an update.
    """

    def __init__(
        self,
        store: Store,
        terms: Terms,
        swarm_id: bytes,
        peer_id: str,
        parameters: int,
        sizes_K: Sequence[int],
    ) -> None:
        self.opinions: Opinions | None = None
        self._store = store
        self._terms = terms
        self._swarm_id = swarm_id
        self._me = peer_id
        self._chunk_bytes_K = [chunk_bytes(elems, terms.wire) for elems in sizes_K]
        self._heads = Heads(store)
        self._book = Book(store, rules_of(self._terms, parameters))
        self._number = 0
        """Of the newest head."""
        self._booked = store.entry_rounds()
        self._closed: dict[bytes, ClosedRound] = {}
        """Recent rounds, by the head that they ended with."""
        self._verdicts: dict[bytes, Signed[Verdict]] = {}
        """On their work, by id: others may judge these in turn."""
        self._to_come: list[Case] = []
        """On rounds that are not closed here."""
        self._account: tuple[RewardsPart, list[WhyPart]] | None = None
        """Until something is booked."""
        store.set_fact(PARAMETERS, parameters.to_bytes(8, "big"))

    # After a restart

    def restore(self, witness: Witness, cases: Iterable[Case]) -> None:
        """Put the stored table in place, with all evidence of rounds whose books are open.

        Who was late is not told by stored records (some had said that they go), so of absences only those in
        closed books come back.
        """
        stored = self._store.fact(_BOOKS)
        if stored:
            witness.table = Reputation.reopened(self._terms.reputation, stored)
        for case in cases:
            witness.convicted(case)
            self.convicted(case)
        for round_no in range(witness.table.round_no, max(self._heads.followed, default=-1) + 1):
            witness.began(round_no + 1)
            for receipt in self._store.records("receipt", round_no):
                for context in ("work", "liveness"):
                    about = receipt.id
                    witness.table.add(Evidence(receipt.signer, context, "accepted", round_no, about, about))
            self._hear_again(witness, round_no)

    def _hear_again(self, witness: Witness, round_no: int) -> None:
        """The verdicts on a round, as they were heard."""
        on_record: dict[bytes, dict[str, Signed[Verdict]]] = {}
        for stored in self._store.records(Verdict.KIND, round_no):
            verdict = open_record(stored.wire, self._swarm_id, {Verdict.KIND: Verdict}, self._me)
            on_record.setdefault(verdict.body.target, {})[verdict.signer] = verdict
        for beside in on_record.values():
            for verdict in beside.values():
                witness.heard(verdict, beside)

    def stand_on(self, certificate: Certificate) -> None:
        """The head from which the node goes on."""
        self._heads.adopt(certificate)
        self._number = certificate.head.number
        self._account = None
        to_come, self._to_come = self._to_come, []
        for case in to_come:
            self.convicted(case)

    # What happens

    def adopted(self, effect: Adopt, witness: Witness | None) -> None:
        """A head is final here: keep it, and book its round if this node was there."""
        self.stand_on(effect.certificate)
        if effect.plan is not None:
            self._book_round(effect.certificate, effect.plan.commitments_N, effect.results)
        if witness is not None and self._number % self._terms.reward.epoch_rounds == 0:
            self._store.set_fact(_BOOKS, witness.table.closed_books())

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
        self._closed[certificate.id] = closed
        while len(self._closed) > ROUNDS_KEPT:
            del self._closed[next(iter(self._closed))]
        oldest = min(one.number for one in self._closed.values())
        self._verdicts = {id_: one for id_, one in self._verdicts.items() if one.body.round >= oldest}
        late = [one for one in commitments_N if one.id not in certificate.head.accepted]
        with self._store.batch():
            for record in (*results, *late):
                self._store.add_record(
                    StoredRecord(record.id, record.body.KIND, closed.number, record.signer, record.wire)
                )
        self._add(round_entries(closed, self._chunk_bytes_K, self._terms.reward))
        self._booked.add(closed.number)

    def judged(self, verdict: Signed[Verdict]) -> None:
        """A verdict is in."""
        body = verdict.body
        closed = self._closed.get(body.base)
        if closed is None or body.about == "reduction":
            return  # looks at a chunk or two: not paid
        if body.about == "work":
            self._verdicts[verdict.id] = verdict
        target = closed.by_id.get(body.target) or self._verdicts.get(body.target)
        if target is None:
            return
        try:
            self._add([verdict_entry(closed, verdict, target)])
        except RemoteProtocolError as error:
            log.debug("a verdict of %s earns nothing: %s", verdict.signer, error.detail)

    def convicted(self, case: Case) -> None:
        """A fault is proven. How many such entries there can be is bounded by `validator.MAX_CASES`.

        Who contradicts itself names any round. One far ahead would let all credits vest, so it has to wait.
        """
        if case.round_no >= self._number:
            self._to_come.append(case)
        else:
            self._add([case_entry(case)])

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
            ledger = self._book.ledger(followed, (key, max(0, self._number - WHY_ROUNDS)))
            missing = sum(
                round_no not in followed or round_no not in self._booked for round_no in range(self._number)
            )
            self._account = account_of(ledger, key, self._number, missing), changes_of(ledger, self._number)
        return self._account
