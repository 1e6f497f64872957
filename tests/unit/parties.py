"""People, heads and signed records for the tests of the protocol cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec

from dhtnode.digest import digest
from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, DataSection, InnerSection, RoundSection, TaskSection, Terms, WireSection
from dhtnode.records import Body, Signed, open_record, sign
from training.chain import Certificate, found
from training.events import Plan, Work
from training.gathering import RoundContext
from training.in_force import TermsInForce
from training.member import Member
from training.messages import KINDS, Commitment, Head, Result, Roster, Vote
from training.partition import partition
from training.roster import ordered, quorum
from training.segments import ONE_SEGMENT
from validation.commitment import find_fault
from validation.entry import Gate
from validation.lottery import Chain
from validation.validator import NOBODY_ANSWERS, Validator
from validation.voucher import Backing
from validation.witness import Witness

SWARM = digest("swarm", "unit")
CHUNKS = 8
WORK = Work(steps=10, tokens=80, weight=80, parts=bytes(32), loss_micro=1_000_000, bandwidth=100)


@lru_cache(maxsize=512)
def person(index: int) -> Identity:
    return Identity.from_seed(digest("person", index))


def people(count: int) -> list[Identity]:
    return [person(index) for index in range(count)]


def ids(persons: Sequence[Identity]) -> tuple[str, ...]:
    return tuple(identity.peer_id for identity in persons)


def by_id(peer: str) -> Identity:
    return next(person(index) for index in range(300) if person(index).peer_id == peer)


def terms(**round_settings: Any) -> Terms:
    return Terms(
        format=FORMAT,
        name="unit",
        creator=person(0).peer_id,
        task=TaskSection(kind="none"),
        data=DataSection(mode="private"),
        inner=InnerSection(steps=((0, 10),)),
        wire=WireSection(block_elems=32, chunk_elems=256),
        round=RoundSection(**{"rounds": 100, "first_deadline_s": 20.0, **round_settings}),
    )


def context(identity: Identity, **round_settings: Any) -> RoundContext:
    return RoundContext(
        identity=identity,
        swarm_id=SWARM,
        in_force=TermsInForce(terms(**round_settings)),
        chunk_count=CHUNKS,
        device="cpu/unit",
        find_fault=find_fault,
        link=Chain(identity, SWARM).link,
    )


def head_of(persons: Sequence[Identity], **changes: Any) -> Head:
    """The head of a swarm that these people have brought to its seventh round; nobody has a vote."""
    first = found(persons[0], SWARM, None, digest("state", 0)).head
    head = msgspec.structs.replace(
        first,
        number=7,
        parent=digest("parent"),
        state=digest("state", 7),
        members=ids(persons),
        tokens=7_000,
        accepted=(digest("accepted"),),
        results=(digest("result"),),
    )
    members = changes.get("members", head.members)
    return msgspec.structs.replace(head, **{"votes": (0,) * len(members), **changes})


def vote_for(identity: Identity, head: Head, **changes: Any) -> Signed[Vote]:
    vote = Vote(
        round=head.number - 1,
        base=head.parent,
        step="close",
        roster=digest("roster", head.id),
        view=0,
        value=head.id,
    )
    return sign(identity, SWARM, msgspec.structs.replace(vote, **changes))


def certified(persons: Sequence[Identity], head: Head) -> Certificate:
    """A head with the votes of just a majority."""
    return Certificate(head, tuple(vote_for(identity, head) for identity in persons[: quorum(head.electors)]))


def commit(identity: Identity, head: Head, **changes: Any) -> Signed[Commitment]:
    commitment = Commitment(
        round=head.number,
        base=head.id,
        start=head.state,
        steps=10,
        tokens=80,
        weight=80,
        parts=digest("parts", identity.peer_id),
        segments=ONE_SEGMENT,
        loss_micro=1_000_000,
        bandwidth=100,
        device="cpu/unit",
        link=Chain(identity, SWARM).link(head.number),
        private=True,
    )
    return sign(identity, SWARM, msgspec.structs.replace(commitment, **changes))


def roster_of(*commitments: Signed[Commitment], votes: Sequence[int] = ()) -> Roster:
    """A list of commitments; by default, nobody has a vote."""
    ids = tuple(commitment.id for commitment in commitments)
    return Roster(commitments=ids, votes=tuple(votes) or (0,) * len(ids))


def plan_of(
    persons: Sequence[Identity],
    head: Head,
    bandwidths: Sequence[int] | None = None,
    dated: Mapping[str, bytes] = MappingProxyType({}),
) -> Plan:
    """A certified roster of these people, in roster order; `dated`: what their commitments name, by peer."""
    shares = dict(zip(ids(persons), bandwidths or [1] * len(persons), strict=True))
    members = ordered(ids(persons), head.state, head.number, "roster")
    return Plan(
        round=head.number,
        base=head.id,
        roster=digest("roster", *members),
        commitments_N=tuple(
            commit(by_id(peer), head, bandwidth=shares[peer], dated=dated.get(peer)) for peer in members
        ),
        votes_N=(0,) * len(members),
        ranges_N=tuple(partition(CHUNKS, [shares[peer] for peer in members])),
    )


def result_of(identity: Identity, plan: Plan, part: int, **changes: Any) -> Signed[Result]:
    result = Result(
        round=plan.round,
        base=plan.base,
        roster=plan.roster,
        part=part,
        included=tuple(range(len(plan.members))),
        root=digest("root", part),
    )
    return sign(identity, SWARM, msgspec.structs.replace(result, **changes))


def plain(value: msgspec.Struct) -> dict[str, Any]:
    """A body as maps, lists and scalars, to be put together otherwise."""
    return msgspec.to_builtins(value, builtin_types=(bytes,))  # type: ignore[no-any-return]


def over_the_wire(record: Signed[Body]) -> Signed[Body]:
    return open_record(record.wire, SWARM, KINDS, record.signer)


def core(identity: Identity, swarm_terms: Terms, backing: Backing = NOBODY_ANSWERS) -> Validator:
    """A node's core that has seen nothing yet."""
    reputation = swarm_terms.reputation
    return Validator(
        Member(replace(context(identity), in_force=TermsInForce(swarm_terms)), 0.0),
        Witness(reputation, identity.peer_id),
        Gate(reputation.entry_bits),
        Chain(identity, SWARM),
        backing=backing,
    )
