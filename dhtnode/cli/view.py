"""Status documents as text for a terminal. Everything is said in words: colour only underlines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from dhtnode.alias import alias_of
from dhtnode.reward import PPM
from dhtnode.status import (
    AuditCount,
    AuditsPart,
    OutsidePart,
    PlausibilityPart,
    RewardsPart,
    Status,
    TermsPart,
    TrainingPart,
    TrustPart,
)

WHY_SHOWN = 8
"""Changes that fit on a screen; `--json` has more."""
_UNKNOWN = "-"
_INSIDE = {"work", "looks odd", "traffic", "home"}
"""Rows that only the node itself can fill."""


def status_view(status: Status) -> RenderableType:
    """The whole document: a panel of facts, then the last changes, the peers, and what was dropped."""
    parts: list[RenderableType] = [
        Panel(_facts(status), title=f"swarm {status.swarm.name}", title_align="left")
    ]
    if status.why:
        parts.append(_why(status))
    if status.peers:
        parts.append(_peers(status))
    if status.outside is not None:
        parts += [_accounts(status.outside), _shown(status.outside)]
    if status.reputation.table:
        parts.append(trust_table(status, status.reputation.table))
    if status.rejected_by_peer:
        parts.append(_rejected(status))
    parts.extend(Text(f"note: {notice}") for notice in status.notices)
    return Group(*parts)


def headline(status: Status) -> str:
    """One sentence about where the node is."""
    if status.outside is not None:
        answers = "answers" if status.running else "has not answered"
        return f"seen from outside, through {len(status.outside.shown)} members; it {answers}"
    if not status.running:
        return f"no node runs in this home; saved {duration(time.time() - status.saved_at_s)} ago"
    return f"running, pid {status.pid}, up {duration(status.uptime_s)}"


def round_line(status: Status) -> str:
    """What just finished, for a log that is read from top to bottom."""
    return (
        f"round {status.round.number}{_of(status.round.total)}  "
        f"eval loss {number(status.training.eval_loss)}  loss {number(status.training.loss)}  "
        f"{len(status.round.roster)} members  {rate(status.training)}  "
        f"sent {size(status.traffic.sent_bytes)}  state {(status.round.state_digest or _UNKNOWN)[:12]}"
    )


def phase_line(status: Status) -> str:
    """What the node does now and what it waits for."""
    reason = f": {status.round.reason}" if status.round.reason else ""
    return f"round {status.round.number}{_of(status.round.total)}  {status.round.phase}{reason}".rstrip()


def _audits(audits: AuditsPart) -> str:
    """Both directions, and who is out."""
    of_me, by_me = audits.of_me, audits.by_me
    out = f"; {len(audits.excluded)} out of the swarm, see 'dhtnode audit show'" if audits.excluded else ""
    return f"of this node {_outcomes(of_me)}; by this node {_outcomes(by_me)}{out}"


def _outcomes(count: AuditCount) -> str:
    unsure = f"{count.unsure:,} unsure, " if count.unsure else ""
    return f"{count.passed:,} passed, {unsure}{count.failed:,} failed"


def _oddities(part: PlausibilityPart) -> str:
    """Private mode: whose work looks odd, and whether the swarm gets worse."""
    odd = []
    for peer, seen in part.peers.items():
        counts = {"length": seen.length, "direction": seen.direction, "twin": seen.twin, "echo": seen.echo}
        if any(counts.values()):
            odd.append(
                f"{peer[-12:]} ({_counts({kind: n for kind, n in counts.items() if n})} of {seen.parts})"
            )
    loss = "; the held-out loss has been rising for rounds" if part.rising else ""
    return f"{', '.join(odd) or 'nobody'}{loss} (no proof of anything)"


def _trust_in_me(status: Status) -> str:
    """As the others have signed it."""
    of_me = status.reputation.of_me
    if of_me.median is None or of_me.lowest is None:
        return "no other member has been asked yet"
    return (
        f"median {of_me.median / PPM:.3f}, lowest {of_me.lowest / PPM:.3f}, as {of_me.observers} members say"
    )


def _credits(rewards: RewardsPart) -> str:
    """What the node owns, what it was for, and what its ledger lacks."""
    terms = ", ".join(f"{term} {amount / PPM:,.3f}" for term, amount in rewards.by_term.items() if amount)
    lacking = f"; {rewards.missing_rounds:,} rounds are not in this ledger" if rewards.missing_rounds else ""
    return (
        f"{rewards.vested / PPM:,.3f} vested ({rewards.ownership_ppm / PPM:.2%} of all), "
        f"{rewards.stake / PPM:,.3f} at stake; earned by: {terms or 'nothing yet'}{lacking}"
    )


def _vouchers(status: Status) -> str:
    """Whom this node answers for, and who answers for it."""
    lines = []
    for one in status.reputation.vouchers:
        held = f"with {one.bond / PPM:,.6f} credits, until it has served its probation"
        if one.by == status.peer_id:
            lines.append(f"this node answers for {one.newcomer} {held}")
        elif one.newcomer == status.peer_id:
            lines.append(f"{one.by} answers for this node {held}")
    return "\n".join(lines)


def terms_since(round_no: int) -> str:
    """How old the terms in force are."""
    return f"since round {round_no}" if round_no else "(the manifest's)"


def _terms(terms: TermsPart) -> str:
    """What is in force, and whether that changes soon."""
    if not terms.digest:
        return ""
    coming = "" if terms.next_round is None else f"; others from round {terms.next_round} on"
    adopted = f", {len(terms.amendments)} amendments adopted" if terms.amendments else ""
    return f"{terms.digest[:12]} {terms_since(terms.since_round)}{adopted}{coming}"


def _why(status: Status) -> Table:
    """The last changes."""
    table = Table("round", "change", "cause", "record", title_justify="left", title="why (newest first)")
    for part in status.why[:WHY_SHOWN]:
        table.add_row(str(part.round), part.change, part.cause, part.record[:12])
    return table


def _facts(status: Status) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    training, traffic, storage = status.training, status.traffic, status.storage
    share = "" if training.utilisation is None else f", {training.utilisation:.0%} of the time in training"
    work = f"{training.tokens:,} {training.unit} in {training.steps:,} steps, {rate(training)}{share}"
    rows = [
        ("node", headline(status)),
        ("alias", status.alias),
        ("peer id", status.peer_id),
        ("reachable at", "\n".join(status.addresses) or "no address yet"),
        ("swarm id", status.swarm.id),
        ("terms", _terms(status.terms)),
        ("now", phase_line(status)),
        (
            "branch",
            f"since round {status.branch.since_round}: {status.branch.reason}" if status.branch else "",
        ),
        ("state", f"{status.round.state_digest or _UNKNOWN}"),
        ("loss", f"{number(training.eval_loss)} held-out, {number(training.loss)} training"),
        ("work", work),
        (
            "receipts",
            f"{status.receipts.rounds:,} rounds, {status.receipts.tokens:,} {training.unit}"
            + _of_the_swarm(status.receipts.share_ppm)
            + (", data unverified" if status.plausibility else ""),
        ),
        ("audits", "" if status.plausibility else _audits(status.audits)),
        ("looks odd", _oddities(status.plausibility) if status.plausibility else ""),
        ("trust in me", _trust_in_me(status)),
        ("my vote", vote_in_roster(status, status.peer_id) if status.round.roster else ""),
        ("credits", _credits(status.rewards)),
        ("vouchers", _vouchers(status)),
        ("traffic", f"{size(traffic.sent_bytes)} sent, {size(traffic.received_bytes)} received"),
        ("dropped", _counts(status.rejected) or "nothing"),
        ("deadlines", ", ".join(f"{phase} {limit:.1f} s" for phase, limit in status.deadlines_s.items())),
        (
            "home",
            f"{storage.home}, {size(storage.store_bytes + storage.checkpoint_bytes + storage.data_bytes)}",
        ),
    ]
    for label, text in rows:
        if text and not (status.outside and label in _INSIDE):
            table.add_row(label, Text(text))
    return table


def _of_the_swarm(share: int | None) -> str:
    return "" if share is None else f", {share / PPM:.1%} of the swarm's"


def _peers(status: Status) -> Table:
    table = Table(
        Column("alias", no_wrap=True),
        "peer",
        "round",
        "member",
        "heard",
        "address",
        title_justify="left",
        title="peers",
    )
    for peer in status.peers:
        heard = _UNKNOWN if peer.last_seen_s is None else f"{duration(peer.last_seen_s)} ago"
        table.add_row(
            alias_of(peer.peer_id),
            peer.peer_id[-12:],
            _UNKNOWN if peer.round is None else str(peer.round),
            "yes" if peer.member else "no",
            heard,
            Text(peer.addresses[0] if peer.addresses else _UNKNOWN, overflow="ellipsis", no_wrap=True),
        )
    return table


def _accounts(outside: OutsidePart) -> Table:
    """All members' credits, as folded from what was shown."""
    title = f"credits of all members (entries {outside.entries_root[:16]})"
    table = Table("member", "vested", "at stake", "share", title_justify="left", title=title)
    for one in outside.accounts:
        credits_ = (f"{amount / PPM:,.3f}" for amount in (one.vested, one.stake))
        table.add_row(one.peer, *credits_, f"{one.ownership_ppm / PPM:.2%}")
    return table


def _shown(outside: OutsidePart) -> Table:
    """Which member has shown how much, and what of it was no good."""
    columns = ("member", "round", "records", "lacks rounds", "lacks verdicts", "fault")
    table = Table(*columns, title_justify="left", title="shown by")
    for one in outside.shown:
        counts = (str(count) for count in (one.records, one.lacking_rounds, one.lacking_verdicts))
        at = _UNKNOWN if one.round is None else str(one.round)
        table.add_row(one.peer[-12:], at, *counts, Text(one.fault or "none"))
    return table


def trust_table(status: Status, rows: Iterable[TrustPart], *, wide: bool = False) -> Table:
    """What this node thinks of each peer.

    Args:
        status: for votes and connections.
        rows: the peers.
        wide: whole peer ids, and the columns that 80 characters have no room for.
    """
    rows = list(rows)
    connected = {peer.peer_id for peer in status.peers}
    cells: dict[str, Callable[[TrustPart], str]] = {
        "alias": lambda row: alias_of(row.peer),
        "peer": lambda row: row.peer if wide else row.peer[-12:],
        "trust": lambda row: f"{row.trust_ppm / PPM:.3f}",
        "vote": lambda row: vote_in_roster(status, row.peer),
        "audited": lambda row: f"{row.audit_rate:.0%}",
        "bans": _bans,
    }
    if wide:
        cells["worth"] = lambda row: f"{row.vote:g}"
        cells["connected"] = lambda row: "yes" if row.peer in connected else "no"
    if wide and any(row.vouched_by for row in rows):
        cells["vouched by"] = lambda row: (row.vouched_by or "")[-12:]
    table = Table(title_justify="left", title="trust in others")
    for name in cells:
        table.add_column(name, no_wrap=name in {"alias", "peer"})
    for row in rows:
        table.add_row(*(cell(row) for cell in cells.values()))
    return table


def vote_in_roster(status: Status, peer: str) -> str:
    """What a peer counts for in the last certified roster."""
    votes = dict(zip(status.round.roster, status.round.votes, strict=False))
    if not any(votes.values()):
        return "like all" if peer in votes else "not in"
    return f"{votes[peer]:g}" if peer in votes else "not in"


def _bans(row: TrustPart) -> str:
    if row.banned_until == -1:
        return "for good"
    return f"{row.bans}, until {row.banned_until}" if row.banned_until else str(row.bans)


def _rejected(status: Status) -> Table:
    table = Table("from peer", "dropped", title_justify="left", title="dropped")
    for peer_id, reasons in status.rejected_by_peer.items():
        table.add_row(peer_id or "(names no peer)", _counts(reasons))
    return table


def _counts(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items())


def _of(total: int | None) -> str:
    return "" if total is None else f" of {total}"


def number(value: float | None) -> str:
    """A loss with four digits behind the point."""
    return _UNKNOWN if value is None else f"{value:.4f}"


def rate(training: TrainingPart) -> str:
    """How fast the last local run was, in what the task counts."""
    speed = training.tokens_per_s
    return f"{_UNKNOWN if speed is None else format(speed, ',.0f')} {training.unit}/s"


def size(count: int) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, whichever a person would say."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
