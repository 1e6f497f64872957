"""A member that also judges: the core of a node, around the core that trains.

Every round that closes is a draw (`lottery`): who has drawn a commitment replays it from the shared
state and says what it found. If somebody says `fail`, all members of that round replay it: a majority
decides, and who said the opposite of it is out, be it the worker, the accuser or who acquitted. A key
that is out is in no roster from the next round on.

Events in, effects out, as in `training.member`; those that are not about judging go through to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import cast

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed, sign
from training.chain import Certificate
from training.events import Adopt, Blame, Effect, Event, RecordArrived
from training.member import Member
from training.messages import Commitment
from training.roster import quorum
from validation.cases import Case, equivocates, equivocation_case
from validation.docket import Docket, Trial
from validation.lottery import Chain, obliged
from validation.messages import Verdict

MAX_CASES = 512
"""Keys that are out. Beyond it nobody is convicted any more: new keys have to become costly first."""


EXACT = "cpu/"
"""Device profiles on which the same work gives the same bits; GPUs add up in any order."""
PROBATION = 3
"""Audits that a newcomer has to pass before it is audited less. A guess."""


# Events and effects beside those of training


@dataclass(frozen=True)
class Replayed:
    """A replay is done."""

    target: bytes
    """Id of the commitment."""
    parts: bytes
    """Root over its chunks, salted with the worker: what an honest commitment shows."""
    replayed: bytes
    """The same chunks under the auditor's own name."""
    exact: bool
    """Whether steps, tokens, weight and loss are those committed to."""


@dataclass(frozen=True)
class CaseShown:
    """A peer shows a case that the shell has checked from itself."""

    case: Case


@dataclass(frozen=True)
class Replay:
    """Do a member's work again, at low priority, and tell what came out."""

    commitment: Signed[Commitment]
    urgent: bool
    """Somebody has called it false."""


@dataclass(frozen=True)
class Declare:
    """Store an own verdict durably, then send it to all."""

    verdict: Signed[Verdict]


@dataclass(frozen=True)
class Judged:
    """A verdict on somebody's work is in, an own one or another's: for the record."""

    verdict: Signed[Verdict]


@dataclass(frozen=True)
class Convict:
    """A key is out: keep the case for good."""

    case: Case


Judging = Replay | Declare | Judged | Convict
NodeEvent = Event | Replayed | CaseShown
NodeEffect = Effect | Judging


class Validator:
    """The synchronous core of a node.

    Args:
        member: what trains; its context's `excluded` is filled here.
        chain: this node's own, for the lottery.
    """

    def __init__(self, member: Member, chain: Chain) -> None:
        self.member = member
        self.cases: dict[str, Case] = {}
        """By the key that is out."""
        self.docket = Docket()
        self._chain = chain
        self._me = member.context.identity.peer_id
        self._terms = member.context.terms
        self._audits = self._terms.data.mode == "shared" and self._terms.audit.rate > 0
        """Private data can't be replayed by anybody else."""
        self._roles: dict[bytes, str] = {}
        """Commitments that this node has to judge, and why."""
        self._passed: dict[str, Counter[str]] = {}
        """Audits that each peer has come through, by who did them."""

    def remember(self, cases: Iterable[Case]) -> None:
        """Take back what was proven before a restart."""
        for case in cases:
            self._exclude(case)

    def resume(self, certificate: Certificate, own: Iterable[Signed[Body]], now_s: float) -> list[NodeEffect]:
        """As `Member.resume`."""
        return self._seen(self.member.resume(certificate, own, now_s))

    def on(self, event: NodeEvent, now_s: float) -> list[NodeEffect]:
        """Take in one event; a peer's fault comes back as `Blame`, never as an exception."""
        match event:
            case Replayed():
                return self._on_replayed(event)
            case CaseShown(case):
                return self._on_case(case)
            case RecordArrived(record, _) if isinstance(record.body, Verdict):
                return self._on_verdict(cast("Signed[Verdict]", record))
        return self._seen(self.member.on(event, now_s))

    # Exchange with a neighbour: rounds as `Member` does it, and evidence beside it

    def evidence(self) -> dict[bytes, bytes]:
        """All that is held about others' work, by name: cases first.

        A case goes by who is guilty: a majority has many subsets, and any one of them will do.
        """
        held = {digest("case-against", peer): case.wire for peer, case in self.cases.items()}
        held.update((verdict.id, verdict.wire) for verdict in self.docket.verdicts())
        return held

    def sync_request(self) -> bytes:
        return self.member.sync_request(tuple(self.evidence()))

    def on_sync_request(self, wire: bytes, sender: str, now_s: float) -> tuple[bytes, list[NodeEffect]]:
        """As `Member.on_sync_request`.

        Raises:
            RemoteProtocolError: the request is malformed.
        """
        reply, effects = self.member.on_sync_request(wire, sender, now_s, self.evidence())
        return reply, self._seen(effects)

    # Rounds

    def _seen(self, effects: list[Effect]) -> list[NodeEffect]:
        """Look at what training asks for, and judge rounds that have closed."""
        seen: list[NodeEffect] = []
        for effect in effects:
            seen.append(effect)
            if isinstance(effect, Adopt) and effect.accepted:
                seen += self._on_closed(effect.certificate, effect.accepted)
            if isinstance(effect, Blame) and effect.reason == "equivocation":
                seen += self._on_equivocation(effect.peer)
        return seen

    def _on_closed(
        self, certificate: Certificate, accepted: tuple[Signed[Commitment], ...]
    ) -> list[NodeEffect]:
        trials = self.docket.open(certificate, accepted)
        effects: list[NodeEffect] = []
        mine = next((trial.commitment for trial in trials if trial.commitment.signer == self._me), None)
        if mine is not None and self._audits:
            preimage = self._chain.preimage(mine.body.round)
            for trial in trials:
                rate = self.rate(trial.commitment.signer) / max(1, len(trials) - 1)
                if obliged(preimage, certificate.id, trial.commitment.id, rate):
                    effects += self._judge(trial, "audit")
        for verdict in self.docket.take_waiting(certificate):
            effects += self._on_verdict(verdict)
        return effects

    def rate(self, peer: str) -> float:
        """How often a member's rounds are audited: always at first, then less with every audit it passes.

        Each other auditor's word counts for one more than own replays at most: a friend that passes
        everything must not lower it.
        """
        passed = self._passed.get(peer, Counter())
        own = passed[self._me]
        heard = sum(min(count, own + 1) for who, count in passed.items() if who != self._me)
        return max(self._terms.audit.rate, min(1.0, PROBATION / (1 + own + heard)))

    # Judging

    def _judge(self, trial: Trial, role: str) -> list[NodeEffect]:
        """Have a commitment replayed, once, if this node is able to and may speak."""
        body, worker = trial.commitment.body, trial.commitment.signer
        heard = self.docket.may_judge(trial.certificate.id, self._me) and worker != self._me
        same = body.device == self.member.context.device and body.device.startswith(EXACT)
        if not (heard and same) or trial.commitment.id in self._roles:
            return []
        self._roles[trial.commitment.id] = role
        while len(self._roles) > MAX_CASES:
            del self._roles[next(iter(self._roles))]
        return [Replay(trial.commitment, urgent=role == "jury")]

    def _on_replayed(self, event: Replayed) -> list[NodeEffect]:
        trial = self.docket.trial(event.target)
        if trial is None or self._me in trial.verdicts:
            return []
        body = trial.commitment.body
        sound = event.exact and event.parts == body.parts
        verdict = Verdict(
            round=body.round,
            base=trial.certificate.id,
            target=event.target,
            worker=trial.commitment.signer,
            outcome="pass" if sound else "fail",
            role="jury" if self._roles.get(event.target) == "jury" else "audit",
            preimage=self._chain.preimage(body.round),
            replayed=event.replayed,
            device=body.device,
        )
        record = sign(self.member.context.identity, self.member.context.swarm_id, verdict)
        return [Declare(record), *self._on_verdict(record)]

    def _on_verdict(self, verdict: Signed[Verdict]) -> list[NodeEffect]:
        if not self._audits:
            return [Blame(verdict.signer, "bad-verdict", "nothing is replayed in this swarm")]
        try:
            trial = self.docket.add(verdict)
        except RemoteProtocolError as error:
            return [Blame(error.peer, error.reason, error.detail)]
        if trial is None:
            return []
        if verdict.body.outcome == "pass":
            self._passed.setdefault(verdict.body.worker, Counter())[verdict.signer] += 1
        effects: list[NodeEffect] = [Judged(verdict)]
        if trial.is_disputed and self._me not in trial.verdicts:
            effects += self._judge(trial, "jury")
        for case in trial.cases():
            effects += self._convict(case)
        return effects

    def _on_equivocation(self, peer: str) -> list[NodeEffect]:
        for one, other in combinations(self.member.said_by(peer), 2):
            if equivocates(one, other):
                return self._convict(equivocation_case(one, other))
        return []

    def _on_case(self, case: Case) -> list[NodeEffect]:
        """Believe a case that rests on a round we know, or on a majority that we believe anyway."""
        if case.charge != "equivocation":
            head = self.member.certificate.head if self.member.certificate else None
            known = case.certificate is not None and self.docket.knows(case.certificate.id)
            trusted = head is not None and len(case.judges & set(head.members)) >= quorum(head.members)
            if not (known or trusted):
                return []
        return self._convict(case)

    def _convict(self, case: Case) -> list[NodeEffect]:
        return [Convict(case)] if self._exclude(case) else []

    def _exclude(self, case: Case) -> bool:
        """Whether this is news."""
        if case.guilty in self.cases or len(self.cases) >= MAX_CASES:
            return False
        self.cases[case.guilty] = case
        self.member.context.excluded.add(case.guilty)
        return True
