"""How much each commitment counts in a round: one vote for all, though every node has its own opinion.

The state must be the same to the bit on all honest nodes, and their tables differ: each has replayed other
work itself. So a vote (0, 1/2 or 1, counted in halves) never comes straight out of a table. It is
part of the roster, beside the commitment, and becomes true as the roster does, by a majority of the
electors:

- The leader proposes what its own table says. It takes only what its trust, moved up by the margin, is not
  worth either, so that trust near a limit does not change a vote round by round; and it gives a first vote
  only with a third of the margin to spare. Where it has not yet seen a peer for a whole probation, be it the
  peer that is new or the leader itself, it leaves the vote as it was: 0 for who was never in.
- An elector accepts a vote that stayed as it was in the certified head, and one that its own trust,
  moved by at most the margin, would also give. Whom it would give none itself, or has banned, it gives
  nothing new: with the margin, rounds without a single audit would be near enough to half a vote.
- In a later view the leader proposes all votes as they were, which no honest elector refuses
  (`training.gathering`): a difference of opinion costs one view and never the round.

So a decided vote is either as before, or within the margin of what at least one honest elector thinks,
as long as most electors are honest. A false leader can lift nobody whom honest electors hold for
false, and push nobody down further than the margin. The other way was to compute votes from evidence
that the head pins. It needs every verdict in the chain, and the whole history for a late joiner; this
needs one small integer for each member in the head, and who joins late takes it from there.

If nobody in a roster has a vote (a swarm's first rounds), all count alike: `training.roster.weighed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dhtnode.reputation import ReputationSection
from training.messages import WHOLE
from validation.reputation import Opinion

NEAR = 3
"""A first vote needs this part of the margin to spare: where trust is just enough here, it is not enough for
some others. With 64 members, 9 of 120 rounds cost a view; without it, 20 (`feuds.consent` in the tests)."""

OpinionOf = Callable[[str], Opinion | None]
"""What a node thinks of a peer; None if it knows nothing of it."""


def vote_of(trust_micro: int, section: ReputationSection) -> int:
    """What trust is worth, in halves of a vote."""
    if trust_micro >= 10_000 * section.full_vote_percent:
        return WHOLE
    return 1 if trust_micro >= 10_000 * section.half_vote_percent else 0


def proposed(before: int, opinion: Opinion | None, section: ReputationSection) -> int:
    """The vote that a leader puts beside a commitment.

    Args:
        before: the signer's vote in the certified head; 0 for whoever is not in it.
        opinion: the leader's own, None if it knows nothing of the signer.
        section: the swarm's constants.
    """
    if opinion is not None and opinion.banned_until:
        return 0
    if opinion is None or opinion.on_probation:
        return before
    trust, margin = opinion.trust_micro, 10_000 * section.margin_percent
    if not before and not vote_of(trust - margin // NEAR, section):
        return 0
    return max(vote_of(trust, section), min(before, vote_of(trust + margin, section)))


def acceptable(vote: int, before: int, opinion: Opinion | None, section: ReputationSection) -> bool:
    """Whether an elector lets a vote pass; arguments as in `proposed`."""
    if opinion is not None and opinion.banned_until:
        return vote == 0
    if vote == before:
        return True
    if opinion is None or opinion.on_probation:
        return False
    if vote > before and not vote_of(opinion.trust_micro, section):
        return False
    margin = 10_000 * section.margin_percent
    low, high = vote_of(opinion.trust_micro - margin, section), vote_of(opinion.trust_micro + margin, section)
    return low <= vote <= high


def proposed_votes(
    peers: Sequence[str], before: Sequence[int], opinion_of: OpinionOf, section: ReputationSection
) -> tuple[int, ...]:
    """What a leader proposes for a whole roster."""
    return tuple(proposed(vote, opinion_of(peer), section) for peer, vote in zip(peers, before, strict=True))


def acceptable_votes(
    peers: Sequence[str],
    votes: Sequence[int],
    before: Sequence[int],
    opinion_of: OpinionOf,
    section: ReputationSection,
) -> bool:
    """Whether an elector lets a whole roster's votes pass."""
    return all(
        acceptable(vote, old, opinion_of(peer), section)
        for peer, vote, old in zip(peers, votes, before, strict=True)
    )
