"""Heads, their certificates, and which of two chains a node follows.

A head is certified by votes of a majority of its electors, the members of the round's own roster that
have a vote, so a certificate is checked from itself. A founding (the first head of a swarm, or a node that
goes on alone after a stall) has one elector, its founder, and says so: it starts a branch of its own, with
a mark. The founder takes along the vote that it had: whoever had none gets none by going alone.

Fork choice: more accepted tokens, then fewer marks, then the smaller id. Every node compares the
same signed numbers, so after a partition all arrive at the same chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Signed, canonical, open_record, parse_canonical, sign
from training.messages import MAX_MEMBERS, MAX_VALUE_BYTES, Head, Vote, decode_value, encode_value
from training.roster import quorum

NOTHING = bytes(32)
MAX_CERTIFICATE_BYTES = MAX_VALUE_BYTES + MAX_MEMBERS * (Vote.MAX_BYTES + 8) + 64


@dataclass(frozen=True)
class Certificate:
    """A head and the votes that make it final."""

    head: Head
    votes: tuple[Signed[Vote], ...]

    @cached_property
    def id(self) -> bytes:
        return self.head.id

    @cached_property
    def wire(self) -> bytes:
        return canonical([encode_value(self.head), [vote.wire for vote in self.votes]])


def found(identity: Identity, swarm_id: bytes, parent: Head | None, state: bytes) -> Certificate:
    """A new branch of one: the swarm's first head, or a way on after a stall.

    Args:
        parent: the head that the founder stands on; None for the swarm's first.
        state: digest of the state that the branch starts from; the parent's where there is one.
    """
    parent_id = parent.id if parent else NOTHING
    number = parent.number if parent else 0
    head = Head(
        number=number,
        parent=parent_id,
        branch=branch_id(parent_id, identity.peer_id),
        founder=identity.peer_id,
        since=number,
        marks=parent.marks + 1 if parent else 0,
        state=parent.state if parent else state,
        members=(identity.peer_id,),
        votes=(parent.vote_of(identity.peer_id) if parent else 0,),
        tokens=parent.tokens if parent else 0,
        accepted=(),
        results=(),
        amendments=parent.amendments if parent else (),
    )
    vote = Vote(round=number, base=parent_id, step="found", view=0, value=head.id)
    return Certificate(head, (sign(identity, swarm_id, vote),))


def branch_id(parent_id: bytes, founder: str) -> bytes:
    return digest("branch", parent_id, founder)


def open_certificate(wire: bytes, swarm_id: bytes, sender: str) -> Certificate:
    """Check a peer's certificate.

    Raises:
        RemoteProtocolError: reason `bad-certificate` or one of `open_record`'s.
    """
    try:
        value: Any = parse_canonical(wire, MAX_CERTIFICATE_BYTES)
        head_bytes, vote_wires = msgspec.convert(value, tuple[bytes, list[bytes]], builtin_types=(bytes,))
        head = decode_value(head_bytes, Head)
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-certificate", str(error)[:200]) from error
    if len(vote_wires) > MAX_MEMBERS:
        raise RemoteProtocolError(sender, "bad-certificate", f"{len(vote_wires)} votes")
    votes = tuple(open_record(vote, swarm_id, {Vote.KIND: Vote}, sender) for vote in vote_wires)
    fault = _fault(head, votes)
    if fault:
        raise RemoteProtocolError(sender, "bad-certificate", fault)
    return Certificate(head, votes)


def heavier(left: Head, right: Head) -> bool:
    """Whether a node on `right` should move to `left`."""
    return (left.tokens, left.number, -left.marks, _inverted(left.id)) > (
        right.tokens,
        right.number,
        -right.marks,
        _inverted(right.id),
    )


def _fault(head: Head, votes: tuple[Signed[Vote], ...]) -> str | None:
    """Why votes do not certify a head, or None."""
    if len(set(head.members)) != len(head.members):
        return "a member is named twice"
    if len(head.votes) != len(head.members):
        return f"{len(head.votes)} votes for {len(head.members)} members"
    if len({vote.body.view for vote in votes}) != 1:
        return "votes of several views, or none"
    founding = votes[0].body.step == "found"
    expected = (head.id, head.parent, head.number if founding else head.number - 1)
    if len({vote.body.roster for vote in votes}) != 1 or (votes[0].body.roster is None) != founding:
        return "votes on several rosters, or on none"
    for vote in votes:
        body = vote.body
        if (body.value, body.base, body.round) != expected:
            return "a vote for something else"
        if body.step != ("found" if founding else "close") or vote.signer not in head.electors:
            return "a vote of another step, or by who is no elector"
    if founding:
        alone = head.members == (head.founder,) and head.since == head.number
        alone = alone and not head.results and not head.within
        alone = alone and not (head.parent == NOTHING and head.amendments)
        named = head.branch == branch_id(head.parent, head.founder)
        return None if alone and named else "not a founding"
    if len({vote.signer for vote in votes}) < quorum(head.electors):
        return "no majority"
    return None


def _inverted(id_: bytes) -> bytes:
    return bytes(255 - byte for byte in id_)
