"""Closed rounds in one piece, for a node that was not there, and how it asks for them.

A head names the head before it. So whoever stands on a certified head knows the name of each round before
it, and there is no set to compare: it asks backwards, from the newest round that it lacks. What comes is
held against the name that was asked for: nobody can show a round which never was, or one of another branch.

A founding closes no round; it is shown as a step of its own, since the names go on behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Digest, Signed, canonical, open_record, parse_canonical
from rewards.evidence import ClosedRound, close_round
from training.chain import MAX_CERTIFICATE_BYTES, NOTHING, Certificate, open_certificate
from training.messages import MAX_MEMBERS, Commitment, Result

MAX_QUESTION_BYTES = 64
MAX_ANSWER_BYTES = 256 * 1024
MAX_STEP_BYTES = MAX_CERTIFICATE_BYTES + MAX_MEMBERS * (Commitment.MAX_BYTES + Result.MAX_BYTES + 16) + 64
"""One step always fits into an answer."""
MAX_STEPS = 64
"""In one answer."""
_OVERHEAD_BYTES = 8


@dataclass(frozen=True)
class Step:
    """One step back along a chain."""

    certificate: Certificate
    closed: ClosedRound | None
    """None for a founding."""


def pack_step(certificate: bytes, commitments_N: Sequence[bytes], results: Sequence[bytes]) -> bytes:
    """A step on the wire, from those of its records."""
    return canonical([certificate, list(commitments_N), list(results)])


def open_step(wire: bytes, swarm_id: bytes, sender: str) -> Step:
    """Check a step from itself: each record, and that together they make its head.

    Raises:
        RemoteProtocolError: reason `bad-round`, or that of the record in it that is wrong.
    """
    try:
        value: Any = parse_canonical(wire, MAX_STEP_BYTES)
        shown, work, reduced = msgspec.convert(
            value, tuple[bytes, list[bytes], list[bytes]], builtin_types=(bytes,)
        )
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-round", str(error)[:200]) from error
    if max(len(work), len(reduced)) > MAX_MEMBERS:
        raise RemoteProtocolError(sender, "bad-round", "more records than there can be members")
    certificate = open_certificate(shown, swarm_id, sender)
    kinds = {Commitment.KIND: Commitment}
    commitments: list[Signed[Commitment]] = [open_record(one, swarm_id, kinds, sender) for one in work]
    results: list[Signed[Result]] = [
        open_record(one, swarm_id, {Result.KIND: Result}, sender) for one in reduced
    ]
    if is_founding(certificate):
        if commitments or results:
            raise RemoteProtocolError(sender, "bad-round", "a founding closes no round")
        return Step(certificate, None)
    try:
        return Step(certificate, close_round(certificate, commitments, results))
    except RemoteProtocolError as error:
        raise RemoteProtocolError(sender, error.reason, error.detail) from error


def is_founding(certificate: Certificate) -> bool:
    return certificate.head.number == certificate.head.since


def answer_question(
    wire: bytes, sender: str, step_of: Callable[[bytes], tuple[bytes, bytes] | None]
) -> bytes:
    """Answer a neighbour that lacks rounds.

    Args:
        wire: its question.
        sender: the neighbour.
        step_of: the packed step that led to a head, and the head before it; None if not all of it is held.

    Returns:
        At most MAX_ANSWER_BYTES: the step that was asked for and those before it, as many as fit.

    Raises:
        RemoteProtocolError: reason `bad-round`.
    """
    try:
        value: Any = parse_canonical(wire, MAX_QUESTION_BYTES)
        head = msgspec.convert(value, tuple[Digest], builtin_types=(bytes,))[0]
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-round", str(error)[:200]) from error
    wires: list[bytes] = []
    room = MAX_ANSWER_BYTES - _OVERHEAD_BYTES
    while head != NOTHING and len(wires) < MAX_STEPS:
        found = step_of(head)
        if found is None or room < len(found[0]) + _OVERHEAD_BYTES:
            break
        step, head = found
        room -= len(step) + _OVERHEAD_BYTES
        wires.append(step)
    return canonical(wires)


def question_for(head: bytes) -> bytes:
    """What to ask a neighbour for: the round that ended with this head, and those before it."""
    return canonical([head])


def open_answer(wire: bytes, head: bytes, swarm_id: bytes, sender: str) -> list[Step]:
    """The steps in an answer, the newest first, each held against the name that the one after it gives it.

    Raises:
        RemoteProtocolError: reason `bad-round`, or that of the record in it that is wrong.
    """
    try:
        value: Any = parse_canonical(wire, MAX_ANSWER_BYTES)
        wires = msgspec.convert(value, list[bytes], builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-round", str(error)[:200]) from error
    if len(wires) > MAX_STEPS:
        raise RemoteProtocolError(sender, "bad-round", f"{len(wires)} rounds")
    steps: list[Step] = []
    for shown in wires:
        step = open_step(shown, swarm_id, sender)
        if step.certificate.id != head:
            raise RemoteProtocolError(sender, "bad-round", "another round than was asked for")
        steps.append(step)
        head = step.certificate.head.parent
    return steps
