"""Who audits whom: decided by a draw that nobody can foresee, choose or deny.

Every member has a chain of hashes, fixed by its key for an epoch of rounds. Its commitment for a
round shows one link; the link's preimage stays its secret until the round is closed, and is the
link that its next commitment shows. A ticket is drawn from that preimage and the certified head:
the one was fixed before anybody knew the other. So a worker can't foresee its auditors, an auditor
can't choose its targets, and once the preimage is out everybody can tell who was obliged.

Source: hash chains after Lamport, "Password authentication with insecure communication" (1981).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from dhtnode.digest import digest
from dhtnode.identity import Identity

EPOCH = 4096
"""Rounds of one chain. To walk it costs 4,096 hashes, about 2 ms: too much for each round of quick ones."""
STRIDE = 64
"""Every so many links one is remembered, so that a round's walk is at most that long. Divides `EPOCH`."""
TICKETS = 2**64
KEPT = 16
"""Rounds whose preimages are at hand: those that are drawn for."""


class Chain:
    """One member's own chain.

    Its secret follows from the key (Ed25519 signatures are deterministic), so a restart can't lose it
    and no branch of a swarm shows another link for the same round.
    """

    def __init__(self, identity: Identity, swarm_id: bytes) -> None:
        self._identity = identity
        self._swarm_id = swarm_id
        self.preimage = lru_cache(maxsize=KEPT)(self._preimage)
        """What hashes to a round's link: 32 bytes, secret until the round is closed."""
        self._milestones = lru_cache(maxsize=1)(self._walked)

    def link(self, round_no: int) -> bytes:
        """What the commitment for a round shows: 32 bytes."""
        return _hashed(self.preimage(round_no), 1)

    def _preimage(self, round_no: int) -> bytes:
        epoch, place = divmod(round_no, EPOCH)
        milestone, left = divmod(EPOCH - 1 - place, STRIDE)
        return _hashed(self._milestones(epoch)[milestone], left)

    def _walked(self, epoch: int) -> tuple[bytes, ...]:
        """Every `STRIDE`th link of an epoch's chain, the secret that it starts from first."""
        signature = self._identity.sign(digest("lottery", self._swarm_id, epoch))
        links = [digest("lottery-secret", signature)]
        while len(links) < EPOCH // STRIDE:
            links.append(_hashed(links[-1], STRIDE))
        return tuple(links)


def opens(preimage: bytes, link: bytes) -> bool:
    """Whether a preimage belongs to the link that a commitment showed."""
    return _hashed(preimage, 1) == link


def is_one_epoch(one_round: int, other_round: int) -> bool:
    """Whether a member's links for two rounds are of one chain: across epochs nothing can be told."""
    return one_round // EPOCH == other_round // EPOCH


def preimage_from(later: bytes, later_round: int, round_no: int) -> bytes:
    """A round's preimage, by the link that a commitment for a later round of its epoch shows."""
    return _hashed(later, later_round - round_no - 1)


def obliged(preimage: bytes, head: bytes, target: bytes, rate: float) -> bool:
    """Whether a member has drawn an audit.

    Args:
        preimage: of its link for the round.
        head: id of the certified head that the round ended with.
        target: id of the record that would be audited.
        rate: probability, 0 to 1.
    """
    ticket = int.from_bytes(digest("ticket", preimage, head, target)[:8], "big")
    return ticket < rate * TICKETS


def sample(preimage: bytes, target: bytes, indices: Sequence[int], count: int) -> tuple[int, ...]:
    """Which chunks an auditor looks at: drawn as its ticket is, so that nobody can prepare for it.

    Args:
        preimage: of its link for the round.
        target: id of the record that is audited.
        indices: to draw from.
        count: at most so many.

    Returns:
        Rising indices.
    """
    drawn = sorted(indices, key=lambda index: digest("sample", preimage, target, index))
    return tuple(sorted(drawn[:count]))


def _hashed(value: bytes, times: int) -> bytes:
    for _ in range(times):
        value = hashlib.sha256(value).digest()
    return value
