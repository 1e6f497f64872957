"""What comes out of a local run, own or done again, in the words of commitments and verdicts."""

from __future__ import annotations

from dhtnode.digest import leaf_digests, root_digest
from training.contribution import Contribution
from training.inner import LocalWork
from training.messages import Commitment
from validation.messages import same_bits

MICRO = 1_000_000


def loss_micro(work: LocalWork) -> int:
    """Mean training loss in millionths, as commitments show it."""
    return max(0, round((work.loss or 0.0) * MICRO))


def is_exact(body: Commitment, work: LocalWork, device: str) -> bool:
    """Whether a commitment's numbers are those of a replay on this device.

    Another device adds up in another order: its loss differs in the last digits.
    """
    claimed = (body.steps, body.tokens, body.weight)
    same_loss = body.loss_micro == loss_micro(work) or not same_bits(device, body.device)
    return same_loss and claimed == (work.steps, work.units, work.weight)


def replay_root(chunks: Contribution) -> bytes:
    """Over the chunks of a replay, under nobody's name: see `validation.messages.mark`."""
    return root_digest("replay", leaf_digests("replay", chunks.chunks_K))
