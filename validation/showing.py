"""Who may see what of others' updates, and why: whoever could see a whole update need not replay it.

An auditor signs an `Opening` before it sees anything: what it has found itself, and the preimage of its
link for the round, which draws the chunks that it may see. Who holds the chunks looks the record up among
those of its recent rounds; if it does not know it (it may have been restarted, or be a step behind) the
auditor shows the round's certificate, and that it was a member: nobody who can show what it has reduced
must ever look like somebody who does not want to.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, cast

import msgspec

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Signed, canonical, open_record, parse_canonical
from training.chain import MAX_CERTIFICATE_BYTES, Certificate, open_certificate
from training.messages import Commitment, Result
from validation.cases import belongs
from validation.docket import Trial
from validation.lottery import opens, sample
from validation.messages import Opening

LOOKED_AT = 2
"""Chunks that an auditor looks at where it can't know all: a worker of another profile, a reduced part.
At 10 M parameters and 16 members two chunks of every fourth part are 0.7 % of what the reduction moves."""
MAX_PROOF_BYTES = (
    MAX_CERTIFICATE_BYTES + Commitment.MAX_BYTES + max(Commitment.MAX_BYTES, Result.MAX_BYTES) + 64
)

Shown = Signed[Commitment] | Signed[Result]
"""What may be audited by looking at chunks."""


class Refusal(Enum):
    """Why an auditor is shown nothing."""

    NO = auto()
    """It has no good reason."""
    UNKNOWN = auto()
    """The record is not known here: it may prove that there is one."""


def shows(trial: Trial, opening: Signed[Opening], worker: str, indices: Sequence[int]) -> bool:
    """Whether an auditor has good reason to see these chunks of a worker's update.

    All of a part if somebody doubts the reduction; else what its own preimage draws.
    """
    if trial.plan is None:
        good = isinstance(trial.target.body, Commitment) and worker == trial.target.signer
    else:
        good = worker in trial.plan.members
    if trial.is_doubted and trial.plan is not None:
        return good and set(indices) <= set(trial.chunks)
    return good and set(indices) <= set(looked_at(trial, opening.body.preimage))


def looked_at(trial: Trial, preimage: bytes) -> tuple[int, ...]:
    """The chunks that an auditor's preimage draws of a record; rising.

    The last chunk of an update may be short and say little of how far two results are apart: it is looked at
    beside the others, never in place of one. Where chunks must be equal, a short one says as much.
    """
    drawn = sample(preimage, trial.target.id, trial.chunks, LOOKED_AT)
    if trial.plan is None and trial.chunks[-1] in drawn:
        return sample(preimage, trial.target.id, trial.chunks, LOOKED_AT + 1)
    return drawn


def proof(certificate: Certificate, target: Shown, place: Signed[Commitment]) -> bytes:
    """What an auditor shows to who does not know the record: the round, the record, its own place in it."""
    return canonical([certificate.wire, target.wire, place.wire])


def open_proof(wire: bytes, opening: Signed[Opening], sender: str) -> Shown:
    """The record behind an opening, from its proof alone.

    Raises:
        RemoteProtocolError: reason `bad-opening`, or that of the record in it that is wrong.
    """
    try:
        value: Any = parse_canonical(wire, MAX_PROOF_BYTES)
        wires = msgspec.convert(value, tuple[bytes, bytes, bytes], builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-opening", str(error)[:200]) from error
    swarm_id, body = opening.swarm_id, opening.body
    certificate = open_certificate(wires[0], swarm_id, sender)
    kinds = {Commitment.KIND: Commitment, Result.KIND: Result}
    target = cast("Shown", open_record(wires[1], swarm_id, kinds, sender))
    place: Signed[Commitment] = open_record(wires[2], swarm_id, {Commitment.KIND: Commitment}, sender)
    named = (certificate.id, target.id, target.body.round) == (body.base, body.target, body.round)
    member = place.signer == opening.signer and belongs(place, certificate.head)
    if not (named and member and belongs(target, certificate.head) and opens(body.preimage, place.body.link)):
        raise RemoteProtocolError(sender, "bad-opening", "its proof is of something else")
    return target


def shows_stranger(target: Shown, worker: str, indices: Sequence[int], me: str) -> bool:
    """The same as `shows` for a record that is not known here: a few chunks, or a part that is one's own."""
    if isinstance(target.body, Commitment) and worker != target.signer:
        return False
    own_part = isinstance(target.body, Result) and target.signer == me
    most = LOOKED_AT + isinstance(target.body, Commitment)
    return own_part or len(indices) <= most
