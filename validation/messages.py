"""What members say about each other's work."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from dhtnode.records import Body, Count, Digest, PeerId
from training.messages import KINDS

Outcome = Literal["pass", "fail"]


class Verdict(Body, frozen=True, kw_only=True):
    """A member has replayed another's work and says whether it was done as committed."""

    KIND: ClassVar[str] = "verdict"
    MAX_BYTES: ClassVar[int] = 1024
    round: Count
    """Of the work."""
    base: Digest
    """Id of the certified head that the work went into."""
    target: Digest
    """Id of the commitment."""
    worker: PeerId
    """Who signed the commitment."""
    outcome: Outcome
    role: Literal["audit", "jury"]
    """Whether it was drawn, or called by somebody's `fail`."""
    preimage: Digest
    """Opens the link in the signer's own commitment for the round: anybody can draw its tickets again."""
    replayed: Digest
    """Root over the chunks that the replay gave, salted with the signer: only who has them can name it."""
    device: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    """Profile on which the work was replayed; the same as the worker's."""


SPOKEN: dict[str, type[Body]] = {**KINDS, Verdict.KIND: Verdict}
"""Everything that may arrive on the swarm's topic: records of rounds, and what is found out about them."""
