"""Old verdicts in few bytes: whoever gave them signs how many there were, and the records may go.

A verdict counts while the books of its round are open (`ReputationSection.open_rounds`, about the shorter
half-life). After that nobody's table changes by it any more, but how often a member has audited and been
audited is still asked for. So each member folds its own verdicts of an epoch into one signed summary:
the same word by the same key, in a fiftieth of the bytes. Members that hold the verdicts check
the summary against them before they let them go; one that leaves out a verdict somebody holds is refused,
and is worth nothing to who holds it. What a key is guilty of is in cases, which are kept for good.

An epoch is as long as books are open. It may be folded when its last round's books are closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar

import msgspec

from dhtnode.digest import digest
from dhtnode.errors import LocalProtocolError
from dhtnode.records import Body, Count, Digest, PeerId, Signed
from training.messages import MAX_MEMBERS
from validation.messages import Outcome, Verdict

MAX_ROWS = 4 * MAX_MEMBERS
"""Peers that one member may have audited in an epoch. A guess: newcomers come and go."""
Tally = Annotated[int, msgspec.Meta(ge=0, le=2**20)]
_OUTCOMES: tuple[Outcome, ...] = ("pass", "unsure", "fail")


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, order=True):
    """What a member has found about one peer in an epoch."""

    peer: PeerId
    passed: Tally
    unsure: Tally
    failed: Tally


class Summary(Body, frozen=True, kw_only=True):
    """All that a member has said about others' records of an epoch."""

    KIND: ClassVar[str] = "summary"
    MAX_BYTES: ClassVar[int] = 24 * 1024
    epoch: Count
    """Rounds from epoch * open_rounds on, as many as books are open."""
    verdicts: Count
    """How many are folded."""
    folded: Digest
    """Over their ids, sorted."""
    rows: Annotated[tuple[Row, ...], msgspec.Meta(max_length=MAX_ROWS)]
    """By peer, rising."""


def epoch_of(round_no: int, open_rounds: int) -> int:
    return round_no // open_rounds


def is_closed(epoch: int, round_no: int, open_rounds: int) -> bool:
    """Whether nothing that is said about an epoch counts any more when this round begins."""
    return round_no > (epoch + 1) * open_rounds - 1 + open_rounds


def fold(epoch: int, verdicts: Iterable[Signed[Verdict]], open_rounds: int) -> Summary:
    """The summary of one member's own verdicts of one epoch; the same in whatever order they come.

    Raises:
        LocalProtocolError: verdicts of several members or epochs.
    """
    own = {verdict.id: verdict for verdict in verdicts}
    if len({verdict.signer for verdict in own.values()}) > 1:
        raise LocalProtocolError("a summary is of one member's verdicts")
    if any(epoch_of(verdict.body.round, open_rounds) != epoch for verdict in own.values()):
        raise LocalProtocolError(f"a verdict of another epoch than {epoch}")
    said = Counter((verdict.body.worker, verdict.body.outcome) for verdict in own.values())
    peers = sorted({peer for peer, _ in said})
    return Summary(
        epoch=epoch,
        verdicts=len(own),
        folded=digest("folded", b"".join(sorted(own))),
        rows=tuple(Row(peer, *(said[peer, outcome] for outcome in _OUTCOMES)) for peer in peers),
    )


def find_fault(summary: Signed[Summary], held: Iterable[Signed[Verdict]], open_rounds: int) -> str | None:
    """What is wrong with a summary, from itself and from the verdicts that are held, or None.

    Args:
        summary: of any member.
        held: verdicts, perhaps not all that there are; others' and other epochs' are passed over.
        open_rounds: the swarm's.
    """
    body = summary.body
    peers = [row.peer for row in body.rows]
    if peers != sorted(set(peers)) or summary.signer in peers:
        return "names a peer twice, out of order, or its own signer"
    if sum(row.passed + row.unsure + row.failed for row in body.rows) != body.verdicts:
        return "its rows are not its verdicts"
    mine = [
        verdict
        for verdict in held
        if verdict.signer == summary.signer and epoch_of(verdict.body.round, open_rounds) == body.epoch
    ]
    known = fold(body.epoch, mine, open_rounds)
    if known.verdicts == body.verdicts:
        return None if known == body else "is not the sum of its verdicts"
    claimed = {row.peer: row for row in body.rows}
    for row in known.rows:
        more = claimed.get(row.peer, Row(row.peer, 0, 0, 0))
        if row.passed > more.passed or row.unsure > more.unsure or row.failed > more.failed:
            return f"leaves out what its signer has said about {row.peer}"
    return None


def droppable(
    held: Sequence[Signed[Verdict]], summaries: Iterable[Signed[Summary]], round_no: int, open_rounds: int
) -> set[bytes]:
    """Ids of verdicts that need not be kept any more.

    Those of closed epochs that a sound summary covers, and those of the epoch before them in any case:
    who has not signed for its word by then is not waited for.
    """
    folded = {
        (summary.signer, summary.body.epoch)
        for summary in summaries
        if find_fault(summary, held, open_rounds) is None
    }
    found = set()
    for verdict in held:
        epoch = epoch_of(verdict.body.round, open_rounds)
        covered = (verdict.signer, epoch) in folded and is_closed(epoch, round_no, open_rounds)
        if covered or is_closed(epoch + 1, round_no, open_rounds):
            found.add(verdict.id)
    return found
