"""Agreement on one value among known electors, over a network that loses and delays.

Single-decree Paxos with a fixed leader for each view, in signed records:

view 0     the leader proposes freely; electors vote; a majority of equal votes decides.
view v>0   electors that lost patience promise to leave all views below v and tell what they last
           voted for. The leader of v shows a majority of such promises and must propose the value
           of the highest vote among them; if there is none it is free.

Any two majorities share an elector, so a decided value is found again by every later leader: two
different values are never decided while electors keep their word. An elector that does not has
signed the proof: two votes in one view, or a vote below a view that its promise had left. Both its votes
count, so that all who hear them come to the same: of two decided values the one of the lower view, then of
the smaller digest. A leader
believes a promise's vote only where it knows the proposal: an invented one binds nobody. Neither does
a vote whose value no majority can have voted for: one member that alone votes for what nobody else
can check would otherwise bind every later leader, and the round would never end.

A value may hold opinions in which honest electors differ (`arguable`). What few electors like must not be
decided because the others had to vote for it, and what may have been decided must not be refused for
ever because one of those who liked it has died. So in a later view nobody hurries with such a value: the
leader waits for promises that set it free, and an elector that does not like it votes for it only after
half of the view's time, if by all that it has heard until then the value may have been decided. Then
somebody honest has voted for it, or more are silent and false than a majority can bear.

The clock of a view v>0 starts when a majority has come to it. So a minority waits in one view for
as long as it is cut off, and is found there when the others are back.

Own records are what an elector remembers: the shell stores each one durably before it is sent,
and `restore` brings them back after a crash.

Source: Lamport, "Paxos Made Simple" (2001), section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed, open_record, sign
from training.messages import MAX_VIEW, Promise, Proposal, Vote, value_digest
from training.roster import quorum

AnyBody = TypeVar("AnyBody", bound=Body)

MAX_BACKOFF = 5
"""Time-outs double up to 2^5: patience grows, but never beyond what a user would wait."""


@dataclass(frozen=True)
class Instance:
    """What is being agreed on: one step of one round on one chain."""

    round: int
    base: bytes
    step: Literal["roster", "close"]
    roster: bytes | None = None
    """Digest of the roster whose round is closed."""


@dataclass(frozen=True)
class Decision:
    """A value and the votes of a majority, all cast in one view."""

    view: int
    value: bytes
    digest: bytes
    votes: tuple[Signed[Vote], ...]


class Agreement:
    """One elector's side of it. A node that is no elector follows along without a voice.

    Args:
        instance: what is agreed on.
        electors: who votes, in leader order: view v is led by electors[v mod n].
        identity: own key; also decides whether we are an elector.
        swarm_id: signature domain.
        deadline_s: when patience with view 0 ends, on the caller's clock.
        patience_s: length of view 1; doubles with each further view.
    """

    def __init__(
        self,
        instance: Instance,
        electors: tuple[str, ...],
        identity: Identity,
        swarm_id: bytes,
        deadline_s: float,
        patience_s: float,
    ) -> None:
        self.instance = instance
        self.electors = electors
        self.decision: Decision | None = None
        self.view = 0
        self.deadline_s = deadline_s
        self._patience_s = patience_s
        self._identity = identity
        self._swarm_id = swarm_id
        self._heard_by_s = math.inf
        """When whoever lives has been heard in this view: half of its time is over."""
        self._clocked_view = 0
        """The newest own view whose clock runs or ran."""
        self._last_vote: Signed[Vote] | None = None
        self._proposals: dict[int, Signed[Proposal]] = {}
        self._values: dict[bytes, bytes] = {}
        self._proposed: set[tuple[int, bytes]] = set()
        """View and digest of every value that a leader has signed, both where there are two."""
        self._votes: dict[tuple[int, bytes], dict[str, Signed[Vote]]] = {}
        self._voted_in: dict[tuple[int, str], bytes] = {}
        self._promises: dict[int, dict[str, Signed[Promise]]] = {}
        self._view_of: dict[str, int] = {}
        """Highest view that each elector has promised to be in."""

    @property
    def is_elector(self) -> bool:
        return self._identity.peer_id in self.electors

    def leader(self, view: int) -> str:
        return self.electors[view % len(self.electors)]

    @property
    def has_proposal(self) -> bool:
        return bool(self._proposals)

    @property
    def has_first_proposal(self) -> bool:
        """Whether the leader of view 0 has proposed."""
        return 0 in self._proposals

    def proposed_value(self) -> bytes | None:
        """The value on the table in the current view."""
        proposal = self._proposals.get(self.view)
        return proposal.body.value if proposal else None

    def progress(self) -> str:
        """One line for `status`: how far the current view has come."""
        best = max((len(votes) for (view, _), votes in self._votes.items() if view == self.view), default=0)
        return f"{best} of {len(self.electors)} votes, need {quorum(self.electors)}"

    def restore(self, own: Iterable[Signed[Body]]) -> None:
        """Take back what we had signed for this instance before a crash."""
        for record in own:
            if not self._is_of_this(record.body):
                continue  # of another roster's close
            self.on_record(record)
            if isinstance(record.body, Vote):
                if self._last_vote is None or record.body.view > self._last_vote.body.view:
                    self._last_vote = cast("Signed[Vote]", record)
                self.view = max(self.view, record.body.view)
            elif isinstance(record.body, Promise):
                self.view = max(self.view, record.body.view)

    def on_record(self, record: Signed[Body]) -> None:
        """Take in a verified record of this instance.

        Raises:
            RemoteProtocolError: the signer broke the protocol in a way that its record proves.
        """
        if record.signer not in self.electors:
            return  # perhaps it lags behind; a stranger's vote is no offence, and no vote either
        body = record.body
        if not isinstance(body, Proposal | Vote | Promise) or body.roster != self.instance.roster:
            return  # of another roster's close: where two are decided, its signer may well be honest
        if not self._is_of_this(body):
            raise RemoteProtocolError(record.signer, "wrong-round", f"{body.KIND} of round {body.round}")
        if isinstance(body, Proposal):
            self._on_proposal(cast("Signed[Proposal]", record))
        elif isinstance(body, Vote):
            self._on_vote(cast("Signed[Vote]", record))
        elif isinstance(body, Promise):
            self._on_promise(cast("Signed[Promise]", record))

    def advance(
        self,
        now_s: float,
        make_value: Callable[[], bytes | None],
        acceptable: Callable[[bytes], bool],
        arguable: Callable[[bytes], bool] = lambda value: False,
    ) -> list[Signed[Body]]:
        """Do whatever can be done now.

        Args:
            now_s: the caller's clock.
            make_value: the value this node would propose, or None while it is not ready.
            acceptable: whether this node can vote for a value now.
            arguable: whether a value is sound, but holds opinions that not all honest electors share.

        Returns:
            Own records to store and send, in this order.
        """
        if self.decision is not None or not self.is_elector:
            return []
        said = self._keep_pace(now_s)
        said += self._lead(now_s, make_value, acceptable, arguable)
        said += self._vote(now_s, acceptable, arguable)
        return said

    def _is_of_this(self, body: Body) -> bool:
        if not isinstance(body, Proposal | Vote | Promise):
            return False
        instance = self.instance
        said = (body.round, body.base, body.step, body.roster)
        return said == (instance.round, instance.base, instance.step, instance.roster)

    def _on_proposal(self, record: Signed[Proposal]) -> None:
        body = record.body
        if record.signer != self.leader(body.view):
            raise RemoteProtocolError(record.signer, "not-the-leader", f"view {body.view}")
        voted = value_digest(body.value)
        self._values[voted] = body.value
        self._proposed.add((body.view, voted))
        known = self._proposals.get(body.view)
        if known is not None:
            self._decide()
            if known.body.value != body.value:
                raise RemoteProtocolError(record.signer, "equivocation", f"two proposals in view {body.view}")
            return
        if body.view > 0:
            self._check_justified(record)
        self._proposals[body.view] = record
        self._decide()

    def _check_justified(self, record: Signed[Proposal]) -> None:
        """A later view's value must follow from a majority's promises."""
        body = record.body
        promises: dict[str, Signed[Promise]] = {}
        for wire in body.promises:
            promise = open_record(wire, self._swarm_id, {Promise.KIND: Promise}, record.signer)
            if not self._is_of_this(promise.body) or promise.body.view != body.view:
                raise RemoteProtocolError(record.signer, "bad-justification", "promise of another view")
            if not _is_possible(promise.body):
                raise RemoteProtocolError(record.signer, "bad-justification", "promise of a later vote")
            if promise.signer in self.electors:
                promises[promise.signer] = promise
        if len(promises) < quorum(self.electors):
            raise RemoteProtocolError(record.signer, "bad-justification", f"{len(promises)} promises")
        bound = _bound_value(promises.values(), self.electors)
        if bound is not None and bound != value_digest(body.value):
            raise RemoteProtocolError(record.signer, "bad-justification", "another value was voted for")
        for promise in promises.values():
            self._on_promise(promise)

    def _on_promise(self, record: Signed[Promise]) -> None:
        body = record.body
        if not _is_possible(body):
            raise RemoteProtocolError(
                record.signer, "bad-promise", f"view {body.view} after {body.voted_view}"
            )
        self._promises.setdefault(body.view, {}).setdefault(record.signer, record)
        self._view_of[record.signer] = max(body.view, self._view_of.get(record.signer, 0))

    def _on_vote(self, record: Signed[Vote]) -> None:
        body = record.body
        self._votes.setdefault((body.view, body.value), {})[record.signer] = record
        self._decide()
        earlier = self._voted_in.setdefault((body.view, record.signer), body.value)
        if earlier != body.value:
            raise RemoteProtocolError(record.signer, "equivocation", f"two votes in view {body.view}")

    def _decide(self) -> None:
        for (view, voted), votes in self._votes.items():
            if len(votes) < quorum(self.electors) or voted not in self._values:
                continue
            if self.decision is None or (view, voted) < (self.decision.view, self.decision.digest):
                signed = tuple(votes[peer] for peer in sorted(votes))
                self.decision = Decision(view, self._values[voted], voted, signed)

    def _keep_pace(self, now_s: float) -> list[Signed[Body]]:
        """Leave the view when its time is up, or when more than a third have left it."""
        if self._clocked_view < self.view and self._count_from(self.view) >= quorum(self.electors):
            self._clocked_view = self.view
            length_s = self._patience_s * 2 ** min(self.view - 1, MAX_BACKOFF)
            self.deadline_s, self._heard_by_s = now_s + length_s, now_s + length_s / 2
        others = (view for view in self._view_of.values() if view > self.view)
        target = max((view for view in others if self._count_from(view) > len(self.electors) // 3), default=0)
        if not target and self._clocked_view == self.view and now_s >= self.deadline_s:
            target = min(self.view + 1, MAX_VIEW)
        if target <= self.view:
            return []
        self.view, self._heard_by_s = target, math.inf
        last = self._last_vote.body if self._last_vote else None
        return [
            self._say(
                Promise(
                    round=self.instance.round,
                    base=self.instance.base,
                    step=self.instance.step,
                    roster=self.instance.roster,
                    view=target,
                    voted_view=last.view if last else None,
                    voted=last.value if last else None,
                )
            )
        ]

    def _count_from(self, view: int) -> int:
        """Electors that are in a view or beyond it."""
        return sum(reached >= view for reached in self._view_of.values())

    def _lead(
        self,
        now_s: float,
        make_value: Callable[[], bytes | None],
        acceptable: Callable[[bytes], bool],
        arguable: Callable[[bytes], bool],
    ) -> list[Signed[Body]]:
        if self.leader(self.view) != self._identity.peer_id or self.view in self._proposals:
            return []
        promises = self._believed
        if self.view > 0 and len(promises) < quorum(self.electors):
            return []
        bound = _bound_value(promises.values(), self.electors)
        value = self._values.get(bound) if bound is not None else make_value()
        if value is None:
            return []
        if bound is not None and len(promises) < len(self.electors):
            ready = now_s >= self._heard_by_s if arguable(value) else acceptable(value)
            if not ready:
                return []  # perhaps it becomes so, perhaps one more promise sets us free
        return [
            self._say(
                Proposal(
                    round=self.instance.round,
                    base=self.instance.base,
                    step=self.instance.step,
                    roster=self.instance.roster,
                    view=self.view,
                    value=value,
                    promises=tuple(promises[peer].wire for peer in sorted(promises)),
                )
            )
        ]

    @property
    def _believed(self) -> dict[str, Signed[Promise]]:
        """Promises of this view, less those that claim a vote for what nobody has proposed."""
        return {
            peer: promise
            for peer, promise in self._promises.get(self.view, {}).items()
            if promise.body.voted is None or (promise.body.voted_view, promise.body.voted) in self._proposed
        }

    def _vote(
        self, now_s: float, acceptable: Callable[[bytes], bool], arguable: Callable[[bytes], bool]
    ) -> list[Signed[Body]]:
        proposal = self._proposals.get(self.view)
        if proposal is None or (self.view, self._identity.peer_id) in self._voted_in:
            return []
        value = proposal.body.value
        bound = now_s >= self._heard_by_s and arguable(value) and self._may_be_decided(value)
        if not bound and not acceptable(value):
            return []
        vote = self._say(
            Vote(
                round=self.instance.round,
                base=self.instance.base,
                step=self.instance.step,
                roster=self.instance.roster,
                view=self.view,
                value=value_digest(value),
            )
        )
        self._last_vote = vote
        return [vote]

    def _may_be_decided(self, value: bytes) -> bool:
        """Whether that can have happened in an earlier view, by all that is known here."""
        return _bound_value(self._believed.values(), self.electors) == value_digest(value)

    def _say(self, body: AnyBody) -> Signed[AnyBody]:
        record = sign(self._identity, self._swarm_id, body)
        self.on_record(record)
        return record


def _is_possible(body: Promise) -> bool:
    """Whether an elector that keeps the rules could say this."""
    if body.voted_view is None or body.voted is None:
        return body.view > 0 and body.voted_view is None and body.voted is None
    return body.voted_view < body.view


def _bound_value(promises: Collection[Signed[Promise]], electors: Sequence[str]) -> bytes | None:
    """Digest of the value that must be proposed again: the newest that may have been decided.

    A value may have been decided in a view if those that promised and voted for it, then or later,
    could make up a majority together with those that are not heard. Who voted later for something else
    is counted as well: it may have voted for this one before.
    """
    votes = [
        (promise.body.voted_view, promise.body.voted)
        for promise in promises
        if promise.body.voted_view is not None and promise.body.voted is not None
    ]
    unheard = len(electors) - len(promises)
    for view, value in sorted(set(votes), reverse=True):
        behind = sum(later > view or (later, voted) == (view, value) for later, voted in votes)
        if behind + unheard >= quorum(electors):
            return value
    return None
