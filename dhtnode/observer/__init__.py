"""A program of its own that watches a swarm from outside: py-libp2p, no torch, no hivemind.

The node never imports it, nor it the node's network: both libp2p bindings in one process do not load.

command.py     the `dhtnode-observer` command
program.py     one run: dial, listen, ask, end
watch.py       what is known, verified and counted (pure)
following.py   one round from its records: roster, votes, certificate (pure)
sightings.py   what is reported, one struct for each kind of line
view.py        sightings as text
client.py      py-libp2p: dial, gossip, request and reply
directory.py   reading hivemind's DHT through a member
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
