"""A member of a swarm: the chain of its rounds, catching up, and going on alone.

The member holds one certified head at a time and plays the round that follows it. A heavier head
that a peer can show is followed: by its results if it is one step ahead, else by fetching the
state. A member that has missed a quorum for the stall time founds a branch of its own, which
carries a mark; when the others come back, fork choice decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed
from training.chain import NOTHING, Certificate, found, heavier
from training.early import EarlyRecords
from training.events import (
    Adopt,
    AskPeer,
    Blame,
    CannotFollow,
    Effect,
    Event,
    FetchState,
    Finished,
    Halt,
    HeadOffered,
    Heard,
    RecordArrived,
    StateFetched,
    StateMissing,
    Stop,
    Tick,
)
from training.gathering import RoundContext
from training.messages import MAX_MEMBERS, Head, Leave, Proposal
from training.pace import Pace
from training.pool import RecordPool
from training.round import Phase, Round
from training.stall import Stall
from training.sync import HOLDS_NOTHING, Held, open_sync_request, sync_reply, sync_request

ASK_PAUSE_S = 0.25
"""Shortest time between two questions to one peer. A guess: a few round trips."""
MAX_ASKED = 1024
FETCH_PAUSE_S = 1.0
MAX_FETCH_PAUSE_S = 60.0
MAX_FAILED = 64
"""A head that anybody can make up must cost no more than a question now and then. Guesses."""
MAX_SAID = 16
"""Rounds whose own records are kept at hand: one that was left may be come back to."""
OUTDATED = 3
"""Rounds after which others no longer hold a state: `library.STATES_KEPT`."""
FOLLOW_LIMIT = 4
"""Reduce deadlines that following by results may take before the state is fetched. A guess."""


class Member:
    """The synchronous core of a node: events in, effects out.

    Args:
        context: identity, terms and sizes.
        now_s: the caller's clock, which only has to rise.
    """

    def __init__(self, context: RoundContext, now_s: float) -> None:
        self.context = context
        self.pace = Pace(context.terms.round)
        self.certificate: Certificate | None = None
        self.round: Round | None = None
        self.target: Certificate | None = None
        """The head whose state is being fetched."""
        self.stopping = False
        self.finished = False
        self._stop_by_s = math.inf
        self._me = context.identity.peer_id
        self._previous: RecordPool | None = None
        self._early = EarlyRecords()
        self._said: dict[bytes, list[Signed[Body]]] = {}
        self._stall = Stall(self._me, now_s)
        self._arrived: dict[str, bytes] = {}
        """Which last head each peer said it holds."""
        self._asked_s: dict[str, float] = {}
        self._adopted_s = now_s
        self._outcome_s: float | None = None
        self._wanting: dict[bytes, tuple[str, ...]] = {}
        """The head that was left for want of a quorum, and whose: that of its electors, or of a certified
        roster that could not be closed."""
        self._failed: dict[bytes, tuple[float, float]] = {}
        """Heads whose state nobody had: when to try again, and the pause after that."""

    # Beginnings

    def remember(self, own: Iterable[Signed[Body]]) -> None:
        """Be bound by what was said before a restart, in whichever round it was said."""
        for record in own:
            self._said.setdefault(base_of(record), []).append(record)

    def resume(self, certificate: Certificate, own: Iterable[Signed[Body]], now_s: float) -> list[Effect]:
        """Go on from a stored head.

        Args:
            certificate: the newest one on disk; the node may have been further.
            own: all own records on disk.
            now_s: the caller's clock.
        """
        self.remember(own)
        return self._finish_if_done(self._begin_round(certificate, now_s), now_s)

    def gone(self, base: bytes) -> set[str] | None:
        """Who said in the round on this head that it goes; None unless that is the round before."""
        if self._previous is None or self._previous.base != base:
            return None
        return {record.signer for record in self._previous.of(Leave)}

    # Events

    def on(self, event: Event, now_s: float) -> list[Effect]:
        """Take in one event; a peer's fault comes back as `Blame`, never as an exception."""
        try:
            effects = self._on(event, now_s)
        except RemoteProtocolError as error:
            effects = [Blame(error.peer, error.reason, error.detail)]
        effects += self._follow_outcome(now_s)
        effects += self._go_on_alone(now_s)
        effects += self._leave_if_due(now_s)
        return self._finish_if_done(effects, now_s)

    def _on(self, event: Event, now_s: float) -> list[Effect]:
        match event:
            case RecordArrived(_, sender):
                self._hear(sender, now_s)
                return self._on_record(event, sender, now_s)
            case Heard(peer):
                self._hear(peer, now_s)
                return []
            case HeadOffered(certificate):
                return self._on_head(certificate, now_s)
            case StateFetched(head_id):
                return self._on_state(head_id, now_s)
            case StateMissing(head_id):
                self._on_missing(head_id, now_s)
                return []
            case Stop():
                return self._on_stop(now_s)
            case Tick():
                return self.round.advance(now_s) if self.round else []
        if self.round is not None and event.base == self.round.base:
            return self.round.on(event, now_s)
        return []

    def _on_record(self, event: RecordArrived, sender: str, now_s: float) -> list[Effect]:
        base = base_of(event.record)
        if self.round is not None and base == self.round.base:
            if event.record not in self.round.pool:
                self._hear(event.record.signer, now_s)  # an old word, repeated, is no sign of life
            effects = self.round.on(event, now_s)
            if isinstance(event.record.body, Proposal) and self.round.lacks_records:
                effects += self._ask(event.record.signer, now_s)
            return effects
        if self._previous is not None and base == self._previous.base:
            self._previous.add(event.record)
            return []
        self._early.add(base, event)
        return self._ask(sender, now_s)

    def _on_head(self, certificate: Certificate, now_s: float) -> list[Effect]:
        if self.certificate is not None and not heavier(certificate.head, self.certificate.head):
            return []
        if self._leads_back(certificate, now_s):
            return []
        if self.round is not None and certificate.head.parent == self.round.base:
            return self.round.follow(certificate, now_s)
        if self.target is not None and certificate.head.number < self.target.head.number + OUTDATED:
            return []  # one state at a time: the newest head runs away from whoever fetches slowly
        return self._fetch(certificate, now_s)

    def _leads_back(self, certificate: Certificate, now_s: float) -> bool:
        """Whether this is the head that was left for want of a quorum, which is still wanting."""
        if self.certificate is None or self.certificate.head.parent != certificate.id:
            return False
        wanted = self._wanting.get(certificate.id, certificate.head.electors)
        return not self._stall.has_quorum(wanted, now_s, self.pace)

    def _fetch(self, certificate: Certificate, now_s: float) -> list[Effect]:
        """Get a head's state beside the own round, which goes on: perhaps nobody has that state."""
        if now_s < self._failed.get(certificate.id, (0.0, 0.0))[0]:
            return []
        self.target = certificate
        return [FetchState(certificate)]

    def _on_missing(self, head_id: bytes, now_s: float) -> None:
        if self.target is None or self.target.id != head_id:
            return
        self.target = None
        _, pause_s = self._failed.pop(head_id, (0.0, FETCH_PAUSE_S))
        if len(self._failed) >= MAX_FAILED:
            del self._failed[next(iter(self._failed))]
        self._failed[head_id] = (now_s + pause_s, min(2 * pause_s, MAX_FETCH_PAUSE_S))

    def _on_state(self, head_id: bytes, now_s: float) -> list[Effect]:
        if self.target is None or self.target.id != head_id:
            return []
        if self.context.in_force.missing(self.target.head.amendments):
            self._on_missing(head_id, now_s)
            return []
        outcome = self.round.outcome if self.round else None
        if self.round is not None and outcome is not None and outcome.id == head_id and self.round.arrived:
            self.target = None  # our own step leads there, only its amendments were not here
            return []
        halt: list[Effect] = [Halt(self.round.base)] if self.round else []
        return [*halt, *self._adopt(Adopt(self.target, ()), now_s)]

    def _on_stop(self, now_s: float) -> list[Effect]:
        if not self.stopping:
            self.stopping = True
            self._stop_by_s = now_s + FOLLOW_LIMIT * self.pace.reduce.limit_s + self.pace.close.limit_s
        return []

    def _leave_if_due(self, now_s: float) -> list[Effect]:
        """Leave between two rounds: now if the others can go on without our part, or if they are gone."""
        if not self.stopping or self.finished:
            return []
        if self.round is None:
            self.finished = True
            return [Finished("stopped between rounds")]
        between = self.round.phase is Phase.TRAIN
        hopeless = self.round.phase is Phase.COMMIT and not self.round.is_ripe
        if not (between or hopeless or now_s >= self._stop_by_s):
            return []
        self.finished = True
        why = "stopped between rounds" if between else "left a round that does not end"
        return [*self.round.leave(), Finished(why)]

    # Chain

    def _adopt(self, outcome: Adopt, now_s: float) -> list[Effect]:
        return [outcome, *self._begin_round(outcome.certificate, now_s)]

    def _begin_round(self, certificate: Certificate, now_s: float) -> list[Effect]:
        self._previous = self.round.pool if self.round else None
        self._remember_round()
        self._stall.begin(now_s)
        self._stall.forget(now_s, self.pace)
        self._asked_s.clear()
        self.certificate = certificate
        self._adopted_s = now_s
        self._outcome_s = None
        self.round = None
        if self.target is not None and not heavier(self.target.head, certificate.head):
            self.target = None
        fault = self.context.in_force.stand_on(certificate.head.amendments, certificate.head.number)
        if fault:
            self.finished = True
            return [CannotFollow(fault)]
        self.pace.settle(self.context.terms.round)
        if certificate.head.number >= self.context.terms.round.rounds:
            return [AskPeer(peer) for peer in sorted(self._company(certificate, now_s))]
        self.round = Round(self.context, certificate.head, self.pace, now_s)
        effects = self.round.restore(self._said.pop(self.round.base, ()), now_s)
        if self.stopping:
            return effects
        effects += self.round.start()
        for event in self._early.take(self.round.base):
            effects += self._on_early(event, now_s)
        return effects

    def _remember_round(self) -> None:
        """Who goes on alone may come back to the head it left, and is still bound by its word."""
        if self.round is None:
            return
        own = [record for record in self.round.pool.all() if record.signer == self._me]
        self._said[self.round.base] = own
        while len(self._said) > MAX_SAID:
            del self._said[next(iter(self._said))]

    def _on_early(self, event: RecordArrived, now_s: float) -> list[Effect]:
        if self.round is None:
            return []
        try:
            return self.round.on(event, now_s)
        except RemoteProtocolError as error:
            return [Blame(error.peer, error.reason, error.detail)]

    def _follow_outcome(self, now_s: float) -> list[Effect]:
        """Adopt the round's outcome, or fetch its state if our own step does not lead there.

        What it has adopted must be here: a node that lacks it could not tell by which terms to go on.
        """
        if self.round is None:
            return []
        outcome = self.round.outcome
        if outcome is not None and self.context.in_force.missing(outcome.head.amendments):
            return [] if self.target else self._fetch(outcome, now_s)
        if outcome is not None and self.round.arrived and self.round.closing is not None:
            return self._adopt(self.round.closing.adopt(outcome), now_s)
        known = self.round.outcome or self.round.shown
        if known is None:
            return []
        if self._outcome_s is None:
            self._outcome_s = now_s
        if self.target is None and now_s >= self._outcome_s + FOLLOW_LIMIT * self.pace.reduce.limit_s:
            return self._fetch(known, now_s)
        return []

    def _go_on_alone(self, now_s: float) -> list[Effect]:
        """Without a quorum for the stall time: a branch of one."""
        if self.round is None or self.target is not None or self.stopping:
            return []
        if not self._stall.is_long(now_s, self.pace):
            return []
        round_, head = self.round, self.round.head
        if not self._stall.is_over(
            head, round_.electors, round_.candidates, round_.is_ripe, now_s, self.pace
        ):
            return []
        self._wanting = {head.id: round_.electors}
        alone = found(self.context.identity, self.context.swarm_id, head, b"")
        return [Halt(round_.base), *self._adopt(Adopt(alone, ()), now_s)]

    def _finish_if_done(self, effects: list[Effect], now_s: float) -> list[Effect]:
        if self.round is not None or self.certificate is None or self.finished or self.target is not None:
            return effects
        if self._waits_for_others(self.certificate, now_s):
            return effects
        self.finished = True
        return [*effects, Finished("all rounds are done")]

    def _waits_for_others(self, last: Certificate, now_s: float) -> bool:
        """Whether a member of the last round may still need us to finish it, or to hear that we have."""
        waited_s = now_s - self._adopted_s
        lagging = any(self._arrived.get(peer) != last.id for peer in self._company(last, now_s))
        enough_s = self.pace.stall_s if lagging else self.pace.reduce.limit_s + self.pace.close.limit_s
        return waited_s < enough_s

    def _company(self, last: Certificate, now_s: float) -> set[str]:
        """Who played the last round, or would have liked to."""
        return (set(last.head.members) | self._stall.heard(now_s, self.pace)) - {self._me}

    # Exchange with a neighbour

    def sync_request(self) -> bytes:
        """What to ask a neighbour."""
        head = self.certificate.head if self.certificate else None
        return sync_request(head, self.round.pool if self.round else None)

    def on_sync_request(
        self, wire: bytes, sender: str, now_s: float, held: Held = HOLDS_NOTHING
    ) -> tuple[bytes, list[Effect]]:
        """Answer a neighbour.

        Args:
            wire: its question.
            sender: the neighbour.
            now_s: the caller's clock.
            held: what the caller holds beside the rounds.

        Raises:
            RemoteProtocolError: the request is malformed.
        """
        request = open_sync_request(wire, sender)
        self._hear(sender, now_s)
        if request.number >= self.context.terms.round.rounds and len(self._arrived) < 4 * MAX_MEMBERS:
            self._arrived[sender] = request.head
        mine = self.certificate
        theirs = (request.tokens, request.number)
        ours = (mine.head.tokens, mine.head.number) if mine else (-1, -1)
        shown = mine.wire if mine is not None and mine.id != request.head and ours >= theirs else None
        pools = [self.round.pool if self.round else None, self._previous]
        reply = sync_reply(request, shown, [pool for pool in pools if pool is not None], held)
        knows_more = request.head != NOTHING and theirs > ours
        return reply, self._ask(sender, now_s) if knows_more else []

    def said_by(self, peer: str) -> list[Signed[Body]]:
        """What a peer has said in this round and the one before."""
        pools = [self.round.pool if self.round else None, self._previous]
        return [record for pool in pools if pool for record in pool.all() if record.signer == peer]

    def _hear(self, peer: str, now_s: float) -> None:
        if self.round is None or peer in self.context.excluded:
            return  # who is out for good can't help a quorum, however alive it is
        if peer in self.round.electors or self.round.pool.knows(peer):
            self._stall.hear(peer, now_s)

    def _ask(self, peer: str, now_s: float) -> list[Effect]:
        """Ask a peer soon, but not over and over."""
        if not peer or now_s - self._asked_s.get(peer, -ASK_PAUSE_S) < ASK_PAUSE_S:
            return []
        if len(self._asked_s) >= MAX_ASKED:
            self._asked_s.clear()
        self._asked_s[peer] = now_s
        return [AskPeer(peer)]


def base_of(record: Signed[Body]) -> bytes:
    """The head that a record builds on; every kind of `messages.KINDS` names one."""
    base: bytes = record.body.base  # type: ignore[attr-defined]
    return base


def describe(head: Head) -> str:
    """One line for logs."""
    mark = f", marked {head.marks}x" if head.marks else ""
    return f"round {head.number}, state {head.state.hex()[:12]}, {len(head.members)} members{mark}"
