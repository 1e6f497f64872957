"""What reaches a round core and what it asks for: the whole interface between core and shell.

The core is synchronous and deterministic: events in, effects out, in order. The shell owns time,
network, disk and arithmetic. It stores each published record durably before it sends it, and does
the effects of one event in their order.
"""

from __future__ import annotations

from dataclasses import dataclass

from dhtnode.records import Body, Signed
from training.chain import Certificate
from training.messages import Commitment, Head, Result
from training.roster import voters, weighed
from training.segments import ONE_SEGMENT


@dataclass(frozen=True)
class Work:
    """What local training produced; the bytes themselves stay with the shell."""

    steps: int
    tokens: int
    weight: int
    parts: bytes
    loss_micro: int
    bandwidth: int
    """Share of the reduction that this node offers to carry; KiB/s it has lately sent parts at."""
    segments: bytes = ONE_SEGMENT
    """Root over the boundaries of the run."""


@dataclass(frozen=True)
class Plan:
    """A certified roster, ready to be reduced. # N = members."""

    round: int
    base: bytes
    roster: bytes
    commitments_N: tuple[Signed[Commitment], ...]
    votes_N: tuple[int, ...]
    """What each member counts for, in halves of a vote."""
    ranges_N: tuple[range, ...]
    """Chunk indices that each member reduces; empty where it reduces nothing."""
    amendments: tuple[bytes, ...] = ()
    """That the round's head will name."""

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(commitment.signer for commitment in self.commitments_N)

    @property
    def electors(self) -> tuple[str, ...]:
        """Members whose work counts, who reduce it, and who certify what it led to."""
        return voters(self.members, self.votes_N)

    @property
    def weights(self) -> tuple[int, ...]:
        """What each member's work weighs in the reduction: 0 adds nothing to the state."""
        return weighed([commitment.body.weight for commitment in self.commitments_N], self.votes_N)


# Events


@dataclass(frozen=True)
class Tick:
    """Time has passed; nothing else."""


@dataclass(frozen=True)
class RecordArrived:
    """A record whose signature the shell has verified."""

    record: Signed[Body]
    sender: str


@dataclass(frozen=True)
class HeadOffered:
    """A certificate that the shell has verified; who showed it does not matter."""

    certificate: Certificate


@dataclass(frozen=True)
class Heard:
    """A peer is alive: it answered, or asked."""

    peer: str


@dataclass(frozen=True)
class Trained:
    """Local work is done and stored durably."""

    base: bytes
    work: Work


@dataclass(frozen=True)
class PartArrived:
    """A sender's chunks for a part, checked against its commitment."""

    base: bytes
    roster: bytes
    part: int
    sender: str


@dataclass(frozen=True)
class SendFailed:
    """A reducer could not be reached."""

    base: bytes
    roster: bytes
    part: int
    to: str


@dataclass(frozen=True)
class Reduced:
    """Own reduction of a part is done."""

    base: bytes
    roster: bytes
    part: int
    included: tuple[int, ...]
    root: bytes


@dataclass(frozen=True)
class ResultFetched:
    """The bytes behind a result record are here and match it."""

    base: bytes
    result: bytes


@dataclass(frozen=True)
class ResultMissing:
    """No source had the bytes behind a result record."""

    base: bytes
    result: bytes


@dataclass(frozen=True)
class Applied:
    """The outer step with these results leads to this state."""

    base: bytes
    results: tuple[bytes, ...]
    state: bytes


@dataclass(frozen=True)
class StateFetched:
    """The state of a head is here and matches its digest."""

    head: bytes


@dataclass(frozen=True)
class StateMissing:
    """No source could give the whole state of a head."""

    head: bytes


@dataclass(frozen=True)
class Stop:
    """The user wants the node to leave."""


Event = (
    Tick
    | RecordArrived
    | HeadOffered
    | Heard
    | Trained
    | PartArrived
    | SendFailed
    | Reduced
    | ResultFetched
    | ResultMissing
    | Applied
    | StateFetched
    | StateMissing
    | Stop
)


# Effects


@dataclass(frozen=True)
class Publish:
    """Store an own record durably, then send it to all."""

    record: Signed[Body]


@dataclass(frozen=True)
class Train:
    """Start local work from a head's state; it should end within the budget, if there is one."""

    head: Head
    steps: int
    budget_s: float | None


@dataclass(frozen=True)
class Halt:
    """Give up local work on a head: its result can't be used any more."""

    base: bytes


@dataclass(frozen=True)
class OpenReduce:
    """A plan is certified: parts may arrive. It takes the place of an earlier one of that round."""

    plan: Plan


@dataclass(frozen=True)
class SendPart:
    """Send own chunks of a part to a reducer."""

    plan: Plan
    part: int
    to: str


@dataclass(frozen=True)
class Reduce:
    """Reduce a part from the members at these places of the roster."""

    plan: Plan
    part: int
    included: tuple[int, ...]


@dataclass(frozen=True)
class FetchResult:
    """Get the bytes behind a result record from the first source that has them."""

    plan: Plan
    result: Signed[Result]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Apply:
    """Do the outer step with these results and tell the digest."""

    plan: Plan
    results: tuple[Signed[Result], ...]


@dataclass(frozen=True)
class FetchState:
    """Get a head's state in chunks from several peers."""

    certificate: Certificate


@dataclass(frozen=True)
class Adopt:
    """A head is final here: keep its state and certificate durably, forget older ones."""

    certificate: Certificate
    works: tuple[Signed[Commitment], ...]
    """All that is in it, be it in part; empty where the state was fetched or founded."""
    plan: Plan | None = None
    """How the round was reduced; None where the state was fetched or founded."""
    results: tuple[Signed[Result], ...] = ()
    """What came out of it, part by part."""


@dataclass(frozen=True)
class AskPeer:
    """Exchange records and heads with a peer soon: it seems to know more."""

    peer: str


@dataclass(frozen=True)
class Blame:
    """A peer broke the protocol; count it and drop what it sent."""

    peer: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Finished:
    """Nothing is left to do: the rounds are done, or the node has left its last one."""

    why: str


@dataclass(frozen=True)
class CannotFollow:
    """The swarm goes on under terms that this node can't apply: it is out."""

    why: str


Effect = (
    Publish
    | Train
    | Halt
    | OpenReduce
    | SendPart
    | Reduce
    | FetchResult
    | Apply
    | FetchState
    | Adopt
    | AskPeer
    | Blame
    | Finished
    | CannotFollow
)
