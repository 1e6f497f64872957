"""Second half of a round: a certified roster is reduced, applied and closed.

Every node does the outer step itself from the same encoded results. The close's leader proposes
the head that its own step led to; electors vote if theirs, from the results it names, leads there
too. Two reducers may have reduced a part from different senders: the vote chooses.
"""

from __future__ import annotations

from typing import cast

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed, sign
from training.acceptance import intake
from training.agreement import Agreement, Instance
from training.butterfly import Butterfly
from training.chain import Certificate
from training.events import (
    Adopt,
    Applied,
    Apply,
    Blame,
    Effect,
    Event,
    PartArrived,
    Plan,
    Reduced,
    ResultFetched,
    ResultMissing,
    SendFailed,
)
from training.gathering import RoundContext
from training.messages import Head, Promise, Proposal, Result, Vote, decode_value, encode_value
from training.pace import Pace
from training.pool import RecordPool
from training.roster import ordered


class Closing:
    """A node's side of reducing and closing one round.

    Args:
        context: identity and terms.
        head: what the round started from.
        pool: the round's records.
        plan: the certified roster.
        pace: learned deadlines.
        now_s: the caller's clock.
    """

    def __init__(
        self, context: RoundContext, head: Head, pool: RecordPool, plan: Plan, pace: Pace, now_s: float
    ) -> None:
        self.plan = plan
        self.complete = False
        """Whether one result for each part is here."""
        self.mismatch = False
        """Our own outer step led elsewhere than the one put to the vote."""
        self._context = context
        self._head = head
        self._pool = pool
        self._applied: dict[tuple[bytes, ...], bytes] = {}
        self._applying: set[tuple[bytes, ...]] = set()
        reduce_s, close_s = pace.reduce.limit_s, pace.close.limit_s
        self.butterfly = Butterfly(plan, context.identity.peer_id, reduce_s, now_s)
        self.agreement = Agreement(
            Instance(head.number, head.id, "close", plan.roster),
            ordered(plan.electors, head.state, head.number, "close-leader"),
            context.identity,
            context.swarm_id,
            now_s + 2 * reduce_s + close_s,
            close_s,
        )

    def start(self) -> list[Effect]:
        """Take in what came before the roster was certified here, and send own parts."""
        me = self._context.identity.peer_id
        own = [record for record in self._pool.all() if record.signer == me]
        self.agreement.restore(record for record in own if concerns(record, "close"))
        effects: list[Effect] = []
        for record in list(self._pool.all()):
            try:
                self.on_record(record)
            except RemoteProtocolError as error:
                effects.append(Blame(error.peer, error.reason, error.detail))
        return effects + self.butterfly.start()

    def on_record(self, record: Signed[Body]) -> None:
        """Take in a record that the pool has kept.

        Raises:
            RemoteProtocolError: it breaks the protocol.
        """
        if isinstance(record.body, Result):
            self.butterfly.on_result(cast("Signed[Result]", record))
        elif concerns(record, "close"):
            self.agreement.on_record(record)

    def on(self, event: Event, now_s: float) -> list[Effect]:
        """Take in what the shell did."""
        match event:
            case PartArrived(_, roster, part, sender) if roster == self.plan.roster:
                self.butterfly.on_part(part, sender)
            case SendFailed(_, roster, part, to) if roster == self.plan.roster:
                return self.butterfly.on_send_failed(part, to)
            case Reduced(_, roster, part, included, root) if roster == self.plan.roster:
                result = Result(
                    round=self._head.number,
                    base=self._head.id,
                    roster=self.plan.roster,
                    part=part,
                    included=included,
                    root=root,
                )
                record = sign(self._context.identity, self._context.swarm_id, result)
                self._pool.add(record)
                return self.butterfly.on_reduced(part, record)
            case ResultFetched(_, result_id):
                self.butterfly.on_fetched(result_id)
            case ResultMissing(_, result_id):
                self.butterfly.on_missing(result_id, now_s)
            case Applied(_, results, state):
                self._applied[results] = state
        return []

    def advance(self, outcome: Certificate | None, now_s: float) -> list[Effect]:
        """Reduce, fetch and apply what is due.

        Args:
            outcome: how the round closed, once that is known: then only its results matter.
            now_s: the caller's clock.
        """
        wanted = outcome.head.results if outcome else self._proposed_results()
        effects = self.butterfly.advance(now_s, wanted)
        first = self.butterfly.complete()
        self.complete = self.complete or first is not None
        sets = [self.butterfly.select(wanted)] if outcome else [first, self.butterfly.select(wanted)]
        for results in sets:
            ids = tuple(result.id for result in results or ())
            if results and ids not in self._applied and ids not in self._applying:
                self._applying.add(ids)
                effects.append(Apply(self.plan, results))
        return effects

    def vote(self, now_s: float) -> list[Signed[Body]]:
        """Own records that are due for the close."""
        return self.agreement.advance(now_s, self._make_head, self._acceptable)

    def outcome(self) -> Certificate | None:
        """How the round closed, once a majority has voted for it.

        None, too, if a dishonest majority has voted for what is no head of this round.
        """
        decision = self.agreement.decision
        if decision is None:
            return None
        try:
            head = decode_value(decision.value, Head)
        except ValueError:
            return None
        return Certificate(head, decision.votes) if self.leads_to(head) else None

    def leads_to(self, head: Head) -> bool:
        """Whether a head is one of this roster: the same members, votes and amendments."""
        plan = self.plan
        ours = (self._head.number + 1, self._head.id, plan.members, plan.votes_N, plan.amendments)
        return (head.number, head.parent, head.members, head.votes, head.amendments) == ours

    def reached(self, head: Head) -> bool:
        """Whether our own outer step led to this head's state."""
        return self._applied.get(head.results) == head.state

    def adopt(self, outcome: Certificate) -> Adopt:
        """Take over the closed round, with all that went into it."""
        results = self.butterfly.select(outcome.head.results) or ()
        works = self.plan.commitments_N if results else ()
        within = tuple(work for work in works if work.id in outcome.head.within)
        return Adopt(outcome, within, self.plan, results)

    @property
    def lacks_records(self) -> bool:
        """Whether results that the proposed head names were not announced here."""
        return any(self._pool.get(id_, Result) is None for id_ in self._proposed_results())

    def _proposed_results(self) -> tuple[bytes, ...]:
        value = self.agreement.proposed_value()
        try:
            return decode_value(value, Head).results if value is not None else ()
        except ValueError:
            return ()

    def _make_head(self) -> bytes | None:
        results = self.butterfly.complete()
        state = self._applied.get(tuple(result.id for result in results)) if results else None
        return encode_value(self._head_after(results, state)) if results and state else None

    def _head_after(self, results: tuple[Signed[Result], ...], state: bytes) -> Head:
        accepted, partial = intake(self.plan.commitments_N, results)
        counted = (
            work.body.tokens
            for work in self.plan.commitments_N
            if work.id in accepted and work.signer in self.plan.electors
        )
        return Head(
            number=self._head.number + 1,
            parent=self._head.id,
            branch=self._head.branch,
            founder=self._head.founder,
            since=self._head.since,
            marks=self._head.marks,
            state=state,
            members=self.plan.members,
            votes=self.plan.votes_N,
            tokens=self._head.tokens + sum(counted),
            accepted=accepted,
            results=tuple(result.id for result in results),
            amendments=self.plan.amendments,
            partial=partial,
        )

    def _acceptable(self, value: bytes) -> bool:
        """We vote for a head that our own outer step, from the same results, leads to."""
        try:
            proposed = decode_value(value, Head)
        except ValueError:
            return False
        results = self.butterfly.select(proposed.results)
        state = self._applied.get(proposed.results)
        if results is None or state is None:
            return False
        self.mismatch = state != proposed.state
        return encode_value(self._head_after(results, state)) == value


def concerns(record: Signed[Body], step: str) -> bool:
    """Whether a record belongs to one of the round's two agreements."""
    return isinstance(record.body, Proposal | Promise | Vote) and record.body.step == step
