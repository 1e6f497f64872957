"""Sightings as text for people: one line each, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dhtnode.observer.sightings import (
    Connected,
    Headed,
    Lost,
    Present,
    Recorded,
    Rejected,
    Sighting,
    Started,
    Summary,
)


def lines(sighting: Sighting) -> Iterator[str]:
    """What to print for a sighting, most often one line; never a control character of a peer's."""
    if isinstance(sighting, Summary):
        yield from map(printable, _summary(sighting))
    else:
        yield printable(f"{time.strftime('%H:%M:%S')}  {_line(sighting)}")


def _line(sighting: Sighting) -> str:
    match sighting:
        case Started():
            return (
                f"observing swarm '{sighting.name}' {sighting.swarm_id[:16]} of {sighting.rounds} rounds, "
                f"as {sighting.observer}"
            )
        case Connected():
            return f"connected  {_short(sighting.peer)}  at {sighting.address}"
        case Lost():
            return f"lost       {_short(sighting.peer)}  {sighting.reason}"
        case Present():
            where = ", ".join(sighting.addresses) or "no address"
            return f"presence   {_short(sighting.peer)}  in round {sighting.round}, at {where}"
        case Recorded():
            via = "" if sighting.via == "gossip" else "  (asked for)"
            who = f"{sighting.kind:<10} {_short(sighting.signer)}"
            return f"{who}  round {sighting.round}  {sighting.detail}{via}".rstrip()
        case Headed():
            return f"head       {_head(sighting)}"
        case Rejected():
            return f"rejected   {_short(sighting.peer)}  {sighting.reason}  {sighting.detail}"
    raise AssertionError(f"no words for {type(sighting).__name__}")


def _head(head: Headed) -> str:
    came = "votes assembled here" if head.source == "votes" else "shown by a member"
    marks = f", marked {head.marks}x: went on without a quorum" if head.marks else ""
    return (
        f"round {head.number}  state {head.state[:16]}  {len(head.voters)} votes of {len(head.members)} "
        f"members, {came}{marks}"
    )


def _summary(summary: Summary) -> Iterator[str]:
    yield ""
    proven = f"{summary.assembled} proven vote by vote"
    yield f"watched {summary.seconds:.0f} s: {summary.rounds} rounds closed, {proven}"
    if summary.head is not None:
        yield f"head {_head(summary.head)}"
        yield f"state {summary.head.state}"
    for signer, kinds in sorted(summary.records.items()):
        yield f"verified   {_short(signer)}  {_counts(kinds)}"
    yield f"rejected   {_counts(summary.rejected) or 'nothing'}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _short(peer: str) -> str:
    return peer[-12:] or "(no peer)"


def printable(text: str) -> str:
    """Text without control characters: a peer may have chosen it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
