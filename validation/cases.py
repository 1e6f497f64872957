"""Why a key is out: a case that anyone can check from itself, years later, without a network.

A case is made of signed records alone. There are four charges:

work          the member's work is not what it committed to: a majority of that round's members say so
accusation    it called sound work false, against such a majority
acquittal     it called false work sound, against such a majority
equivocation  two commitments, or two results for one part, of one key and one round

The majority is one of the same members that certified the round, over votes of the same keys. What a
case proves is what they said: whoever doubts them has all the records to ask them with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import msgspec

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed, canonical, open_record, parse_canonical
from training.chain import MAX_CERTIFICATE_BYTES, Certificate, open_certificate
from training.messages import MAX_MEMBERS, Commitment, Result
from training.roster import quorum
from validation.messages import Outcome, Verdict

Charge = Literal["work", "accusation", "acquittal", "equivocation"]
AGAINST: dict[Charge, tuple[Outcome, Outcome | None]] = {
    "work": ("fail", None),
    "accusation": ("pass", "fail"),
    "acquittal": ("fail", "pass"),
}
"""What the majority says, and what the guilty said against it."""
MAX_CASE_BYTES = MAX_CERTIFICATE_BYTES + (MAX_MEMBERS + 1) * Verdict.MAX_BYTES + Commitment.MAX_BYTES + 64
CASE = "case"
"""Kind of a case among a store's records; its signer there is the guilty key."""
_CASE_START = b"\x93"
"""A list of three in msgpack."""
_PAIRS: dict[str, type[Body]] = {Commitment.KIND: Commitment, Result.KIND: Result}


@dataclass(frozen=True)
class Case:
    """A key, what it is guilty of, and the records that show it."""

    charge: Charge
    guilty: str
    round_no: int
    certificate: Certificate | None
    """Of the round, where members' word is what counts; an equivocation needs nobody's."""
    records: tuple[Signed[Body], ...]
    """An equivocation's two; else the commitment, the majority's verdicts, the guilty's verdict."""

    @cached_property
    def wire(self) -> bytes:
        shown = self.certificate.wire if self.certificate else None
        return canonical([self.charge, shown, [record.wire for record in self.records]])

    @cached_property
    def id(self) -> bytes:
        return digest("case", self.wire)

    @property
    def judges(self) -> set[str]:
        """Whose word it rests on."""
        if self.charge == "equivocation":
            return {self.guilty}
        said, _ = AGAINST[self.charge]
        return {
            record.signer
            for record in self.records
            if isinstance(record.body, Verdict) and record.body.outcome == said
        }

    @property
    def text(self) -> str:
        """In one line of plain words."""
        match self.charge:
            case "equivocation":
                kind = self.records[0].body.KIND
                return f"{self.guilty} signed two different {kind}s in round {self.round_no}"
            case "work":
                said = f"committed to work in round {self.round_no} that it had not done as committed"
            case "accusation":
                said = f"called sound work of round {self.round_no} false"
            case "acquittal":
                said = f"called false work of round {self.round_no} sound"
        members = len(self.certificate.head.members) if self.certificate else 0
        return f"{self.guilty} {said}: {len(self.judges)} of that round's {members} members replayed it"


def work_case(
    certificate: Certificate,
    commitment: Signed[Commitment],
    verdicts: Sequence[Signed[Verdict]],
    charge: Charge = "work",
    against: Signed[Verdict] | None = None,
) -> Case:
    """A case from a majority's verdicts on one commitment."""
    records: tuple[Signed[Body], ...] = (commitment, *verdicts, *([against] if against else []))
    guilty = against.signer if against else commitment.signer
    return Case(charge, guilty, commitment.body.round, certificate, records)


def equivocation_case(one: Signed[Body], other: Signed[Body]) -> Case:
    """A case from two records that an honest key never signs both of; the same whichever came first."""
    pair = tuple(sorted((one, other), key=lambda record: record.id))
    round_no: int = one.body.round  # type: ignore[attr-defined]
    return Case("equivocation", one.signer, round_no, None, pair)


def open_case(wire: bytes, swarm_id: bytes, sender: str = "") -> Case:
    """Check a case from itself.

    Raises:
        RemoteProtocolError: reason `bad-case`, or that of the record in it that is wrong.
    """
    try:
        value: Any = parse_canonical(wire, MAX_CASE_BYTES)
        charge, shown, wires = msgspec.convert(
            value, tuple[Charge, bytes | None, list[bytes]], builtin_types=(bytes,)
        )
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-case", str(error)[:200]) from error
    if charge == "equivocation":
        return _open_pair(shown, wires, swarm_id, sender)
    if shown is None or not 2 <= len(wires) <= MAX_MEMBERS + 2:
        raise RemoteProtocolError(sender, "bad-case", f"{charge}: certificate or records are missing")
    certificate = open_certificate(shown, swarm_id, sender)
    commitment = open_record(wires[0], swarm_id, {Commitment.KIND: Commitment}, sender)
    verdicts = [open_record(wire, swarm_id, {Verdict.KIND: Verdict}, sender) for wire in wires[1:]]
    against = verdicts.pop() if AGAINST[charge][1] else None
    case = work_case(certificate, commitment, verdicts, charge, against)
    fault = _fault(case, commitment, verdicts, against)
    if fault:
        raise RemoteProtocolError(sender, "bad-case", f"{charge}: {fault}")
    return case


def equivocates(one: Signed[Body], other: Signed[Body]) -> bool:
    """Whether no honest key signs both."""
    if one.signer != other.signer or one.swarm_id != other.swarm_id or one.id == other.id:
        return False
    match one.body, other.body:
        case Commitment(), Commitment():
            return one.body.base == other.body.base
        case Result(), Result():
            return (one.body.roster, one.body.part) == (other.body.roster, other.body.part)
    return False


def open_evidence(wire: bytes, swarm_id: bytes, sender: str) -> Case | Signed[Verdict]:
    """Check what a neighbour shows about others' work: a case has three fields, a record four.

    Raises:
        RemoteProtocolError: that of `open_case` or `open_record`.
    """
    if wire[:1] == _CASE_START:
        return open_case(wire, swarm_id, sender)
    return open_record(wire, swarm_id, {Verdict.KIND: Verdict}, sender)


def _open_pair(shown: bytes | None, wires: list[bytes], swarm_id: bytes, sender: str) -> Case:
    if shown is not None or len(wires) != 2:
        raise RemoteProtocolError(sender, "bad-case", "equivocation: two records, nothing else")
    one, other = (open_record(wire, swarm_id, _PAIRS, sender) for wire in wires)
    case = equivocation_case(one, other)
    if not equivocates(one, other) or case.records != (one, other):
        raise RemoteProtocolError(sender, "bad-case", "the two records contradict each other in nothing")
    return case


def _fault(
    case: Case,
    commitment: Signed[Commitment],
    verdicts: Sequence[Signed[Verdict]],
    against: Signed[Verdict] | None,
) -> str | None:
    """Why verdicts do not make a case, or None."""
    head = cast("Certificate", case.certificate).head
    said, said_against = AGAINST[case.charge]
    if commitment.id not in head.accepted:
        return "the round did not take this work in"
    for verdict in [*verdicts, *([against] if against else [])]:
        body = verdict.body
        if (body.target, body.base, body.worker) != (commitment.id, head.id, commitment.signer):
            return "a verdict on something else"
        if verdict.signer not in head.members or verdict.signer == commitment.signer:
            return "a verdict of a stranger"
        if body.outcome != (said_against if verdict is against else said):
            return "a verdict that says something else"
    if len({verdict.signer for verdict in verdicts}) != len(verdicts) or len(verdicts) < quorum(head.members):
        return "no majority"
    if against is not None and against.signer in {verdict.signer for verdict in verdicts}:
        return "the guilty is among its judges"
    return None
