"""What members say to each other during a round: the record kinds and their bounds.

Every record names the head it builds on (`base`): a record of another branch, or of an earlier
round, can't be taken for one of this round. Values that members agree on (`Roster`, `Head`) are
not records: they travel inside proposals and are named by their digest.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec

from dhtnode.amendments import MAX_AMENDMENTS
from dhtnode.digest import digest
from dhtnode.records import Body, Count, Digest, PeerId, canonical, parse_canonical
from training.roster import voters

MAX_MEMBERS = 64
"""Largest round group; DESIGN section 4 goes to two stages beyond it."""
MAX_VIEW = 63
"""Views double their time-outs: view 63 is beyond any patience."""
WHOLE = 2
"""A whole vote, in halves."""
MAX_BANDWIDTH = 2**20
"""KiB/s."""
MAX_VALUE_BYTES = 16 * 1024
MAX_PROPOSAL_BYTES = 64 * 1024

Step = Literal["roster", "close", "found"]
View = Annotated[int, msgspec.Meta(ge=0, le=MAX_VIEW)]
Index = Annotated[int, msgspec.Meta(ge=0, lt=MAX_MEMBERS)]
Value = Annotated[bytes, msgspec.Meta(max_length=MAX_VALUE_BYTES)]
Worth = Annotated[int, msgspec.Meta(ge=0, le=WHOLE)]
"""How much a member counts, in halves of a vote: its work in the reduction, and whether it is an elector."""
Amendments = Annotated[tuple[Digest, ...], msgspec.Meta(max_length=MAX_AMENDMENTS)]
"""Ids of all amendments to the manifest that a chain has adopted, in order; see `training.in_force`. A value
without any leaves the field out, and has no other spelling."""
Votes = Annotated[tuple[Worth, ...], msgspec.Meta(min_length=1, max_length=MAX_MEMBERS)]


class Ready(Body, frozen=True, kw_only=True):
    """A newcomer holds the state of `base` and trains: the round should wait for its commitment."""

    KIND: ClassVar[str] = "ready"
    MAX_BYTES: ClassVar[int] = 512
    round: Count
    base: Digest


class Leave(Body, frozen=True, kw_only=True):
    """A member goes: the round should not wait for its commitment."""

    KIND: ClassVar[str] = "leave"
    MAX_BYTES: ClassVar[int] = 512
    round: Count
    base: Digest


class Commitment(Body, frozen=True, kw_only=True, omit_defaults=True):
    """Binds a member to its local work before anything of it is revealed."""

    KIND: ClassVar[str] = "commitment"
    MAX_BYTES: ClassVar[int] = 1024
    round: Count
    base: Digest
    start: Digest
    """Digest of the state that the work started from."""
    steps: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    tokens: Count
    """Tokens or samples really processed."""
    weight: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    """Weight in the mean: tokens of this round, or samples of the private shard (FedAvg)."""
    parts: Digest
    """Root over the digests of the encoded chunks, salted with the signer."""
    segments: Digest
    """Root over the sealed digests of the run's boundaries; see `training.segments`."""
    loss_micro: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    """Mean training loss in millionths."""
    bandwidth: Annotated[int, msgspec.Meta(ge=0, le=MAX_BANDWIDTH)]
    """KiB/s: the share of the reduction this member offers to carry; 0 for none."""
    device: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    """Device profile: members that name the same one get the same bits from the same work."""
    link: Digest
    """Of the signer's chain for the audit lottery: fixed before anybody knows what is drawn."""
    private: bool
    """Done on data that nobody else has: this work can't be replayed."""
    dated: Digest | None = None
    """Id of a record of the signer that is as old as this commitment, shown only after the round has closed.
    A commitment without any leaves the field out, and has no other spelling."""


class Proposal(Body, frozen=True, kw_only=True, omit_defaults=True):
    """A view's leader puts a value to the vote. Beyond view 0 it shows a majority's promises."""

    KIND: ClassVar[str] = "proposal"
    MAX_BYTES: ClassVar[int] = MAX_PROPOSAL_BYTES
    round: Count
    base: Digest
    step: Literal["roster", "close"]
    view: View
    value: Value
    promises: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_MEMBERS)]
    roster: Digest | None = None
    """Digest of the one whose round is closed; None where it is agreed on. The same in votes and promises."""


class Vote(Body, frozen=True, kw_only=True, omit_defaults=True):
    """An elector accepts a value in a view. A majority of equal votes decides."""

    KIND: ClassVar[str] = "vote"
    MAX_BYTES: ClassVar[int] = 512
    round: Count
    base: Digest
    step: Step
    view: View
    value: Digest
    roster: Digest | None = None


class Promise(Body, frozen=True, kw_only=True, omit_defaults=True):
    """An elector leaves all views below `view` and tells what it last voted for."""

    KIND: ClassVar[str] = "promise"
    MAX_BYTES: ClassVar[int] = 512
    round: Count
    base: Digest
    step: Literal["roster", "close"]
    view: View
    voted_view: View | None
    voted: Digest | None
    roster: Digest | None = None


class Result(Body, frozen=True, kw_only=True):
    """A reducer names the bytes of a reduced part and whose work is in them."""

    KIND: ClassVar[str] = "result"
    MAX_BYTES: ClassVar[int] = 1024
    round: Count
    base: Digest
    roster: Digest
    part: Index
    included: Annotated[tuple[Index, ...], msgspec.Meta(min_length=1, max_length=MAX_MEMBERS)]
    """Places in the roster, rising."""
    root: Digest
    """Root over the digests of the result's chunks."""


KINDS: dict[str, type[Body]] = {
    kind.KIND: kind for kind in (Ready, Leave, Commitment, Proposal, Vote, Promise, Result)
}
"""Everything that may arrive on the swarm's topic."""


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Whose commitments a round reduces, in reduction order (sorted by `roster.rank`)."""

    commitments: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=1, max_length=MAX_MEMBERS)]
    votes: Votes
    """What each of their signers counts for, in this order."""
    amendments: Amendments = ()
    """Those of the head that the round starts from, and what it adopts itself."""


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What a closed round leaves behind: the state that the next round starts from."""

    number: Count
    """The next round to be played."""
    parent: Digest
    """Id of the head before; zeros for the first."""
    branch: Digest
    """Names the founding that this chain descends from."""
    founder: PeerId
    since: Count
    """Round at which the branch was founded."""
    marks: Count
    """How often this chain went on without a quorum: 0 means never."""
    state: Digest
    members: Annotated[tuple[PeerId, ...], msgspec.Meta(min_length=1, max_length=MAX_MEMBERS)]
    """The round's roster, in order."""
    votes: Votes
    """Of each member, as the roster names them."""
    tokens: Count
    """Accepted tokens of electors since the beginning: what fork choice compares."""
    accepted: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=MAX_MEMBERS)]
    """Ids of the commitments whose work most parts of the state include: with the certificate, a receipt."""
    results: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=MAX_MEMBERS)]
    """Ids of the result records that make up the step from the parent's state."""
    amendments: Amendments = ()
    """As the roster names them."""
    partial: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=MAX_MEMBERS)] = ()
    """Ids of the commitments whose work fewer parts include; see `acceptance`."""

    @property
    def id(self) -> bytes:
        return value_digest(encode_value(self))

    @property
    def electors(self) -> tuple[str, ...]:
        """Who has certified it, and who decides in the next round."""
        return voters(self.members, self.votes)

    @property
    def within(self) -> tuple[bytes, ...]:
        """Ids of all commitments whose work is in the state, be it in one part of it."""
        return self.accepted + self.partial

    def vote_of(self, peer: str) -> int:
        """A peer's vote in halves; 0 for whoever is not in it."""
        return self.votes[self.members.index(peer)] if peer in self.members else 0


V = TypeVar("V", Roster, Head)


def encode_value(value: Roster | Head) -> bytes:
    """Canonical bytes of a value."""
    return canonical(value)


def decode_value(data: bytes, kind: type[V]) -> V:
    """The value in a proposal.

    Raises:
        ValueError: not canonical, or not of that kind.
    """
    plain: Any = parse_canonical(data, MAX_VALUE_BYTES)
    try:
        value = msgspec.convert(plain, kind, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    if encode_value(value) != data:
        raise ValueError("not in canonical form")
    return value


def value_digest(data: bytes) -> bytes:
    """What votes name a value by."""
    return digest("value", data)
