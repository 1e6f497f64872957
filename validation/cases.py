"""Why a key is out: a case that anyone can check from itself, years later, without a network.

A case is made of signed records alone. There are seven charges:

work          the member's work is not what it committed to: a majority of that round's electors say so
reduction     the part that it reduced is not what the senders committed to: such a majority says so
audit         it has not replayed what it gave a verdict on: such a majority says so
withholding   it did not show what its record was made from, to such a majority, while it took part
accusation    it called something sound false, against such a majority
acquittal     it called something false sound, against such a majority
equivocation  two records of one key that no honest key signs both of

The majority is one of the same electors that certified the round, over votes of the same keys. What a
case proves is what they said: whoever doubts them has all the records to ask them with. A judge is guilty
against a majority only where all of them compared bits, and all the bits: a distance that is too far for
one device profile may be near enough for another, and who has looked at a few chunks of a part can't know
the rest.
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
from training.messages import MAX_MEMBERS, Commitment, Head, Proposal, Result, Vote
from training.roster import quorum
from validation.messages import NOT_SHOWN, UNSEALED, Opening, Outcome, Subject, Verdict, same_bits

Target = Signed[Commitment] | Signed[Result] | Signed[Verdict]
"""What can be audited."""
SUBJECTS: dict[str, Subject] = {Commitment.KIND: "work", Result.KIND: "reduction", Verdict.KIND: "audit"}
Charge = Literal["work", "reduction", "audit", "withholding", "accusation", "acquittal", "equivocation"]
AGAINST: dict[Charge, tuple[Outcome, Outcome | None]] = {
    "work": ("fail", None),
    "reduction": ("fail", None),
    "audit": ("fail", None),
    "withholding": ("unsure", None),
    "accusation": ("pass", "fail"),
    "acquittal": ("fail", "pass"),
}
"""What the majority says, and what the guilty said against it."""
MAX_CASE_BYTES = 64 + max(
    MAX_CERTIFICATE_BYTES + (MAX_MEMBERS + 1) * Verdict.MAX_BYTES + Commitment.MAX_BYTES,
    2 * Proposal.MAX_BYTES,
)
CASE = "case"
"""Kind of a case among a store's records; its signer there is the guilty key."""
_TARGETS: dict[str, type[Body]] = {kind.KIND: kind for kind in (Commitment, Result, Verdict)}
_PAIRS: dict[str, type[Body]] = {**_TARGETS, **{kind.KIND: kind for kind in (Opening, Proposal, Vote)}}


@dataclass(frozen=True)
class Case:
    """A key, what it is guilty of, and the records that show it."""

    charge: Charge
    guilty: str
    round_no: int
    certificate: Certificate | None
    """Of the round, where members' word is what counts; an equivocation needs nobody's."""
    records: tuple[Signed[Body], ...]
    """An equivocation's two; else what was audited, the majority's verdicts, the guilty's verdict."""

    @cached_property
    def wire(self) -> bytes:
        shown = self.certificate.wire if self.certificate else None
        return canonical([self.charge, shown, [record.wire for record in self.records]])

    @cached_property
    def id(self) -> bytes:
        return digest("case", self.wire)

    @property
    def is_for_good(self) -> bool:
        """Whether its key is out for ever: it needs nobody's word."""
        return self.charge == "equivocation"

    @property
    def judges(self) -> set[str]:
        """Whose word it rests on."""
        if self.charge == "equivocation":
            return {self.guilty}
        said, _ = AGAINST[self.charge]
        return {
            record.signer
            for record in self.records[1:]
            if isinstance(record.body, Verdict) and record.body.outcome == said
        }

    @property
    def text(self) -> str:
        """In one line of plain words."""
        match self.charge:
            case "equivocation":
                kinds = " and ".join(f"a {record.body.KIND}" for record in self.records)
                return f"{self.guilty} signed {kinds} in round {self.round_no} that contradict each other"
            case "work":
                said = f"committed to work in round {self.round_no} that it had not done as committed"
            case "reduction":
                said = f"altered the part that it reduced in round {self.round_no}"
            case "audit":
                said = f"gave a verdict on work of round {self.round_no} that it had not replayed"
            case "withholding":
                kind = self.records[0].body.KIND
                said = f"did not show what its {kind} of round {self.round_no} was made from"
            case "accusation":
                said = f"called a sound {self.records[0].body.KIND} of round {self.round_no} false"
            case "acquittal":
                said = f"called a false {self.records[0].body.KIND} of round {self.round_no} sound"
        electors = len(self.certificate.head.electors) if self.certificate else 0
        how = "asked for it" if self.charge == "withholding" else "did it again"
        return f"{self.guilty} {said}: {len(self.judges)} of that round's {electors} electors {how}"


def majority_case(
    certificate: Certificate,
    target: Target,
    verdicts: Sequence[Signed[Verdict]],
    charge: Charge | None = None,
    against: Signed[Verdict] | None = None,
) -> Case:
    """A case from a majority's verdicts on one record; by default against who signed that."""
    records: tuple[Signed[Body], ...] = (target, *verdicts, *([against] if against else []))
    guilty = against.signer if against else target.signer
    return Case(charge or SUBJECTS[target.body.KIND], guilty, target.body.round, certificate, records)


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
    target = cast("Target", open_record(wires[0], swarm_id, _TARGETS, sender))
    verdicts = [open_record(wire, swarm_id, {Verdict.KIND: Verdict}, sender) for wire in wires[1:]]
    against = verdicts.pop() if AGAINST[charge][1] else None
    if against is None and charge not in (SUBJECTS[target.body.KIND], "withholding"):
        raise RemoteProtocolError(sender, "bad-case", f"{charge}: a {target.body.KIND} is no such thing")
    case = majority_case(certificate, target, verdicts, charge, against)
    fault = _fault(case, target, verdicts, against)
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
        case (Proposal() as said, Proposal() as again) | (Vote() as said, Vote() as again):
            return _place(said) == _place(again) and said.value != again.value
        case Result(), Result():
            return (one.body.roster, one.body.part) == (other.body.roster, other.body.part)
        case (Opening() | Verdict(), Opening() | Verdict()):
            return one.body.target == other.body.target and _opposed(one.body, other.body)
    return False


def _place(said: Proposal | Vote) -> tuple[bytes, str, bytes | None, int]:
    """In which view of what agreement something was said: an elector says it once."""
    return said.base, said.step, said.roster, said.view


def _opposed(one: Opening | Verdict, other: Opening | Verdict) -> bool:
    """Whether what one judge says of one record can't both be true. Who was in doubt may learn more."""
    if UNSEALED not in (one.replayed, other.replayed) and one.replayed != other.replayed:
        return True
    said = [body for body in (one, other) if isinstance(body, Verdict)]
    if len({body.role for body in said if body.about == "reduction"}) == 2:
        return False  # a few chunks were sound, the whole part is not
    return {body.outcome for body in said} == {"pass", "fail"}


def is_exact(verdict: Signed[Verdict], target: Target) -> bool:
    """Whether a verdict rests on equal bits: then an honest judge can't be mistaken."""
    return is_able(verdict.body.device, target)


def is_whole(verdict: Signed[Verdict]) -> bool:
    """Whether a verdict rests on all that the record is about: who has drawn a reduced part looks at some."""
    return verdict.body.about != "reduction" or verdict.body.role == "jury"


def is_able(device: str, target: Target) -> bool:
    """Whether who works on this device can tell for sure whether a record is sound."""
    return isinstance(target.body, Result) or same_bits(device, target.body.device)


def found_nothing(verdict: Signed[Verdict]) -> bool:
    """Whether a verdict says that its signer was shown nothing."""
    return verdict.body.outcome == "unsure" and verdict.body.distance == NOT_SHOWN


def is_free(verdict: Signed[Verdict]) -> bool:
    """Whether a verdict doubts something without being refutable: an honest judge may be mistaken."""
    outcome = verdict.body.outcome
    return outcome == "unsure" or (outcome == "fail" and verdict.body.distance is not None)


def fits(verdict: Verdict, target: Target, certificate: Certificate) -> bool:
    """Whether a verdict is about this record, as part of this round."""
    named = (verdict.about, verdict.target, verdict.worker, verdict.round, verdict.base)
    body = target.body
    return named == (SUBJECTS[body.KIND], target.id, target.signer, body.round, certificate.id)


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
    target: Target,
    verdicts: Sequence[Signed[Verdict]],
    against: Signed[Verdict] | None,
) -> str | None:
    """Why verdicts do not make a case, or None."""
    head = cast("Certificate", case.certificate).head
    said, said_against = AGAINST[case.charge]
    if not belongs(target, head):
        return f"the round did not take this {target.body.KIND} in"
    for verdict in [*verdicts, *([against] if against else [])]:
        if not fits(verdict.body, target, cast("Certificate", case.certificate)):
            return "a verdict on something else"
        jury = head.members if verdict is against else head.electors
        if verdict.signer not in jury or verdict.signer == target.signer:
            return "a verdict of a stranger"
        if verdict.body.outcome != (said_against if verdict is against else said):
            return "a verdict that says something else"
        if case.charge == "withholding" and not found_nothing(verdict):
            return "a verdict of who was shown something"
        if against is not None and not is_exact(verdict, target):
            return "a verdict that rests on a distance"
        if against is not None and verdict.body.outcome == "pass" and not is_whole(verdict):
            return "a verdict that rests on a few chunks"
    judges = {verdict.signer for verdict in verdicts}
    if len(judges) != len(verdicts) or len(judges) < quorum(head.electors):
        return "no majority"
    if against is not None and against.signer in judges:
        return "the guilty is among its judges"
    return None


def belongs(target: Target, head: Head) -> bool:
    """Whether a record is one of those that a round was made of, or a verdict on such a round."""
    match target.body:
        case Commitment():
            return target.id in head.within
        case Result():
            return target.id in head.results
    return target.body.base == head.id and target.body.about == "work"
