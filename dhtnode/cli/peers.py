"""`dhtnode peers`: what this node thinks of the others, as a table."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal

import msgspec
from rich.console import Console

from dhtnode.cli.status import read_document
from dhtnode.cli.view import trust_table
from dhtnode.home import Home
from dhtnode.status import TrustPart, parse_status

WIDE = 150
"""Columns that a table with whole peer ids needs."""
Order = Literal["trust", "peer", "audits", "bans"]
ORDERS: dict[Order, Callable[[TrustPart], tuple[float | str, ...]]] = {
    "trust": lambda row: (-row.trust_ppm, row.peer),
    "peer": lambda row: (row.peer,),
    "audits": lambda row: (-row.audit_rate, row.peer),
    "bans": lambda row: (-row.bans, row.trust_ppm, row.peer),
}
"""What comes first in each: trusted, smallest id, audited most, banned most."""


def show_peers(home: Home, order: Order, *, as_json: bool) -> None:
    """Print the table of the running node, or the one that it saved last."""
    status = parse_status(read_document(home))
    rows = sorted(status.reputation.table, key=ORDERS[order])
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n")
    else:
        terminal = Console(highlight=False)
        console = terminal if terminal.is_terminal else Console(highlight=False, width=WIDE)
        wide = console.width >= WIDE
        console.print(
            trust_table(status, rows, wide=wide) if rows else "no peers yet: this node has seen no round"
        )
        if rows and not wide:
            console.print(f"--json, or a terminal of {WIDE} columns, has whole peer ids and more columns")
