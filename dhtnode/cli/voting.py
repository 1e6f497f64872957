"""`dhtnode propose`, `vote`, `proposals`: what the running node is asked to sign, and what it knows."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from dhtnode.cli.asking import ask_node
from dhtnode.cli.values import toml_value
from dhtnode.errors import ConfigError, Exit
from dhtnode.home import Home
from dhtnode.proposals import ProposalPart, Proposals
from dhtnode.reward import PPM

SHORT = 12
"""Digits of an id that are shown."""


def say_proposal(home: Home, settings: Sequence[str], round_no: int | None, why: str) -> None:
    """Have the node sign a proposal.

    Raises:
        ConfigError: USAGE (2) for what is no KEY=VALUE; FAILED (1) if no node runs, or none could adopt it.
    """
    changes: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key in changes:
            raise ConfigError(f"{setting!r} is not KEY=VALUE, or the key is there twice", Exit.USAGE)
        changes[key] = msgspec.json.encode(toml_value(value)).decode()
    effect = "" if round_no is None else str(round_no)
    answer = ask_node(home, "propose", changes=msgspec.json.encode(changes).decode(), effect=effect, why=why)
    made = msgspec.json.decode(answer, type=str)
    found = next(one for one in _proposals(home).proposals if one.id == made)
    print(f"proposed: {made[:SHORT]}, {_what(found)} from round {found.effect} on")
    print(f"the others vote with 'dhtnode vote {made[:SHORT]} yes' in rounds up to {found.last}")


def say_vote(home: Home, proposal: str, choice: str) -> None:
    """Have the node sign a ballot. Raises as `say_proposal`."""
    named = msgspec.json.decode(ask_node(home, "vote", proposal=proposal, choice=choice), type=str)
    found = next(one for one in _proposals(home).proposals if one.id == named)
    print(f"voted {choice}: {named[:SHORT]}, {_what(found)}; {_votes(found)}")


def show_proposals(home: Home, *, as_json: bool) -> None:
    """Print the table of the running node. Raises as `say_proposal`."""
    known = _proposals(home)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(known), indent=2).decode() + "\n")
        return
    console = Console(highlight=False)
    if not known.proposals:
        console.print("nothing is voted on, and nothing was adopted: the manifest holds as it was signed")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("proposal", "state", "for", "against", "needed", "vote by", "holds from"):
        table.add_column(column, no_wrap=True)
    for one in known.proposals:
        last = str(one.last) if one.state == "open" else ""
        table.add_row(one.id[:SHORT], one.state, *_shares(one), last, str(one.effect))
    console.print(table)
    for one in known.proposals:
        why = f": {one.why}" if one.why else ""
        console.print(
            f"{one.id[:SHORT]}  {_what(one)}, by {one.by[-SHORT:]} in round {one.round}{why}", markup=False
        )
        if one.fault is not None:
            console.print(f"{one.id[:SHORT]}  this dhtnode can't play by it: {one.fault}", markup=False)
    own = "not known, its ledger lacks rounds" if known.own is None else f"{known.own / PPM:,.6f} credits"
    console.print(f"round {known.round} now; weight of this node's vote: {own}")


def _proposals(home: Home) -> Proposals:
    return msgspec.json.decode(ask_node(home, "proposals"), type=Proposals)


def _what(proposal: ProposalPart) -> str:
    return ", ".join(f"{key} = {value}" for key, value in proposal.changes.items())


def _votes(proposal: ProposalPart) -> str:
    """Where an open vote stands, in words."""
    if proposal.total is None:
        return "how far it is is not known: this node's ledger lacks rounds"
    if not proposal.total:
        return "nobody has vested anything yet"
    given, against, needed = _shares(proposal)
    return f"{given} for, {against} against, {needed} needed"


def _shares(proposal: ProposalPart) -> tuple[str, str, str]:
    """For, against and needed, as shares of all weight; nothing where a vote is over or can't be counted."""
    if not proposal.total:
        return "", "", ""
    parts = (proposal.given or 0, proposal.against or 0, proposal.needed or 0)
    given, against, needed = (f"{part / proposal.total:.1%}" for part in parts)
    return given, against, needed
