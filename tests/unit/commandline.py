"""A command as a person types it: what comes back, and with which exit code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def refusal(outcome: Outcome, code: int) -> str:
    """The one line on stderr of a command that was refused."""
    assert outcome.code == code, outcome
    assert outcome.err.startswith("dhtnode: ")
    assert outcome.err.count("\n") == 1
    return outcome.err
