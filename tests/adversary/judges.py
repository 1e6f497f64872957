"""Dishonest judges: one function for each, which turns an honest node's auditor into it.

They plug into one simulated node (`corrupt(node.validator)`) and into the real one (`cheat.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from dhtnode.digest import digest
from training.messages import Commitment
from validation.auditor import Auditor
from validation.docket import Trial
from validation.events import NodeEffect, Replayed
from validation.messages import Outcome
from validation.validator import Validator

Corrupt = Callable[[Auditor], None]


def _always(auditor: Auditor, outcome: Outcome) -> None:
    honest = auditor._say

    def say(trial: Trial, _: Outcome, distance: int | None = None) -> list[NodeEffect]:
        return honest(trial, outcome, distance)

    auditor._say = say  # type: ignore[method-assign]


def false_accuser(auditor: Auditor) -> None:
    """Does the work of an auditor and calls everything false."""
    _always(auditor, "fail")


def false_acquitter(auditor: Auditor) -> None:
    """Does the work of an auditor and calls everything sound."""
    _always(auditor, "pass")


def lazy_auditor(auditor: Auditor) -> None:
    """Calls all work sound at once, without replaying anything."""
    honest = auditor._look

    def look(trial: Trial) -> list[NodeEffect]:
        body = trial.target.body
        if not isinstance(body, Commitment):
            return honest(trial)
        made_up = digest("made up", trial.target.id)
        auditor._roots[trial.target.id] = Replayed(trial.target.id, body.parts, made_up, exact=True)
        return auditor._say(trial, "pass")

    auditor._look = look  # type: ignore[method-assign]
    auditor.check_audit = lambda verdict: []  # type: ignore[method-assign]


def idle_auditor(auditor: Auditor) -> None:
    """Judges nothing, whatever it draws."""
    auditor._look = lambda trial: []  # type: ignore[method-assign]


JUDGES: dict[str, Corrupt] = {
    "false-accuser": false_accuser,
    "false-acquitter": false_acquitter,
    "lazy-auditor": lazy_auditor,
    "idle-auditor": idle_auditor,
}


def corrupt(validator: Validator | None, judge: str) -> None:
    """Turn one node's auditor into a dishonest one."""
    assert validator is not None
    JUDGES[judge](validator._auditor)
