"""What can be told of a commitment at once, without replaying any work.

A commitment binds its signer: start digest, amount of work and the digest of every chunk are fixed
before anything is revealed. Here it is held against the round it claims to belong to. Two different
commitments of one key for one head prove by themselves that the key equivocated.
"""

from __future__ import annotations

from dhtnode.manifest import Terms
from dhtnode.records import Signed
from training.messages import Commitment, Head
from training.segments import ONE_SEGMENT, boundaries_of

MAX_TOKENS_PER_SAMPLE = 2**20
"""Longest sample that any task may have; bounds what a commitment can claim."""


def find_fault(commitment: Commitment, head: Head, terms: Terms) -> str | None:
    """What is wrong with a commitment for the round after `head`, or None.

    The answer follows from its arguments alone: all members exclude the same commitments.
    """
    if commitment.start != head.state:
        return "starts from another state"
    if commitment.round != head.number:
        return f"is for round {commitment.round}, not {head.number}"
    most = terms.inner.steps_at(head.number)
    if commitment.steps > most:
        return f"claims {commitment.steps} steps, a round has {most}"
    samples = commitment.steps * terms.inner.batch_size
    if not samples <= commitment.tokens <= samples * MAX_TOKENS_PER_SAMPLE:
        return f"claims {commitment.tokens} tokens from {samples} samples"
    if commitment.private != (terms.data.mode == "private"):
        return f"says that its data are {_kind(commitment.private)}, the swarm's are {terms.data.mode}"
    if commitment.segments != ONE_SEGMENT and not boundaries_of(terms, head.number, commitment.steps):
        return "shows segments of a run that has only one"
    if terms.data.mode == "shared" and commitment.weight != commitment.tokens:
        return "weighs something else than its tokens"
    return None


def _kind(private: bool) -> str:
    return "private" if private else "shared"


def is_equivocation(one: Signed[Commitment], other: Signed[Commitment]) -> bool:
    """Whether two verified commitments prove that their signer spoke with two tongues."""
    same_promise = one.signer == other.signer and one.body.base == other.body.base
    return same_promise and one.swarm_id == other.swarm_id and one.id != other.id
