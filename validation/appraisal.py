"""What a member signs when another asks what it thinks of somebody.

Trust itself is never gossiped and moves nobody's table (`reputation`). This is for people: a contributor asks
the others how they see it, and shows the middle and the worst of what they have signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Count, PeerId, Signed, open_record

MICRO = 1_000_000


class Appraisal(Body, frozen=True, kw_only=True):
    """Trust in a peer's work, as its signer's table has it."""

    KIND: ClassVar[str] = "appraisal"
    MAX_BYTES: ClassVar[int] = 512
    round: Count
    """In which its signer was when it said so."""
    about: PeerId
    trust: Annotated[int, msgspec.Meta(ge=0, le=MICRO)]
    """Millionths."""


def open_appraisal(wire: bytes, swarm_id: bytes, observer: str, about: str) -> Signed[Appraisal]:
    """Check what a peer has answered.

    Raises:
        RemoteProtocolError: reason `bad-appraisal`, or one of `open_record`'s.
    """
    record = open_record(wire, swarm_id, {Appraisal.KIND: Appraisal}, observer)
    if record.signer != observer or record.body.about != about:
        raise RemoteProtocolError(observer, "bad-appraisal", "by somebody else, or about somebody else")
    return record


def lower_median(values: Sequence[int]) -> int | None:
    """The middle value, the lower of two; None without any."""
    return sorted(values)[(len(values) - 1) // 2] if values else None
