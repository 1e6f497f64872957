"""How many messages a peer may send: a token bucket for each, so that nobody drowns the others.

Gossip relays whatever is validly signed. A record costs its reader a signature check of about 0.1 ms;
an honest member sends a handful in a round.
"""

from __future__ import annotations

RATE_PER_S = 20.0
BURST = 400.0
"""A reducer of many parts in a short round stays far below both. Guesses."""
MAX_PEERS = 1024


class Quota:
    """Admits messages by peer; the longest known peers make room for new ones."""

    def __init__(self, rate_per_s: float = RATE_PER_S, burst: float = BURST) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._left: dict[str, tuple[float, float]] = {}

    def admit(self, peer: str, now_s: float) -> bool:
        """Whether a message of this peer is looked at; counts it if so."""
        left, since_s = self._left.pop(peer, (self._burst, now_s))
        left = min(self._burst, left + (now_s - since_s) * self._rate_per_s)
        if len(self._left) >= MAX_PEERS:
            del self._left[next(iter(self._left))]
        admitted = left >= 1
        self._left[peer] = (left - admitted, now_s)
        return admitted
