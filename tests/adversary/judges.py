"""Dishonest judges: one function for each, which turns an honest node's auditor into it.

They plug into one simulated node (`corrupt(node.validator)`) and into the real one (`cheat.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dhtnode.digest import digest
from training.events import Adopt
from training.messages import Commitment, Result
from validation.auditor import Auditor
from validation.cases import is_able
from validation.dispute import accusation
from validation.docket import Trial
from validation.events import NodeEffect, Replayed
from validation.messages import NOT_SHOWN, Outcome
from validation.validator import Validator

Corrupt = Callable[[Auditor], None]


def _made_up(trial: Trial) -> Replayed:
    return Replayed(trial.target.id, bytes(32), digest("made up", trial.target.id), exact=True)


def _always(auditor: Auditor, wanted: Outcome) -> None:
    honest = auditor._say

    def say(
        trial: Trial, outcome: Outcome, distance: int | None = None, segment: int | None = None
    ) -> list[NodeEffect]:
        if wanted == "pass" and isinstance(trial.target.body, Commitment):
            auditor._roots.setdefault(trial.target.id, _made_up(trial))
        return honest(trial, wanted, distance, segment if wanted == "fail" else None)

    auditor._say = say  # type: ignore[method-assign]


def false_accuser(auditor: Auditor) -> None:
    """Does the work of an auditor and calls everything false."""
    _always(auditor, "fail")


def segment_accuser(auditor: Auditor) -> None:
    """Does the work of an auditor and calls the first segment of everything false."""
    honest = auditor._say

    def say(
        trial: Trial, outcome: Outcome, distance: int | None = None, segment: int | None = None
    ) -> list[NodeEffect]:
        replay = auditor._roots.get(trial.target.id)
        if replay is None or not replay.boundaries:
            return honest(trial, outcome, distance, segment)
        auditor._ends[trial.target.id, 0] = replay.boundaries[0]
        return honest(trial, "fail", segment=0)

    auditor._say = say  # type: ignore[method-assign]


def false_acquitter(auditor: Auditor) -> None:
    """Does the work of an auditor and calls everything sound."""
    _always(auditor, "pass")


def lazy_auditor(auditor: Auditor) -> None:
    """Calls all work sound at once, without replaying anything."""
    honest = auditor._look

    def look(trial: Trial) -> list[NodeEffect]:
        if not isinstance(trial.target.body, Commitment):
            return honest(trial)
        auditor._roots[trial.target.id] = _made_up(trial)
        return auditor._say(trial, "pass")

    auditor._look = look  # type: ignore[method-assign]
    auditor.check_audit = lambda verdict: []  # type: ignore[method-assign]


def echo(auditor: Auditor) -> None:
    """Says of work what somebody has said against it, and nothing before; it does none of it again."""
    honest = auditor._look

    def look(trial: Trial) -> list[NodeEffect]:
        if isinstance(trial.target.body, Result):
            return honest(trial)
        named = accusation(trial, auditor._in_force.at(trial.target.body.round))
        if named is None or named.body.segment is None:
            auditor._roles.pop(trial.target.id, None)  # so that it is asked again
            return []
        place = (trial.target.id, named.body.segment)
        auditor._ends[place] = digest("made up", trial.target.id)
        said = auditor._say(trial, "fail", segment=named.body.segment)
        del auditor._ends[place]
        return said

    auditor._look = look  # type: ignore[method-assign]


def idle_auditor(auditor: Auditor) -> None:
    """Judges nothing, whatever it draws."""
    auditor._look = lambda trial: []  # type: ignore[method-assign]


def doubter(auditor: Auditor) -> None:
    """Says of everything that it can't tell, without a look: of a part, that it was shown nothing of it."""
    honest = auditor.on_closed

    def on_closed(trials: Sequence[Trial], closed: Adopt) -> list[NodeEffect]:
        effects = honest(trials, closed)
        for trial in trials:
            target = trial.target
            if auditor._may_judge(trial) and not (
                isinstance(target.body, Commitment) and is_able(auditor._device, target)
            ):
                auditor._roots.setdefault(target.id, _made_up(trial))
                effects += auditor._say(trial, "unsure", NOT_SHOWN)
        return effects

    auditor.on_closed = on_closed  # type: ignore[method-assign]


JUDGES: dict[str, Corrupt] = {
    "false-accuser": false_accuser,
    "segment-accuser": segment_accuser,
    "false-acquitter": false_acquitter,
    "lazy-auditor": lazy_auditor,
    "echo": echo,
    "idle-auditor": idle_auditor,
    "doubter": doubter,
}


def corrupt(validator: Validator | None, judge: str) -> None:
    """Turn one node's auditor into a dishonest one."""
    assert validator is not None
    JUDGES[judge](validator._auditor)
