"""How a member is found: a signed record under its own subkey in the swarm's DHT entry.

Key `dhtnode/<swarm>/presence`, one subkey for each peer id, renewed while the node runs. Anybody
with a DHT node can read it, and anybody with the manifest can verify it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from dhtnode.records import Body, Count, Digest

KEY = "presence"
HEAD_KEY = "head"
"""Beside it: the newest certificate (training/chain.py) that each member holds."""
TTL_S = 120.0
"""How long an entry outlives its node; three renewals fit in. A guess."""
RENEW_S = 40.0

Address = Annotated[str, msgspec.Meta(max_length=256)]


class Presence(Body, frozen=True, kw_only=True):
    """Where a member is, in the network and in the swarm's rounds."""

    KIND: ClassVar[str] = "presence"
    MAX_BYTES: ClassVar[int] = 4096
    addresses: Annotated[tuple[Address, ...], msgspec.Meta(max_length=12)]
    round: Count
    head: Digest
    """Id of the newest certified head that the member holds; zeros for none."""
    made_at_s: Count
    """Unix time; the newest of a member's entries counts."""
