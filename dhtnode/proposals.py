"""What a node tells about votes on the manifest's constants: documents that `dhtnode proposals` shows."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["open", "adopted", "in force"]


class ProposalPart(msgspec.Struct, frozen=True, kw_only=True):
    """One amendment. Weights are micro-credits, each key's no more than the cap."""

    id: str
    """Hex."""
    by: str
    """Peer id of who proposed it."""
    round: int
    """In which."""
    changes: dict[str, str]
    """New values as JSON, by key of the manifest."""
    why: str
    state: State
    effect: int
    """First round under the new values, if it is adopted."""
    last: int
    """Number of the last round in which it can be adopted."""
    given: int | None
    """Weight of those who are for it; None while this node's ledger lacks rounds."""
    against: int | None
    """Weight of those who have said no."""
    needed: int | None
    total: int | None
    fault: str | None = None
    """Why this node can't apply it."""


class Proposals(msgspec.Struct, frozen=True, kw_only=True):
    """Votes that run, and what was adopted."""

    round: int
    """In progress."""
    own: int | None
    """Weight of this node's own vote."""
    proposals: tuple[ProposalPart, ...]


class ShardPart(msgspec.Struct, frozen=True, kw_only=True):
    """A registration of data, or what this node's user wants registered."""

    state: Literal["registered", "waiting for the next round"]
    id: str | None
    """Hex; None while it waits: it is signed for the round that dates it."""
    by: str
    round: int | None
    """That dates it, and from which on it counts; None while it waits."""
    domain: str
    first: int
    """Its first chunk; 0 for private data."""
    chunks: int
    """How many it names; 0 for private data."""
    own: int
    """How many of them nobody had registered before; tokens for private data; 0 while it waits."""
    duplicate_ppm: int
    """Share that earlier shards hold, too, by their sketches."""


class ShardsPart(msgspec.Struct, frozen=True, kw_only=True):
    """All registrations, in the order in which they count; then what waits, in the order in which it will."""

    chunks: int
    """That training draws from; 0 in private mode."""
    shards: tuple[ShardPart, ...]
