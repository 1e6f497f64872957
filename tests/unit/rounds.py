"""Rounds that follow each other, as a node adopts them: for tests of what is made of closed rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import msgspec

from dhtnode.digest import digest
from dhtnode.identity import Identity
from dhtnode.records import Signed, sign
from tests.unit.parties import CHUNKS, SWARM, by_id, certified, head_of, ids, plan_of, result_of, roster_of
from training.acceptance import intake
from training.chain import found
from training.events import Adopt
from training.messages import Commitment, Head, encode_value, value_digest
from training.partition import partition, shares
from validation.lottery import Chain
from validation.messages import Verdict


def founding(founder: Identity) -> Adopt:
    """A swarm's first head."""
    return Adopt(found(founder, SWARM, None, digest("state", 0)), ())


def next_round(
    before: Head,
    persons: Sequence[Identity],
    late: Sequence[Identity] = (),
    halves: Mapping[str, int] = MappingProxyType({}),
    dated: Mapping[str, bytes] = MappingProxyType({}),
) -> Adopt:
    """The round on a head.

    Args:
        before: the head.
        persons: took part.
        late: of them, are in its last part only.
        halves: votes, by peer; by default nobody has one.
        dated: what commitments name, by peer.
    """
    plan = plan_of(persons, before, dated=dated)
    votes_N = tuple(halves.get(peer, 0) for peer in plan.members)
    offered = [one.body.bandwidth for one in plan.commitments_N]
    plan = replace(
        plan,
        roster=value_digest(encode_value(roster_of(*plan.commitments_N, votes=votes_N))),
        votes_N=votes_N,
        ranges_N=tuple(partition(CHUNKS, shares(offered, votes_N))),
    )
    everyone = range(len(persons))
    in_time = [place for place in everyone if plan.members[place] not in ids(late)]
    parts = [part for part in everyone if plan.ranges_N[part]]
    results = tuple(
        result_of(
            by_id(plan.members[part]), plan, part, included=tuple(everyone if part == parts[-1] else in_time)
        )
        for part in parts
    )
    accepted, partial = intake(plan.commitments_N, results)
    counted = (one.body.tokens for one in plan.commitments_N if one.id in accepted)
    head = msgspec.structs.replace(
        head_of(persons),
        number=before.number + 1,
        parent=before.id,
        branch=before.branch,
        founder=before.founder,
        since=before.since,
        marks=before.marks,
        state=digest("state", before.number + 1),
        members=plan.members,
        votes=plan.votes_N,
        tokens=before.tokens + sum(counted),
        accepted=accepted,
        partial=partial,
        results=tuple(result.id for result in results),
    )
    return Adopt(certified([by_id(peer) for peer in head.electors], head), plan.commitments_N, plan, results)


def history(count: int, persons: Sequence[Identity]) -> list[Adopt]:
    """A founding and the rounds after it."""
    adopted = [founding(persons[0])]
    for _ in range(count):
        adopted.append(next_round(adopted[-1].certificate.head, persons))
    return adopted


def fetched(adopted: Adopt) -> Adopt:
    """The same head, as somebody adopts it who fetched its state."""
    return Adopt(adopted.certificate, ())


def passed(judge: Identity, closed: Adopt, work: Signed[Commitment], **changes: Any) -> Signed[Verdict]:
    """A verdict that finds work of a round as it was committed."""
    verdict = Verdict(
        round=work.body.round,
        base=closed.certificate.id,
        about="work",
        target=work.id,
        worker=work.signer,
        outcome="pass",
        distance=None,
        role="jury",
        preimage=Chain(judge, SWARM).preimage(work.body.round),
        replayed=digest("replayed", judge.peer_id),
        device="cpu/unit",
    )
    return sign(judge, SWARM, msgspec.structs.replace(verdict, **changes))
