"""A program of its own that sees a swarm from outside: py-libp2p, no torch, no hivemind.

The node never imports it, nor it the node's network: both libp2p bindings in one process do not load.

command.py     the `dhtnode-observer` command
client.py      py-libp2p: dial, gossip, request and reply
directory.py   reading hivemind's DHT through a member

Where a member stands, on one page:
reading.py     one reading: whom to ask, and what is told
asking.py      what is asked of one member
evidence.py    what members have shown: verified, merged, bounded (pure)
chains.py      which chain is the swarm's (pure)
folding.py     rounds, verdicts, cases and the ledger, from evidence (pure)
sizing.py      how large the model is, proven
page.py        the page: the node's own document, as far as evidence goes (pure)

Watching:
program.py     one run: dial, listen, ask, end
watch.py       what is known, verified and counted (pure)
following.py   one round from its records: roster, votes, certificate (pure)
sightings.py   what is reported, one struct for each kind of line
view.py        sightings as text
"""

from __future__ import annotations

import os
import signal
import sys

from dhtnode.errors import ConfigError, Exit


def main() -> None:
    """Entry point of `dhtnode-observer`: every mistake of the user is one line and an exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # until the run has handlers of its own
        signal.signal(number, lambda *_: os._exit(Exit.OK))  # an exception could hit a C module half-way
    from dhtnode.observer.command import app

    try:
        app(prog_name="dhtnode-observer")
    except ConfigError as error:
        print(f"dhtnode-observer: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
