"""What one node judges itself: what it draws, what it does again, and what it then says.

Work is replayed from the shared state. On the same device profile the bits must be the same, and who finds
that they are not says where (`dispute`): who is called to judge replays that segment alone. Else some
chunks of the worker's are compared, which it shows to who has bound itself to an own result before. Of a
reduced part some chunks are reduced again from what the senders committed to. Others' verdicts are held
against own replays: an auditor's name for what came out can't be guessed or copied.

Effects go to the shell and come back as events; a verdict comes out as `Declare`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, cast

from dhtnode.records import Signed, sign
from training.events import Adopt
from training.gathering import RoundContext
from training.messages import Commitment, Result
from training.segments import first_difference, segments_root
from validation.cases import is_able, is_whole
from validation.compare import judge
from validation.dispute import accusation, boundary_count, seals_of
from validation.docket import Docket, Trial
from validation.events import (
    AskSeals,
    Compare,
    Compared,
    Declare,
    NodeEffect,
    Replay,
    Replayed,
    ReplaySegment,
    Rereduce,
    Rereduced,
    SealsShown,
    SegmentReplayed,
)
from validation.lottery import Chain, obliged
from validation.messages import NOT_SHOWN, UNSEALED, Opening, Outcome, Verdict, mark, same_bits
from validation.rates import Rates
from validation.showing import looked_at

MAX_ROLES = 1024
MAX_ROOTS = 256
"""Replays whose outcome is remembered, to hold others' verdicts against."""
PATIENCE = 2
"""Rounds that somebody must take part in without showing what it is asked for. A guess."""

K = TypeVar("K")
V = TypeVar("V")
Role = Literal["audit", "jury"]
Tolerance = Callable[[str], int | None]
"""Largest distance, in ppm, between honest work on this node's device and on another; None if unknown."""


class Auditor:
    """One node's own part in judging.

    Args:
        context: identity and device.
        docket: what can be judged.
        rates: how often whom.
        chain: this node's own, for the lottery.
        tolerance: how far apart honest work on two device profiles may be.
    """

    def __init__(
        self, context: RoundContext, docket: Docket, rates: Rates, chain: Chain, tolerance: Tolerance
    ) -> None:
        self._identity = context.identity
        self._swarm_id = context.swarm_id
        self._device = context.device
        self._in_force = context.in_force
        self._is_out = context.is_out
        self._me = context.identity.peer_id
        self._docket = docket
        self._rates = rates
        self._chain = chain
        self._tolerance = tolerance
        self._roles: dict[bytes, Role] = {}
        """Records that this node has to judge, and why."""
        self._roots: dict[bytes, Replayed] = {}
        """What own replays led to, by commitment."""
        self._ends: dict[tuple[bytes, int], bytes] = {}
        """What a segment leads to, by commitment and segment: of those that were replayed alone, or named."""
        self._in_vain: dict[bytes, int] = {}
        """Records whose signers have not shown what they are made from; rounds they took part in since."""
        self._unopened: dict[bytes, bool] = {}
        """Work whose list of boundaries was asked for, and whether a round has closed since."""

    # What is drawn

    def on_closed(self, trials: Sequence[Trial], closed: Adopt) -> list[NodeEffect]:
        """A round has closed: judge what this node draws of it, and ask again where it asked in vain."""
        effects: list[NodeEffect] = []
        for trial in trials:
            rate = self._rates.of(trial.about, trial.target.signer)
            if self._draws(trial, trial.target.id, rate):
                effects += self.judge(trial, "audit")
        self._unopened = dict.fromkeys(self._unopened, True)
        return effects + self._ask_again(closed.certificate.head.members)

    def on_committed(self) -> list[NodeEffect]:
        """Own work of the next round is done: who still keeps its list back is called false as a whole.

        Later, the others would not have the state any more from which they could see for themselves.
        """
        late = [target for target, closed in self._unopened.items() if closed]
        effects: list[NodeEffect] = []
        for target in late:
            del self._unopened[target]
            trial = self._docket.trial(target)
            if trial is not None and self._may_judge(trial):
                effects += self._say(trial, "fail")
        return effects

    def _draws(self, trial: Trial, record: bytes, rate: float) -> bool:
        """Whether this node has drawn a record of a round that it took part in."""
        head = trial.certificate
        if not self._docket.may_judge(head.id, self._me):
            return False
        preimage = self._chain.preimage(trial.target.body.round)
        return obliged(preimage, head.id, record, rate / max(1, len(head.head.within) - 1))

    # What is done again

    def judge(self, trial: Trial, role: Role) -> list[NodeEffect]:
        """Have a record judged, once, if this node is able to and may speak.

        Who has looked at some of a reduced part looks at the whole once it is called.
        """
        target, before = trial.target, self._roles.get(trial.target.id)
        more = trial.about == "reduction" and (before, role) == ("audit", "jury")
        if before is not None and not more:
            return []
        if not self._may_judge(trial) and not (more and self._is_heard(trial)):
            return []
        if role == "jury" and self._is_out(target.signer):
            return []  # there is nothing left to decide, and it opens nothing any more
        _put(self._roles, target.id, role, MAX_ROLES)
        return self._look(trial)

    def _is_heard(self, trial: Trial) -> bool:
        heard = self._docket.may_judge(trial.certificate.id, self._me)
        return heard and trial.target.signer != self._me

    def _may_judge(self, trial: Trial) -> bool:
        said = trial.verdicts.get(self._me)
        more = said is not None and not is_whole(said) and self._roles.get(trial.target.id) == "jury"
        free = said is None and self._docket.may_say_more(trial.certificate, self._me)
        return self._is_heard(trial) and (free or more)

    def _look(self, trial: Trial) -> list[NodeEffect]:
        """Do again what a record is about."""
        target, urgent = trial.target, self._roles.get(trial.target.id) == "jury"
        match target.body:
            case Commitment():
                named = accusation(trial, self._in_force.at(target.body.round))
                if named is not None and is_able(self._device, target) and target.id not in self._roots:
                    return [ReplaySegment(target, self._opening(trial, UNSEALED), named)]
                if is_able(self._device, target) or self._tolerance(target.body.device) is not None:
                    return self._replay(target, urgent)
            case Verdict(segment=None):
                work = self._docket.trial(target.body.target)
                if work is not None and is_able(self._device, target):
                    return self._replay(cast("Signed[Commitment]", work.target), urgent)
            case Result() if trial.plan is not None:
                opening = self._opening(trial, UNSEALED)
                whole = tuple(trial.chunks)
                drawn = looked_at(trial, opening.body.preimage)
                return [Rereduce(trial.plan, target, opening, whole if urgent else drawn)]
        return []

    def _replay(self, work: Signed[Commitment], urgent: bool) -> list[NodeEffect]:
        known = self._roots.get(work.id)
        return [Replay(work, urgent)] if known is None else self.on_replayed(known)

    def _opening(self, trial: Trial, replayed: bytes) -> Signed[Opening]:
        round_no = trial.target.body.round
        opening = Opening(
            round=round_no,
            base=trial.certificate.id,
            target=trial.target.id,
            replayed=replayed,
            preimage=self._chain.preimage(round_no),
        )
        return sign(self._identity, self._swarm_id, opening)

    def on_replayed(self, event: Replayed) -> list[NodeEffect]:
        """Say what a replay has found, of the work and of others' verdicts on it."""
        trial = self._docket.trial(event.target)
        if trial is None or not isinstance(trial.target.body, Commitment):
            return []
        _put(self._roots, event.target, event, MAX_ROOTS)
        effects: list[NodeEffect] = []
        if self._may_judge(trial):
            if is_able(self._device, trial.target):
                effects += self._say_of_bits(trial, event)
            else:
                effects += self._compare(trial)
        return effects + self._check_audits(trial)

    def _say_of_bits(self, trial: Trial, replay: Replayed) -> list[NodeEffect]:
        """Say `pass`, or look for the first segment that is false."""
        work = cast("Signed[Commitment]", trial.target)
        agree = segments_root(seals_of(work, replay)) == work.body.segments
        if agree and replay.exact and replay.parts == work.body.parts:
            return self._say(trial, "pass")
        boundaries = boundary_count(work, self._in_force.at(work.body.round))
        if not boundaries or len(replay.boundaries) != boundaries:
            return self._say(trial, "fail")
        if agree:
            return self._accuse(trial, replay, boundaries)
        _put(self._unopened, work.id, False, MAX_ROOTS)
        return [AskSeals(work, self._opening(trial, UNSEALED))]

    def on_seals(self, event: SealsShown) -> list[NodeEffect]:
        """A worker's boundaries lie beside one's own; who shows none is called false as a whole."""
        trial, replay = self._docket.trial(event.target), self._roots.get(event.target)
        if trial is None or replay is None or not self._may_judge(trial):
            return []
        if event.seals is None:
            return self._say(trial, "fail")
        mine = seals_of(cast("Signed[Commitment]", trial.target), replay)
        return self._accuse(trial, replay, first_difference(event.seals, mine)) + self._check_audits(trial)

    def _accuse(self, trial: Trial, replay: Replayed, segment: int) -> list[NodeEffect]:
        """Name the first segment that is false: it begins as one's own, so its true end is one's own too."""
        ends = (*replay.boundaries, replay.root)
        _put(self._ends, (trial.target.id, segment), ends[segment], MAX_ROOTS)
        return self._say(trial, "fail", segment=segment)

    def on_segment(self, event: SegmentReplayed) -> list[NodeEffect]:
        """Say what one segment has shown: that the work is false, or nothing yet."""
        trial = self._docket.trial(event.target)
        if trial is None:
            return []
        if event.end is None or event.sound:
            may = self._may_judge(trial) and not self._is_out(trial.target.signer)
            return self._replay(cast("Signed[Commitment]", trial.target), urgent=True) if may else []
        _put(self._ends, (event.target, event.segment), event.end, MAX_ROOTS)
        said = self._say(trial, "fail", segment=event.segment) if self._may_judge(trial) else []
        return said + self._check_audits(trial)

    def _compare(self, trial: Trial) -> list[NodeEffect]:
        """Ask a worker of another profile for chunks, bound to an own result before any is seen."""
        if self._tolerance(cast("Commitment", trial.target.body).device) is None:
            return []
        opening = self._opening(trial, self._seal(trial.target.id, trial.target.id))
        indices = looked_at(trial, opening.body.preimage)
        return [Compare(cast("Signed[Commitment]", trial.target), opening, indices)]

    def _seal(self, target: bytes, work: bytes, segment: int | None = None) -> bytes:
        root = self._end(work, segment)
        return mark(self._me, target, root) if root else UNSEALED

    def _end(self, work: bytes, segment: int | None) -> bytes | None:
        """What an own replay of a whole run, or of one segment, has led to."""
        if segment is not None:
            return self._ends.get((work, segment))
        replay = self._roots.get(work)
        return replay.root if replay else None

    def on_compared(self, event: Compared) -> list[NodeEffect]:
        """A worker's chunks lie beside one's own."""
        trial, distance = self._docket.trial(event.target), event.distance
        if trial is None or not self._may_judge(trial) or not isinstance(trial.target.body, Commitment):
            return []
        if distance is None:
            return self._doubt_if_withheld(trial)
        tolerance = self._tolerance(trial.target.body.device)
        known = self._roots.get(event.target)
        if tolerance is None or known is None:
            return []
        return self._say(trial, judge(distance, tolerance) if known.exact else "fail", distance)

    def on_rereduced(self, event: Rereduced) -> list[NodeEffect]:
        """A part was reduced again."""
        trial = self._docket.trial(event.target)
        if trial is None or not self._may_judge(trial):
            return []
        called = self._roles.get(event.target) == "jury"
        if called and not event.whole and event.same is not False:
            return []  # it was called while it looked at some; the look at the whole is on its way
        if event.same is None:
            return self._doubt_if_withheld(trial)
        return self._say(trial, "pass" if event.same else "fail")

    def _doubt_if_withheld(self, trial: Trial) -> list[NodeEffect]:
        """Who can't be asked may be down. Who takes part in rounds is not."""
        waited = self._in_vain.setdefault(trial.target.id, 0)
        return self._say(trial, "unsure", NOT_SHOWN) if waited >= PATIENCE else []

    def _ask_again(self, members: Sequence[str]) -> list[NodeEffect]:
        effects: list[NodeEffect] = []
        for target in list(self._in_vain):
            trial = self._docket.trial(target)
            if trial is None or not self._may_judge(trial):
                del self._in_vain[target]
            elif trial.target.signer in members:
                self._in_vain[target] += 1
                effects += self._look(trial)
        return effects

    def _say(
        self, trial: Trial, outcome: Outcome, distance: int | None = None, segment: int | None = None
    ) -> list[NodeEffect]:
        """Sign what was found."""
        target, round_no = trial.target, trial.target.body.round
        if isinstance(target.body, Verdict):
            replayed = self._seal(target.id, target.body.target, target.body.segment)
        else:
            replayed = self._seal(target.id, target.id, segment)
        verdict = Verdict(
            round=round_no,
            base=trial.certificate.id,
            about=trial.about,
            target=target.id,
            worker=target.signer,
            outcome=outcome,
            distance=distance,
            role=self._roles.get(target.id, "audit"),
            preimage=self._chain.preimage(round_no),
            replayed=UNSEALED if isinstance(target.body, Result) else replayed,
            segment=segment,
            device=self._device,
        )
        record = sign(self._identity, self._swarm_id, verdict)
        return [Declare(record)]

    # Others' verdicts

    def _check_audits(self, trial: Trial) -> list[NodeEffect]:
        return [effect for verdict in list(trial.verdicts.values()) for effect in self.check_audit(verdict)]

    def check_audit(self, verdict: Signed[Verdict]) -> list[NodeEffect]:
        """Hold another's verdict on work against an own replay; replay it if that was drawn.

        One that names a segment is held against who has replayed that segment: all who are called to
        judge do. Another's first false segment may begin where no own run has been.
        """
        body = verdict.body
        on_work = body.about == "work" and verdict.signer != self._me
        if not on_work or not same_bits(body.device, self._device):
            return []
        known = self._end(body.target, body.segment)
        trial = self._docket.trial(verdict.id)
        drawn = trial is not None or self._draws_audit(verdict)
        if known is None:
            whole = body.segment is None and drawn
            return self.judge(self._docket.open_audit(verdict), "audit") if whole else []
        looked = body.replayed == mark(verdict.signer, body.target, known)
        if looked and not drawn:
            return []  # it costs nothing to see that others look; to say so each time would
        trial = self._docket.open_audit(verdict)
        if not self._may_judge(trial):
            return []
        return self._say(trial, "pass" if looked else "fail")

    def _draws_audit(self, verdict: Signed[Verdict]) -> bool:
        trial = self._docket.trial(verdict.body.target)
        rate = self._rates.of("audit", verdict.signer)
        return trial is not None and self._draws(trial, verdict.id, rate)


def _put(kept: dict[K, V], key: K, value: V, most: int) -> None:
    """Keep a value; the oldest beyond `most` goes."""
    kept[key] = value
    while len(kept) > most:
        del kept[next(iter(kept))]
