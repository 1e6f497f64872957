"""The node's account of itself: what it has done, what it sees, as the status document."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from dhtnode.alias import alias_of
from dhtnode.app.governing import Governing
from dhtnode.app.joining import Joining
from dhtnode.app.lookout import Lookout
from dhtnode.app.standing import Standing
from dhtnode.config import RunOptions
from dhtnode.net.network import Network
from dhtnode.records import Signed
from dhtnode.status import (
    AuditCount,
    AuditsPart,
    BranchPart,
    PeerPart,
    ReceiptsPart,
    RoundPart,
    Status,
    StoragePart,
    SwarmPart,
    TrafficPart,
    TrainingPart,
    share_ppm,
    totals,
)
from dhtnode.store import MOST_PEERS, RoundSummary, Store
from rewards.receipts import receipts_of
from training.events import Adopt
from training.inner import LocalWork
from training.member import Member, describe
from training.messages import WHOLE
from training.state import State
from training.tasks import Scores
from training.worker import Worker
from validation.cases import Case
from validation.messages import Verdict
from validation.validator import Validator

log = logging.getLogger(__name__)

NOTICES_KEPT = 20


@dataclass
class Totals:
    """Counts since the home exists, kept in the store."""

    steps: int = 0
    tokens: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    receipts: int = 0
    receipt_tokens: int = 0
    last_receipt: int | None = None
    swarm_tokens: int = 0
    """Of all receipts, since the first round with an own one."""
    of_me_pass: int = 0
    of_me_unsure: int = 0
    of_me_fail: int = 0
    by_me_pass: int = 0
    by_me_unsure: int = 0
    by_me_fail: int = 0


@dataclass
class _Phases:
    """Wall time by phase of the current round."""

    name: str = "starting"
    since_s: float = field(default_factory=time.monotonic)
    spent_s: dict[str, float] = field(default_factory=dict)

    def enter(self, name: str) -> None:
        now_s = time.monotonic()
        self.spent_s[self.name] = self.spent_s.get(self.name, 0.0) + now_s - self.since_s
        self.name, self.since_s = name, now_s


def _ignore(_: object) -> None:
    """Nobody wants to know yet."""


class Report:
    """Keeps the counts and makes the document.

    Args:
        options: what the node was told.
        store: history and counters.
        peer_id: own.
    """

    def __init__(self, options: RunOptions, store: Store, peer_id: str) -> None:
        self.scores: Scores | None = None
        self.scored_round: int | None = None
        self.starting = "starting"
        self.entrance = ""
        """How far the search for the own proof of work is."""
        self.parameters: int | None = None
        self.unit = "tokens"
        self.member: Member | None = None
        self.validator: Validator | None = None
        self.network: Network | None = None
        self.worker: Worker | None = None
        self.joining: Joining | None = None
        self.lookout: Lookout | None = None
        """In private mode."""
        self.standing: Standing | None = None
        self.governing: Governing | None = None
        self.on_adopted: Callable[[State], object] = _ignore
        self.on_finished: Callable[[str], None] = _ignore
        self.on_own_conviction: Callable[[Case], None] = _ignore
        self._options = options
        self._store = store
        self._peer_id = peer_id
        self._start_s = time.monotonic()
        self._first_head_s: float | None = None
        self._work: LocalWork | None = None
        self._loss: float | None = None
        self._notices: deque[str] = deque(maxlen=NOTICES_KEPT)
        self._rejected = store.rejected()
        self._phases = _Phases()
        self._totals = _load_totals(store)
        self._bytes_before = (0, 0)
        self._saved = store.saved_status()
        """Where this node stood when it ran last, until it knows again."""

    # What happens

    def trained(self, work: LocalWork) -> None:
        self._work, self._loss = work, work.loss
        self._totals.steps += work.steps
        self._totals.tokens += work.units

    def began(self, state: State) -> None:
        """The node holds a state and may work."""
        if self._first_head_s is None:
            self._first_head_s = time.monotonic()
        self.on_adopted(state)

    def adopted(self, effect: Adopt, state: State) -> None:
        """A round is over: write history, count receipts, and write a status for readers without a node."""
        head = effect.certificate.head
        log.debug("adopted %s", describe(head))
        if self.standing is not None:
            self.standing.adopted(effect, self.validator)
        with self._store.batch():
            receipts = receipts_of(effect.certificate, effect.works)
            for receipt in receipts:
                if receipt.worker == self._peer_id:
                    self._totals.receipts += 1
                    self._totals.receipt_tokens += receipt.tokens
                    self._totals.last_receipt = receipt.commitment.body.round
            if self._totals.receipts:
                self._totals.swarm_tokens += sum(receipt.tokens for receipt in receipts)
            if head.number:
                self._store.add_round(self._summary(effect))
            _save_totals(self._store, self._totals)
        self._work = None
        rising = self.lookout.adopt(head) if self.lookout else None
        if rising:
            self.notice(rising)
        self.began(state)
        if head.marks:
            self.notice(
                f"on a marked branch since round {head.since}: "
                f"the chain went on without a quorum {head.marks}x"
            )

    def judged(self, verdict: Signed[Verdict]) -> None:
        """A verdict is in: own work judged, or others' judged by this node, or neither."""
        body = verdict.body
        if self.standing is not None:
            self.standing.judged(verdict)
        for mine, who in (("of_me", body.worker), ("by_me", verdict.signer)):
            if who == self._peer_id:
                key = f"{mine}_{body.outcome}"
                setattr(self._totals, key, getattr(self._totals, key) + 1)

    def convicted(self, case: Case) -> None:
        """A key is out of the swarm, perhaps this node's own."""
        if self.standing is not None:
            self.standing.convicted(case)
        self.notice(f"out of the swarm: {case.text}; 'dhtnode audit show {case.id.hex()[:12]}' has the proof")
        if case.guilty == self._peer_id:
            self.on_own_conviction(case)

    def note_phase(self) -> None:
        """Called with each effect: where the round's time goes."""
        phase, _, _ = self._phase()
        if phase != self._phases.name:
            self._phases.enter(phase)

    def blamed(self, peer: str, reason: str, detail: str = "") -> None:
        self._store.count_rejected(peer, reason)
        if peer not in self._rejected and len(self._rejected) >= MOST_PEERS:
            peer = ""
        counts = self._rejected.setdefault(peer, {})
        count = counts[reason] = counts.get(reason, 0) + 1
        if count & (count - 1) == 0:  # 1, 2, 4, 8 ...: a flood of offences must not flood the log
            more = f": {detail}" if detail else ""
            log.info("rejected: %s from %s, %d so far%s", reason, peer or "unknown peer", count, more)

    def notice(self, text: str) -> None:
        if not self._notices or self._notices[-1] != text:
            self._notices.append(text)
            log.warning("%s", text)

    def finished(self, why: str) -> None:
        self.on_finished(why)

    # The document

    def status(self) -> Status:
        """The document as of now."""
        network, member = self.network, self.member
        terms = member.context.terms if member else self._options.manifest.terms
        head = member.certificate.head if member and member.certificate else None
        sent, received = self._bytes()
        phase, reason, left_s = self._phase()
        reason = "; ".join(filter(None, (reason, self.entrance)))
        return Status(
            running=True,
            saved_at_s=time.time(),
            version=importlib.metadata.version("dhtnode"),
            pid=os.getpid(),
            uptime_s=time.monotonic() - self._start_s,
            swarm=SwarmPart(id=self._options.manifest.swarm_id.hex(), name=self._options.manifest.terms.name),
            alias=alias_of(self._peer_id),
            peer_id=self._peer_id,
            addresses=tuple(network.addresses()) if network else (),
            peers=self._peers(),
            round=RoundPart(
                number=head.number if head else 0,
                total=terms.round.rounds,
                phase=phase,
                reason=reason,
                left_s=left_s,
                state_digest=head.state.hex() if head else None,
                roster=head.members if head else (),
                votes=tuple(vote / WHOLE for vote in head.votes) if head else (),
            ),
            training=self._training(),
            traffic=TrafficPart(sent_bytes=sent, received_bytes=received, sent_by=self._sent_by()),
            receipts=ReceiptsPart(
                rounds=self._totals.receipts,
                tokens=self._totals.receipt_tokens,
                last_round=self._totals.last_receipt,
                share_ppm=share_ppm(self._totals.receipt_tokens, self._totals.swarm_tokens),
            ),
            audits=self._audits(),
            plausibility=self.lookout.part() if self.lookout else None,
            **self._standing(),
            branch=BranchPart(
                since_round=head.since,
                reason=f"went on without a quorum, founded by {head.founder}",
                tokens=head.tokens,
            )
            if head and head.marks
            else None,
            rejected=totals(self._rejected),
            rejected_by_peer=self._rejected,
            deadlines_s=member.pace.limits() if member else {},
            storage=self._storage(),
            notices=tuple(self._notices),
        )

    def save(self) -> None:
        """Keep the document for readers who come while no node runs."""
        _save_totals(self._store, self._totals)
        self._store.save_status(self.status())

    def _phase(self) -> tuple[str, str, float | None]:
        member = self.member
        if member is None:
            return "starting", self.starting, None
        now_s = time.monotonic()
        if member.target is not None and (
            member.round is None or member.target.head.number > member.round.head.number + 1
        ):
            return "catch-up", f"fetching the state of round {member.target.head.number} from peers", None
        if member.round is None:
            waiting = "waiting for a peer that shows the swarm's head"
            return ("done", "all rounds are done", None) if member.certificate else ("join", waiting, None)
        return member.round.phase.value, member.round.reason(now_s), member.round.left_s(now_s)

    def _peers(self) -> tuple[PeerPart, ...]:
        if self.network is None:
            return ()
        members = self.member.certificate.head.members if self.member and self.member.certificate else ()
        presences = self.joining.presences if self.joining else {}
        return tuple(
            PeerPart(
                peer_id=peer,
                addresses=presences[peer].body.addresses if peer in presences else tuple(addresses),
                round=presences[peer].body.round if peer in presences else None,
                last_seen_s=0.0,
                member=peer in members,
            )
            for peer, addresses in sorted(self.network.connected_peers().items())
        )

    def _training(self) -> TrainingPart:
        manifest = self._options.manifest
        since_s = time.monotonic() - self._first_head_s if self._first_head_s else None
        busy_s = self.worker.busy_s if self.worker else 0.0
        return TrainingPart(
            task=manifest.terms.task.kind,
            device=self._options.device,
            parameters=self.parameters,
            loss=self._loss,
            eval_loss=self.scores.loss if self.scores else None,
            eval_round=self.scored_round,
            eval_accuracy=self.scores.accuracy if self.scores else None,
            steps=self._totals.steps,
            unit=self.unit,
            tokens=self._totals.tokens,
            tokens_per_s=self.worker.speed if self.worker else None,
            utilisation=min(1.0, busy_s / since_s) if since_s else None,
        )

    def _bytes(self) -> tuple[int, int]:
        """Totals with what this process has sent and received so far."""
        if self.network is not None:
            traffic = self.network.traffic
            before_sent, before_received = self._bytes_before
            self._totals.sent_bytes += traffic.sent_bytes - before_sent
            self._totals.received_bytes += traffic.received_bytes - before_received
            self._bytes_before = (traffic.sent_bytes, traffic.received_bytes)
        return self._totals.sent_bytes, self._totals.received_bytes

    def _sent_by(self) -> dict[str, int]:
        return dict(self.network.traffic.sent_by) if self.network else {}

    def _summary(self, effect: Adopt) -> RoundSummary:
        head = effect.certificate.head
        sent, received = self._bytes()
        self._phases.enter("adopt")
        spent_s, self._phases.spent_s = self._phases.spent_s, {}
        work = self._work
        return RoundSummary(
            round_no=head.number - 1,
            state_digest=head.state.hex(),
            members=len(head.accepted),
            steps=work.steps if work else 0,
            tokens=work.units if work else 0,
            loss=work.loss if work else None,
            sent_bytes=sent,
            received_bytes=received,
            seconds={name: round(seconds, 3) for name, seconds in spent_s.items()},
        )

    def _audits(self) -> AuditsPart:
        counts, validator = self._totals, self.validator
        mine = AuditCount(passed=counts.of_me_pass, unsure=counts.of_me_unsure, failed=counts.of_me_fail)
        others = AuditCount(passed=counts.by_me_pass, unsure=counts.by_me_unsure, failed=counts.by_me_fail)
        return AuditsPart(
            of_me=mine,
            by_me=others,
            kept=validator.duties.kept[self._peer_id] if validator else 0,
            skipped=dict(validator.duties.skipped) if validator else {},
            replay_s=self.worker.replay_s if self.worker else 0.0,
            excluded={peer: case.text for peer, case in validator.out().items()} if validator else {},
        )

    def _standing(self) -> dict[str, Any]:
        """Terms, trust, credits, and why."""
        if self.standing is None or self.validator is None or self.governing is None:
            names = ("terms", "reputation", "rewards", "why") if self._saved else ()
            return {name: getattr(self._saved, name) for name in names}
        return {
            "terms": self.governing.terms(),
            "reputation": self.standing.reputation(self.validator),
            "rewards": self.standing.rewards(),
            "why": self.standing.why(self.validator.witness.table),
        }

    def _storage(self) -> StoragePart:
        home = self._options.home
        return StoragePart(
            home=str(home.root),
            store_bytes=home.store_path.stat().st_size if home.store_path.exists() else 0,
            checkpoint_bytes=sum(path.stat().st_size for path in home.checkpoints.glob("*.safetensors")),
            data_bytes=sum(path.stat().st_size for path in home.data.iterdir() if path.is_file()),
            free_bytes=shutil.disk_usage(home.root).free,
        )


_TOTALS = "totals"


def _load_totals(store: Store) -> Totals:
    packed = store.fact(_TOTALS)
    return Totals(**msgpack.unpackb(packed)) if packed else Totals()


def _save_totals(store: Store, counts: Totals) -> None:
    store.set_fact(_TOTALS, msgpack.packb(vars(counts)))
