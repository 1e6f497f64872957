"""What reaches a judging core and what it asks for, beside the events and effects of training."""

from __future__ import annotations

from dataclasses import dataclass

from dhtnode.records import Signed
from training.events import Effect, Event, Plan
from training.messages import Commitment, Result
from validation.cases import Case
from validation.entry import Entry
from validation.messages import Opening, Verdict
from validation.voucher import Voucher

# Events


@dataclass(frozen=True)
class Replayed:
    """A member's local run has been done again."""

    target: bytes
    """Id of the commitment."""
    parts: bytes
    """Root over its chunks, salted with the worker: what an honest commitment shows."""
    root: bytes
    """Root over the same chunks under nobody's name: see `messages.mark`."""
    exact: bool
    """Whether steps, tokens, weight and loss are those committed to."""
    boundaries: tuple[bytes, ...] = ()
    """Digests of the states between its segments, under nobody's name."""


@dataclass(frozen=True)
class SealsShown:
    """A worker was asked for the boundaries that it has committed to."""

    target: bytes
    """Id of the commitment."""
    seals: tuple[bytes, ...] | None
    """Held against the commitment (`dispute.check_seals`); None if it has not shown them."""


@dataclass(frozen=True)
class SegmentReplayed:
    """One segment of a member's local run has been done again, or could not be."""

    target: bytes
    """Id of the commitment."""
    segment: int
    end: bytes | None
    """What it leads to: digest of a state, or for the last one `Replayed.root`; zeros if that is nothing.
    None if the worker has not shown where the segment begins, or nothing can be told from there."""
    sound: bool
    """Whether that is what the worker has committed to."""


@dataclass(frozen=True)
class Compared:
    """Chunks of a replay lie beside those that the worker has shown."""

    target: bytes
    distance: int | None
    """Relative, in ppm; None if the worker has not shown them."""


@dataclass(frozen=True)
class Rereduced:
    """Chunks of a part have been reduced again from what its senders committed to."""

    target: bytes
    """Id of the result."""
    same: bool | None
    """Whether they are those that the reducer announced; None if a sender's were not to be had."""
    whole: bool
    """Whether these are all chunks of the part."""


@dataclass(frozen=True)
class CaseShown:
    """A peer shows a case that the shell has checked from itself."""

    case: Case


# Effects


@dataclass(frozen=True)
class Replay:
    """Do a member's work again, at low priority, and tell what came out."""

    commitment: Signed[Commitment]
    urgent: bool
    """Somebody has called it false."""


@dataclass(frozen=True)
class AskSeals:
    """Ask a worker for the boundaries that it has committed to."""

    commitment: Signed[Commitment]
    opening: Signed[Opening]


@dataclass(frozen=True)
class ReplaySegment:
    """Ask a worker for the state that a segment begins in, do that segment again, and tell what came out."""

    commitment: Signed[Commitment]
    opening: Signed[Opening]
    accusation: Signed[Verdict]
    """A `fail` that names the segment: the worker may not have heard it yet."""


@dataclass(frozen=True)
class Compare:
    """Ask the worker for some of its chunks, and hold them against the replay's."""

    commitment: Signed[Commitment]
    opening: Signed[Opening]
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Rereduce:
    """Reduce chunks of a part again from what its senders committed to; tell if they are the same."""

    plan: Plan
    result: Signed[Result]
    opening: Signed[Opening]
    indices: tuple[int, ...]
    """Of the update's chunks."""


@dataclass(frozen=True)
class Declare:
    """Store an own verdict durably, then send it to all."""

    verdict: Signed[Verdict]


@dataclass(frozen=True)
class Judged:
    """A verdict is in, an own one or another's: for the record."""

    verdict: Signed[Verdict]


@dataclass(frozen=True)
class Displaced:
    """A verdict is not kept any more: its signer has said more than is kept of it (`kept.py`)."""

    verdict: Signed[Verdict]


@dataclass(frozen=True)
class Convict:
    """A key is out: keep the case for good."""

    case: Case


Look = Replay | AskSeals | ReplaySegment | Compare | Rereduce
"""Do something again, or ask to be shown it, and tell what came of it."""
Found = Replayed | SealsShown | SegmentReplayed | Compared | Rereduced
"""What came of it."""


@dataclass(frozen=True)
class Admit:
    """A newcomer has shown what its key has cost: keep it."""

    entry: Signed[Entry]


@dataclass(frozen=True)
class Vouched:
    """A member answers for a newcomer: keep it, and book what follows."""

    voucher: Signed[Voucher]


@dataclass(frozen=True)
class Show:
    """Send the own entry to all: this node is new to them. Or an own voucher."""

    record: Signed[Entry] | Signed[Voucher]


Judging = Look | Declare | Judged | Displaced | Convict | Admit | Vouched | Show
NodeEvent = Event | Found | CaseShown
NodeEffect = Effect | Judging
