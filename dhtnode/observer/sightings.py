"""What the observer reports, one struct for each kind of line; `--json` writes them as they are.

docs/observer.md describes the fields. Digests are hex, peers are peer ids, times are Unix seconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA = 1

Channel = Literal["gossip", "sync"]


class Sighting(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Base of all lines."""


class Started(Sighting, frozen=True, kw_only=True, tag="started"):
    """The observer runs and has not dialled anybody yet."""

    schema: int = SCHEMA
    swarm_id: str
    name: str
    rounds: int
    """Rounds that the manifest asks for."""
    observer: str
    """Own peer id, made up for this one run."""


class Connected(Sighting, frozen=True, kw_only=True, tag="connected"):
    """A member answers."""

    peer: str
    address: str


class Lost(Sighting, frozen=True, kw_only=True, tag="lost"):
    """A member does not answer, or no more; it is tried again."""

    peer: str
    reason: str


class Present(Sighting, frozen=True, kw_only=True, tag="presence"):
    """A member's own signed entry in the DHT: new, or with other addresses than before."""

    peer: str
    addresses: tuple[str, ...]
    round: int
    head: str
    made_at_s: int


class Recorded(Sighting, frozen=True, kw_only=True, tag="record"):
    """A record that was not seen before and whose signature is good."""

    via: Channel
    kind: str
    signer: str
    round: int
    base: str
    id: str
    detail: str


class Headed(Sighting, frozen=True, kw_only=True, tag="head"):
    """A certified head: the outcome of a round, and the state that the next one starts from."""

    number: int
    """The next round to be played."""
    id: str
    state: str
    members: tuple[str, ...]
    voters: tuple[str, ...]
    """Whose votes the certificate holds."""
    marks: int
    tokens: int
    source: Literal["votes", "sync"]
    """`votes`: assembled here from single votes, from the head before on. `sync`: shown by a member."""


class Rejected(Sighting, frozen=True, kw_only=True, tag="rejected"):
    """What a peer sent that no honest peer sends."""

    peer: str
    reason: str
    detail: str


class Summary(Sighting, frozen=True, kw_only=True, tag="summary"):
    """The last line: everything counted."""

    seconds: float
    rounds: int
    """Rounds that closed while we watched."""
    assembled: int
    """Those of them whose certificate was assembled here from votes."""
    head: Headed | None
    members: tuple[str, ...]
    """Whose presence was found in the DHT."""
    records: dict[str, dict[str, int]]
    """Signer -> kind -> records."""
    rejected: dict[str, int]
    """Reason -> how often."""
