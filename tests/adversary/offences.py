"""What a mole sends: bytes that a check before any arithmetic refuses, or none where it has promised some.

The mole itself goes on with honest numbers: it wants to stay. It plugs into the real node (`mole.py`) and
into a simulated one (`offend` in `tests/sim/crooked.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.contribution import Contribution
from training.events import Work

NAN, INFINITE = np.float32(np.nan).tobytes(), np.float32(np.inf).tobytes()
HONEST_ROUNDS = 4
"""Until the others have learned how long a round takes."""


@dataclass(frozen=True)
class Offence:
    """Honest in everything; an offence replaces one."""

    ships: Callable[[Contribution, bytes], Contribution] = lambda own, base: own
    """What it commits to, by its digests, and sends, instead of its own work of the round after a head."""
    claims: Callable[[Work], Work] = lambda work: work
    """What it says of that work."""
    announces: Callable[[list[bytes]], list[bytes]] = lambda chunks: chunks
    """What it announces and serves instead of what it has reduced."""
    serves: bool = True
    """Whether others get the results that it announces."""


def spoil(chunks: Sequence[bytes], first: bytes) -> list[bytes]:
    """Chunks whose first scale is something else."""
    return [first + chunk[len(first) :] for chunk in chunks]


def _numberless(scale: bytes) -> Offence:
    """Digests that fit, of scales that are no numbers."""
    return Offence(
        ships=lambda own, base: Contribution.of_chunks(own.signer, base, spoil(own.chunks_K, scale))
    )


def _another(own: Contribution, base: bytes) -> Contribution:
    del base
    return replace(own, chunks_K=tuple(chunk[:-1] + bytes([chunk[-1] ^ 1]) for chunk in own.chunks_K))


def _short(own: Contribution, base: bytes) -> Contribution:
    del base
    return replace(own, chunks_K=tuple(chunk[:-1] for chunk in own.chunks_K))


OFFENCES = {
    "nan": _numberless(NAN),
    "infinite": _numberless(INFINITE),
    "other-bytes": Offence(ships=_another),
    "too-few-bytes": Offence(ships=_short),
    "too-much-weight": Offence(claims=lambda work: replace(work, weight=1000 * work.weight)),
    "nan-result": Offence(announces=lambda chunks: spoil(chunks, NAN)),
    "no-result": Offence(serves=False),
}
"""One in each round; a mole does them one after the other."""


def offence(name: str, round_no: int) -> Offence:
    """What the mole, or who always does the same, does in a round; now and then a mole is honest."""
    if round_no < HONEST_ROUNDS:
        return Offence()
    if name in OFFENCES:
        return OFFENCES[name]
    return [*OFFENCES.values(), Offence()][round_no % (len(OFFENCES) + 1)]
