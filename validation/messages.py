"""What members say about each other's work."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from dhtnode.digest import digest
from dhtnode.records import Body, Count, Digest, PeerId
from training.messages import KINDS
from training.segments import MAX_BOUNDARIES
from validation.entry import Entry
from validation.evaluation import Evaluation
from validation.voucher import Voucher

Outcome = Literal["pass", "unsure", "fail"]
Subject = Literal["work", "reduction", "audit"]
"""What can be audited: a commitment, a result, and the `pass` or `fail` of another auditor."""
MAX_DISTANCE = 10**9
"""Parts per million."""
NOT_SHOWN = MAX_DISTANCE
"""The distance to what was asked for in vain, from somebody that goes on taking part."""
UNSEALED = bytes(32)
"""In place of a result that follows from what is asked for."""
BITWISE = "cpu/"
"""Device profiles on which the same work gives the same bits; GPUs add up in any order."""
Device = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class Verdict(Body, frozen=True, kw_only=True):
    """A member has done something again and says whether it was done as signed."""

    KIND: ClassVar[str] = "verdict"
    MAX_BYTES: ClassVar[int] = 1024
    round: Count
    """Of what was audited."""
    base: Digest
    """Id of the certified head that the round ended with."""
    about: Subject
    target: Digest
    """Id of the record that was audited."""
    worker: PeerId
    """Who signed that record."""
    outcome: Outcome
    distance: Annotated[int, msgspec.Meta(ge=0, le=MAX_DISTANCE)] | None
    """Relative distance that was found, in ppm, or NOT_SHOWN; None where bits were compared."""
    role: Literal["audit", "jury"]
    """Whether it was drawn, or called by somebody's doubt."""
    preimage: Digest
    """Opens the link in the signer's own commitment for the round: anybody can draw its tickets again."""
    replayed: Digest
    """What came out, under the signer's own name (`mark`): only who has done it can name it. UNSEALED for a
    reduction: everybody knows what has to come out."""
    segment: Annotated[int, msgspec.Meta(ge=0, le=MAX_BOUNDARIES)] | None = None
    """Of work that is false: a segment in which it is; `replayed` names what that one leads to. None if the
    whole run is meant. See `validation.dispute`."""
    device: Device
    """Profile on which it was done."""


class Opening(Body, frozen=True, kw_only=True):
    """An auditor asks to be shown something. Before it sees chunks it has bound itself to its own result."""

    KIND: ClassVar[str] = "opening"
    MAX_BYTES: ClassVar[int] = 512
    round: Count
    base: Digest
    """Id of the certified head that the round ended with."""
    target: Digest
    """Id of the record that is audited."""
    replayed: Digest
    """As its verdict will name it; UNSEALED for a reduction, which follows from what is asked for, and for
    boundaries, which tell nobody what a run leads to."""
    preimage: Digest
    """As in its verdict."""


def same_bits(one: str, other: str) -> bool:
    """Whether the same work gives the same bits on two devices."""
    return one == other and one.startswith(BITWISE)


def mark(signer: str, target: bytes, root: bytes) -> bytes:
    """An auditor's name for what it has computed.

    Args:
        signer: the auditor.
        target: id of the record that it audited.
        root: over the chunks that came out, or digest of the state that one segment leads to. It is published
            nowhere; whoever has it can check every other auditor's mark, and nobody else can make one.
    """
    return digest("mark", signer, target, root)


SPOKEN: dict[str, type[Body]] = {
    **KINDS,
    **{kind.KIND: kind for kind in (Verdict, Evaluation, Entry, Voucher)},
}
"""Everything that may arrive on the swarm's topic: records of rounds, and what is found out about them."""
