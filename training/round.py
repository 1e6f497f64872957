"""One round, from a head to the next: the phase machine of a single node.

TRAIN    local work from the head's state
COMMIT   own commitment is out; the round's leader collects those of the others
ROSTER   a list of commitments is proposed and voted on
REDUCE   the butterfly runs over the certified roster
CLOSE    the outer step is done; the new state's digest is voted on
DONE     a majority stands behind the next head

A node that misses the roster follows the round without a voice: it collects the results, does the
same outer step and arrives at the same state. Two agreements carry the round (see `agreement`):
on the roster, by the members of the head; on the close, by the members of the new roster.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from dhtnode.errors import LocalProtocolError, RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import Terms
from dhtnode.records import Body, Signed, sign
from training.agreement import Agreement, Instance
from training.butterfly import Butterfly
from training.chain import Certificate
from training.events import (
    Applied,
    Apply,
    Blame,
    Effect,
    Event,
    Halt,
    OpenReduce,
    PartArrived,
    Plan,
    Publish,
    RecordArrived,
    Reduced,
    ResultFetched,
    ResultMissing,
    SendFailed,
    Train,
    Trained,
)
from training.messages import (
    MAX_MEMBERS,
    Commitment,
    Head,
    Leave,
    Promise,
    Proposal,
    Ready,
    Result,
    Roster,
    Vote,
    decode_value,
    encode_value,
    value_digest,
)
from training.pace import Pace
from training.partition import partition
from training.pool import RecordPool
from training.roster import ordered


class Phase(Enum):
    TRAIN = "train"
    COMMIT = "commit"
    ROSTER = "roster"
    REDUCE = "reduce"
    CLOSE = "close"
    DONE = "done"


NEXT: dict[Phase, set[Phase]] = {
    Phase.TRAIN: {Phase.COMMIT, Phase.REDUCE, Phase.CLOSE, Phase.DONE},
    Phase.COMMIT: {Phase.ROSTER, Phase.REDUCE, Phase.CLOSE, Phase.DONE},
    Phase.ROSTER: {Phase.REDUCE, Phase.CLOSE, Phase.DONE},
    Phase.REDUCE: {Phase.CLOSE, Phase.DONE},
    Phase.CLOSE: {Phase.DONE},
    Phase.DONE: set(),
}
"""Legal transitions: phases may be skipped, when a round is followed, but never taken back."""


@dataclass(frozen=True)
class RoundContext:
    """What stays the same from round to round."""

    identity: Identity
    swarm_id: bytes
    terms: Terms
    chunk_count: int
    """Chunks of one encoded pseudo-gradient."""
    device: str
    bandwidth: int


class Round:
    """A node's part in one round.

    Args:
        context: identity and terms.
        head: what the round starts from.
        pace: learned deadlines, shared by all rounds.
        now_s: the caller's clock.
    """

    def __init__(self, context: RoundContext, head: Head, pace: Pace, now_s: float) -> None:
        self.head = head
        self.base = head.id
        self.pool = RecordPool(self.base)
        self.phase = Phase.TRAIN
        self.outcome: Certificate | None = None
        self.mismatch = False
        """Our own outer step led elsewhere than the quorum's."""
        self.plan: Plan | None = None
        self._context = context
        self._me = context.identity.peer_id
        self._pace = pace
        self._start_s = now_s
        self._commit_delays_s: dict[str, float] = {}
        self._phase_s = now_s
        self._committed = False
        self._butterfly: Butterfly | None = None
        self._close: Agreement | None = None
        self._applied: dict[tuple[bytes, ...], bytes] = {}
        self._applying: set[tuple[bytes, ...]] = set()
        leaders = ordered(head.members, head.state, head.number, "leader")
        patience_s = math.inf if self._founding else pace.train.limit_s + pace.roster.limit_s
        self._roster = Agreement(
            Instance(head.number, self.base, "roster"),
            leaders,
            context.identity,
            context.swarm_id,
            now_s + patience_s,
            pace.roster.limit_s,
        )

    # What the node's core asks and tells

    def start(self, resumed: bool = False) -> list[Effect]:
        """Begin local work, unless it was done before a restart."""
        if resumed or self._committed:
            return []
        effects: list[Effect] = []
        if self._me not in self.head.members:
            effects.append(self._publish(Ready(round=self.head.number, base=self.base)))
        steps = self._context.terms.inner.steps_at(self.head.number)
        return [*effects, Train(self.head, steps, self._pace.budget_s)]

    def restore(self, own: Iterable[Signed[Body]], now_s: float) -> list[Effect]:
        """Take back own records of this round after a restart, before anything else."""
        for record in own:
            if not self._is_new(record):
                continue
            if isinstance(record.body, Commitment):
                self._committed = True
                self._move(Phase.COMMIT, now_s)
        self._roster.restore(record for record in self.pool.all() if _step(record) == "roster")
        return self.advance(now_s)

    def leave(self) -> list[Effect]:
        """Tell the others not to wait for us."""
        return [Halt(self.base), self._publish(Leave(round=self.head.number, base=self.base))]

    @property
    def electors(self) -> tuple[str, ...]:
        """Whose votes the round needs now."""
        return self._close.electors if self._close else self._roster.electors

    @property
    def is_member(self) -> bool:
        """Whether others count on us: we committed, and no roster went out without us."""
        return self._committed and (self.plan is None or self._me in self.plan.members)

    def reason(self, now_s: float) -> str:
        """Why the round is where it is, for `status`."""
        left_s = max(0.0, self._commit_deadline_s() - now_s)
        wait = "no limit" if math.isinf(left_s) else f"{left_s:.1f} s left"
        seen = len(self.pool.commitments)
        if self.phase is Phase.TRAIN:
            return f"training; {seen} of {self._expected_count()} commitments seen"
        if self.phase is Phase.COMMIT:
            return (
                f"waiting for {self._expected_count() - seen} of {self._expected_count()} commitments, {wait}"
            )
        if self.phase is Phase.ROSTER:
            return f"roster proposed: {self._roster.progress()}"
        follows = "" if self.is_member else " (following: this node missed the roster)"
        if self.phase is Phase.REDUCE and self._butterfly:
            return f"reducing: {self._butterfly.progress()}{follows}"
        if self.phase is Phase.CLOSE and self._close:
            return f"closing: {self._close.progress()}{follows}"
        return "closed"

    # Events

    def on(self, event: Event, now_s: float) -> list[Effect]:
        """Take in one event.

        Raises:
            RemoteProtocolError: a peer broke the protocol; nothing of its record is kept.
        """
        effects: list[Effect] = []
        match event:
            case RecordArrived(record):
                if self._is_new(record):
                    self._on_record(record, now_s)
            case Trained(_, work) if self.plan is None and not self._committed:
                self._committed = True
                self._move(Phase.COMMIT, now_s)
                effects.append(
                    self._publish(
                        Commitment(
                            round=self.head.number,
                            base=self.base,
                            start=self.head.state,
                            steps=work.steps,
                            tokens=work.tokens,
                            weight=work.weight,
                            parts=work.parts,
                            loss_micro=work.loss_micro,
                            bandwidth=self._context.bandwidth,
                            device=self._context.device,
                        )
                    )
                )
                self._commit_delays_s.setdefault(self._me, now_s - self._start_s)
            case Applied(_, results, state):
                self._applied[results] = state
            case _:
                effects += self._on_reduce_event(event, now_s)
        return effects + self.advance(now_s)

    def follow(self, certificate: Certificate, now_s: float) -> list[Effect]:
        """Another node shows how this round closed: get there by the results."""
        if self.outcome is None and certificate.head.parent == self.base and certificate.head.results:
            for vote in certificate.votes:
                self._is_new(vote)
            self.outcome = certificate
        return self.advance(now_s)

    def arrived(self) -> Certificate | None:
        """The next head, once this node holds its state by its own outer step."""
        if self.outcome is None or self._applied.get(self.outcome.head.results) != self.outcome.head.state:
            return None
        return self.outcome

    def accepted_work(self, certificate: Certificate) -> tuple[Signed[Commitment], ...]:
        """Whose commitments a certified close contains."""
        results = self._butterfly.select(certificate.head.results) if self._butterfly else None
        return accepted_commitments(self.plan, results) if self.plan and results else ()

    def advance(self, now_s: float) -> list[Effect]:
        """Do whatever time and what is known allow."""
        effects = self._advance_roster(now_s)
        if self._butterfly is not None:
            wanted = self.outcome.head.results if self.outcome else self._proposed_results()
            effects += self._butterfly.advance(now_s, wanted)
            effects += self._apply_complete(now_s)
        effects += self._advance_close(now_s)
        if self.arrived() and self.phase is not Phase.DONE:
            self._move(Phase.DONE, now_s)
        return effects

    # Roster

    @property
    def _founding(self) -> bool:
        """A founding node waits for its company before the very first round closes."""
        return self.head.number == 0 and self._context.terms.round.min_peers > 1

    def _expected(self) -> set[str]:
        ready = {record.signer for record in self.pool.of(Ready)}
        left = {record.signer for record in self.pool.of(Leave)}
        return (set(self.head.members) | ready) - left

    def _expected_count(self) -> int:
        expected = len(self._expected() | set(self.pool.commitments))
        return max(expected, self._context.terms.round.min_peers if self._founding else 0)

    def _commit_deadline_s(self) -> float:
        """When a roster is proposed with whoever has committed."""
        if self._founding and len(self.pool.commitments) < self._context.terms.round.min_peers:
            return math.inf
        return self._start_s + self._pace.train.limit_s

    def _advance_roster(self, now_s: float) -> list[Effect]:
        if self._founding and math.isinf(self._roster.deadline_s) and self._commit_deadline_s() < math.inf:
            self._roster.deadline_s = now_s + self._pace.roster.limit_s
        said = self._roster.advance(now_s, lambda: self._make_roster(now_s), self._roster_acceptable)
        effects: list[Effect] = [self._keep(record) for record in said]
        if self.phase is Phase.COMMIT and self._roster.has_proposal:
            self._move(Phase.ROSTER, now_s)
        if self._roster.decision is not None and self.plan is None:
            effects += self._open_plan(self._roster.decision.value, now_s)
        return effects

    def _make_roster(self, now_s: float) -> bytes | None:
        commitments = self.pool.commitments
        enough = len(commitments) >= (self._context.terms.round.min_peers if self._founding else 1)
        everybody = self._expected() <= set(commitments)
        if not enough or not (everybody or now_s >= self._commit_deadline_s()):
            return None
        peers = ordered(commitments, self.head.state, self.head.number, "roster")[:MAX_MEMBERS]
        return encode_value(Roster(commitments=tuple(commitments[peer].id for peer in peers)))

    def _roster_acceptable(self, value: bytes) -> bool:
        """We vote for a list of commitments that we have all seen, in the one right order."""
        commitments = self._commitments_of(value)
        if commitments is None:
            return False
        peers = [commitment.signer for commitment in commitments]
        return tuple(peers) == ordered(set(peers), self.head.state, self.head.number, "roster")

    def _commitments_of(self, value: bytes) -> tuple[Signed[Commitment], ...] | None:
        try:
            roster = decode_value(value, Roster)
        except ValueError:
            return None
        found = [self.pool.get(id_, Commitment) for id_ in roster.commitments]
        known = tuple(commitment for commitment in found if commitment is not None)
        return known if len(known) == len(found) else None

    def _open_plan(self, value: bytes, now_s: float) -> list[Effect]:
        commitments_N = self._commitments_of(value)
        if commitments_N is None:
            return []  # a commitment is still on its way
        bandwidths = [commitment.body.bandwidth for commitment in commitments_N]
        ranges_N = tuple(partition(self._context.chunk_count, bandwidths))
        members = tuple(commitment.signer for commitment in commitments_N)
        roster_id = value_digest(value)
        self.plan = Plan(self.head.number, self.base, roster_id, commitments_N, ranges_N)
        self._learn_roster(now_s)
        reduce_s, close_s = self._pace.reduce.limit_s, self._pace.close.limit_s
        self._butterfly = Butterfly(self.plan, self._me, reduce_s, now_s)
        self._close = Agreement(
            Instance(self.head.number, self.base, "close"),
            ordered(members, self.head.state, self.head.number, "close-leader"),
            self._context.identity,
            self._context.swarm_id,
            now_s + 2 * reduce_s + close_s,
            close_s,
        )
        effects: list[Effect] = [OpenReduce(self.plan)]
        if self._me not in members:
            effects.append(Halt(self.base))
        effects += self._replay_into_close()
        self._move(Phase.REDUCE, now_s)
        return [*effects, *self._butterfly.start()]

    def _learn_roster(self, now_s: float) -> None:
        """Newcomers' commitments tell when they came, not how long the work takes."""
        delays_s = [delay for peer, delay in self._commit_delays_s.items() if peer in self.head.members]
        if not delays_s:
            return
        self._pace.learn_train(delays_s)
        if self._roster.view == 0 and self._expected() <= set(self.pool.commitments):
            self._pace.roster.learn(now_s - self._start_s - max(self._commit_delays_s.values()))

    # Reduce and close

    def _on_reduce_event(self, event: Event, now_s: float) -> list[Effect]:
        if self._butterfly is None or self.plan is None:
            return []
        match event:
            case PartArrived(_, part, sender):
                self._butterfly.on_part(part, sender)
            case SendFailed(_, part, to):
                return self._butterfly.on_send_failed(part, to)
            case Reduced(_, part, included, root):
                result = self._sign(
                    Result(
                        round=self.head.number,
                        base=self.base,
                        roster=self.plan.roster,
                        part=part,
                        included=included,
                        root=root,
                    )
                )
                return self._butterfly.on_reduced(part, result)
            case ResultFetched(_, result_id):
                self._butterfly.on_fetched(result_id)
            case ResultMissing(_, result_id):
                self._butterfly.on_missing(result_id, now_s)
        return []

    def _apply_complete(self, now_s: float) -> list[Effect]:
        """Do the outer step with the first complete set of results, and with any that is wanted."""
        if self._butterfly is None or self.plan is None:
            return []
        first = self._butterfly.complete()
        if first is not None and self.phase is Phase.REDUCE:
            if self._butterfly.undisturbed:
                self._pace.reduce.learn(now_s - self._phase_s)
            else:
                self._pace.reduce.missed()
            self._move(Phase.CLOSE, now_s)
        sets = [first, self._butterfly.select(self._proposed_results())]
        if self.outcome is not None:
            sets = [self._butterfly.select(self.outcome.head.results)]
        effects: list[Effect] = []
        for results in sets:
            ids = tuple(result.id for result in results or ())
            if results and ids not in self._applied and ids not in self._applying:
                self._applying.add(ids)
                effects.append(Apply(self.plan, results))
        return effects

    def _advance_close(self, now_s: float) -> list[Effect]:
        if self._close is None or self.outcome is not None:
            return []
        said = self._close.advance(now_s, self._make_head, self._head_acceptable)
        if self._close.decision is not None:
            head = decode_value(self._close.decision.value, Head)
            self.outcome = Certificate(head, self._close.decision.votes)
            calm = self._butterfly is not None and self._butterfly.undisturbed
            if calm and self._close.view == 0 and self.phase is Phase.CLOSE:
                self._pace.close.learn(now_s - self._phase_s)
        return [self._keep(record) for record in said]

    def _proposed_results(self) -> tuple[bytes, ...]:
        """The results that the current close proposal names."""
        value = self._close.proposed_value() if self._close else None
        if value is None:
            return ()
        try:
            return decode_value(value, Head).results
        except ValueError:
            return ()

    def _make_head(self) -> bytes | None:
        complete = self._butterfly.complete() if self._butterfly else None
        state = self._applied.get(tuple(result.id for result in complete)) if complete else None
        return encode_value(self._head_after(complete, state)) if complete and state else None

    def _head_after(self, results: tuple[Signed[Result], ...], state: bytes) -> Head:
        if self.plan is None:
            raise LocalProtocolError("a head before its plan")
        accepted = accepted_commitments(self.plan, results)
        return Head(
            number=self.head.number + 1,
            parent=self.base,
            branch=self.head.branch,
            founder=self.head.founder,
            since=self.head.since,
            marks=self.head.marks,
            state=state,
            members=self.plan.members,
            tokens=self.head.tokens + sum(commitment.body.tokens for commitment in accepted),
            results=tuple(result.id for result in results),
        )

    def _head_acceptable(self, value: bytes) -> bool:
        """We vote for a head that our own outer step, from the same results, leads to."""
        try:
            proposed = decode_value(value, Head)
        except ValueError:
            return False
        results = self._butterfly.select(proposed.results) if self._butterfly else None
        state = self._applied.get(proposed.results)
        if results is None or state is None:
            return False
        self.mismatch = state != proposed.state
        return encode_value(self._head_after(results, state)) == value

    # Records

    def _is_new(self, record: Signed[Any]) -> bool:
        return self.pool.add(record)

    def _on_record(self, record: Signed[Body], now_s: float) -> None:
        body = record.body
        if isinstance(body, Commitment):
            self._commit_delays_s.setdefault(record.signer, now_s - self._start_s)
            if body.start != self.head.state:
                raise RemoteProtocolError(record.signer, "bad-commitment", "starts from another state")
        elif isinstance(body, Result) and self._butterfly is not None:
            self._butterfly.on_result(_as_result(record))
        elif _step(record) == "roster":
            self._roster.on_record(record)
        elif _step(record) == "close" and self._close is not None:
            self._close.on_record(record)

    def _replay_into_close(self) -> list[Effect]:
        """Records that came before the roster was certified here."""
        effects: list[Effect] = []
        for record in list(self.pool.all()):
            try:
                if isinstance(record.body, Result) and self._butterfly is not None:
                    self._butterfly.on_result(_as_result(record))
                elif _step(record) == "close" and self._close is not None:
                    if record.signer == self._me:
                        self._close.restore([record])
                    else:
                        self._close.on_record(record)
            except RemoteProtocolError as error:
                effects.append(Blame(error.peer, error.reason, error.detail))
        return effects

    def _sign(self, body: Any) -> Signed[Any]:
        record = sign(self._context.identity, self._context.swarm_id, body)
        self.pool.add(record)
        return record

    def _publish(self, body: Body) -> Publish:
        return Publish(self._sign(body))

    def _keep(self, record: Signed[Body]) -> Publish:
        self.pool.add(record)
        return Publish(record)

    def _move(self, phase: Phase, now_s: float) -> None:
        if phase not in NEXT[self.phase]:
            raise LocalProtocolError(f"round {self.head.number}: {self.phase.value} -> {phase.value}")
        self.phase = phase
        self._phase_s = now_s


def accepted_commitments(plan: Plan, results: Iterable[Signed[Result]]) -> tuple[Signed[Commitment], ...]:
    """Whose whole work is in a round: members that every part includes."""
    included = set(range(len(plan.commitments_N)))
    for result in results:
        included &= set(result.body.included)
    return tuple(plan.commitments_N[place] for place in sorted(included))


def _step(record: Signed[Body]) -> Literal["roster", "close"] | None:
    body = record.body
    if isinstance(body, Proposal | Promise):
        return body.step
    if isinstance(body, Vote) and body.step != "found":
        return body.step
    return None


def _as_result(record: Signed[Body]) -> Signed[Result]:
    if not isinstance(record.body, Result):
        raise LocalProtocolError("not a result")
    return Signed(record.signer, record.body, record.signature, record.swarm_id)
