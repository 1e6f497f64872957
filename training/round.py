"""One round, from a head to the next: the phase machine of a single node.

TRAIN    local work from the head's state
COMMIT   own commitment is out; the round's leader collects those of the others
ROSTER   a list of commitments is proposed and voted on
REDUCE   the butterfly runs over the certified roster
CLOSE    the outer step is done; the new state's digest is voted on
DONE     a majority stands behind the next head, and this node holds its state

A node that misses the roster follows the round without a voice: it collects the results, does the
same outer step and arrives at the same state. See `gathering` and `closing` for the two halves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum

from dhtnode.errors import LocalProtocolError
from dhtnode.records import Body, Signed, sign
from training.chain import Certificate
from training.closing import Closing, concerns
from training.events import Effect, Event, Halt, OpenReduce, Publish, RecordArrived, Train, Trained
from training.gathering import Gathering, RoundContext
from training.messages import Commitment, Head, Leave, Ready
from training.pace import Pace
from training.pool import RecordPool


class Phase(Enum):
    TRAIN = "train"
    COMMIT = "commit"
    ROSTER = "roster"
    REDUCE = "reduce"
    CLOSE = "close"
    DONE = "done"


NEXT: dict[Phase, set[Phase]] = {
    Phase.TRAIN: {Phase.COMMIT, Phase.REDUCE},
    Phase.COMMIT: {Phase.ROSTER, Phase.REDUCE},
    Phase.ROSTER: {Phase.REDUCE},
    Phase.REDUCE: {Phase.CLOSE, Phase.DONE},
    Phase.CLOSE: {Phase.DONE, Phase.REDUCE},
    Phase.DONE: set(),
}
"""Legal transitions: phases are skipped when a round is followed. One is taken back only where dishonest
electors had two rosters decided."""
BANNED = "banned: following the others without work until the ban is over"


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
        self.pool = RecordPool(self.base, head.members)
        self.phase = Phase.TRAIN
        self.outcome: Certificate | None = None
        """How the round closed, as far as this node knows."""
        self.shown: Certificate | None = None
        """How it closed as another node shows it: believed when its voters are the certified roster."""
        self.closing: Closing | None = None
        self._context = context
        self._me = context.identity.peer_id
        self._is_idle = False
        """Whether this node has no work in this round so far, because it is banned."""
        self._pace = pace
        self._phase_s = now_s
        self._gathering = Gathering(context, head, self.pool, pace, now_s)

    def start(self) -> list[Effect]:
        """Begin local work, unless it was done before a restart; or wait, while nobody would take it in."""
        self._is_idle = not self._gathering.committed and self._is_shut_out
        if self._gathering.committed or self._is_idle:
            return []
        ready = Ready(round=self.head.number, base=self.base)
        effects: list[Effect] = [] if self._is_member else [self._publish(ready)]
        steps = self._pace.steps(self._context.terms.inner.steps_at(self.head.number))
        return [*effects, Train(self.head, steps, self._pace.budget_s)]

    @property
    def _is_member(self) -> bool:
        return self._me in self.head.members

    @property
    def _is_shut_out(self) -> bool:
        """Whether this node is banned, as far as it knows. Who is still a member goes on for this round."""
        return not self._is_member and self._context.is_out(self._me)

    def restore(self, own: Iterable[Signed[Body]], now_s: float) -> list[Effect]:
        """Take back own records of this round after a restart, before anything else."""
        for record in own:
            if self.pool.add(record) and isinstance(record.body, Commitment):
                self._gathering.committed = True
                self._move(Phase.COMMIT, now_s)
        self._gathering.agreement.restore(record for record in self.pool.all() if concerns(record, "roster"))
        return self.advance(now_s)

    def leave(self) -> list[Effect]:
        """Tell the others not to wait for us."""
        return [Halt(self.base), self._publish(Leave(round=self.head.number, base=self.base))]

    @property
    def electors(self) -> tuple[str, ...]:
        """Whose votes the round needs now."""
        return (self.closing or self._gathering).agreement.electors

    @property
    def candidates(self) -> set[str]:
        """All that play this round, as far as is known, and this node."""
        return self._gathering.expected | set(self.pool.commitments) | {self._me}

    @property
    def is_ripe(self) -> bool:
        """Whether the work of a majority is here: from now on only agreement is missing."""
        return self._gathering.is_ripe

    @property
    def lacks_records(self) -> bool:
        """Whether the value on the table names records that are not here: its leader has them."""
        return self.closing.lacks_records if self.closing else self._gathering.lacks_records

    def reason(self, now_s: float) -> str:
        """Why the round is where it is, for `status`."""
        if self.closing is None:
            return BANNED if self._is_idle else self._gathering.reason(now_s)
        follows = "" if self._me in self.closing.plan.members else " (following: this node missed the roster)"
        if self.phase is Phase.REDUCE:
            return f"reducing: {self.closing.butterfly.progress()}{follows}"
        if self.closing.mismatch:
            return "own outer step differs from the proposed one: fetching the quorum's state"
        return f"closing: {self.closing.agreement.progress()}{follows}"

    def left_s(self, now_s: float) -> float | None:
        """Seconds until the commitments' deadline; None beyond it or without one."""
        left_s = self._gathering.deadline_s() - now_s
        return left_s if self.closing is None and 0 <= left_s < math.inf else None

    def on(self, event: Event, now_s: float) -> list[Effect]:
        """Take in one event.

        Raises:
            RemoteProtocolError: a peer broke the protocol.
        """
        effects: list[Effect] = []
        match event:
            case RecordArrived(record):
                if self.pool.add(record):
                    self._on_record(record, now_s)
            case Trained(_, work):
                if self.closing is None and not self._gathering.committed:
                    self._move(Phase.COMMIT, now_s)
                    effects.append(self._keep(self._gathering.commit(work, now_s)))
            case _:
                effects += self.closing.on(event, now_s) if self.closing else []
        return effects + self.advance(now_s)

    def follow(self, certificate: Certificate, now_s: float) -> list[Effect]:
        """Another node shows how this round closed: get there by the results."""
        if certificate.head.parent == self.base and certificate.head.results:
            self.shown = certificate
        return self.advance(now_s)

    @property
    def arrived(self) -> bool:
        """Whether this node holds the outcome's state by its own outer step."""
        return (
            self.outcome is not None and self.closing is not None and self.closing.reached(self.outcome.head)
        )

    def advance(self, now_s: float) -> list[Effect]:
        """Do whatever time and what is known allow."""
        effects = self.start() if self._is_idle and self.closing is None else []
        effects += [self._keep(record) for record in self._gathering.advance(now_s)]
        if self.phase is Phase.COMMIT and self._gathering.agreement.has_proposal:
            self._move(Phase.ROSTER, now_s)
        if self.outcome is None:
            effects += self._begin_closing(now_s)
        if self.closing is not None:
            effects += self._advance_closing(self.closing, now_s)
        if self.arrived and self.phase is not Phase.DONE:
            self._move(Phase.DONE, now_s)
        return effects

    def _begin_closing(self, now_s: float) -> list[Effect]:
        plan = self._gathering.plan(now_s, but=self.closing.plan.roster if self.closing else None)
        if plan is None:
            return []
        if self.closing is None:
            if self._gathering.undisturbed:
                self._pace.roster.learn(self._gathering.since_last_commitment_s(now_s))
            elif self._gathering.was_cut_short:
                self._pace.roster.missed()
            self._pace.noted(self._me in plan.members)
        self.closing = Closing(self._context, self.head, self.pool, plan, self._pace, now_s)
        if self.phase is not Phase.REDUCE:
            self._move(Phase.REDUCE, now_s)
        halt: list[Effect] = [] if self._me in plan.members else [Halt(self.base)]
        return [*halt, OpenReduce(plan), *self.closing.start()]

    def _advance_closing(self, closing: Closing, now_s: float) -> list[Effect]:
        if self.outcome is None and self.shown is not None and closing.leads_to(self.shown.head):
            self.outcome = self.shown
        effects = closing.advance(self.outcome, now_s)
        if closing.complete and self.phase is Phase.REDUCE:
            if closing.butterfly.undisturbed:
                self._pace.reduce.learn(now_s - self._phase_s)
            else:
                self._pace.reduce.missed()
            self._move(Phase.CLOSE, now_s)
        if self.outcome is None:
            effects += [self._keep(record) for record in closing.vote(now_s)]
            self.outcome = closing.outcome()
            calm = closing.butterfly.undisturbed and closing.agreement.view == 0
            if self.outcome is not None and calm and self.phase is Phase.CLOSE:
                self._pace.close.learn(now_s - self._phase_s)
        return effects

    def _on_record(self, record: Signed[Body], now_s: float) -> None:
        if isinstance(record.body, Commitment):
            self._gathering.on_commitment(record.signer, record.body, now_s)
        elif concerns(record, "roster"):
            self._gathering.agreement.on_record(record)
        elif self.closing is not None:
            self.closing.on_record(record)

    def _publish(self, body: Body) -> Publish:
        return self._keep(sign(self._context.identity, self._context.swarm_id, body))

    def _keep(self, record: Signed[Body]) -> Publish:
        self.pool.add(record)
        return Publish(record)

    def _move(self, phase: Phase, now_s: float) -> None:
        if phase not in NEXT[self.phase]:
            raise LocalProtocolError(f"round {self.head.number}: {self.phase.value} -> {phase.value}")
        self.phase = phase
        self._phase_s = now_s
