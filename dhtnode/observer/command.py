"""The `dhtnode-observer` command: its options, its help, its output."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import Manifest
from dhtnode.observer.sightings import Sighting
from dhtnode.observer.view import lines

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(
    epilog="""
    **Until Ctrl-C:** `dhtnode-observer swarm.toml --peer /ip4/192.0.2.7/tcp/4117/p2p/12D3Koo...`

    **In a script, wait for three rounds, at most five minutes:**
    `dhtnode-observer swarm.toml --peer ADDRESS --json --rounds 3 --seconds 300`

    ADDRESS is what `dhtnode status` of any member shows as *reachable at*. With several `--peer`
    no single member can hide anything from you.

    What you see: **presence** (a member's signed DHT entry), **ready**, **commitment**, **proposal**,
    **vote**, **promise**, **result**, **leave** (signed records of a round), **head** (a round closed: the
    state's digest and the votes behind it), **rejected** (forged or broken, dropped).

    Exit codes: 0 done or stopped by you, 1 fewer rounds than asked for, 2 wrong command line, 3 manifest,
    6 no member answers.
    """
)
def observer(
    manifest: Annotated[Path, typer.Argument(metavar="SWARM.TOML", help="The swarm's manifest.")],
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MULTIADDR",
            help="A member to look through, with /p2p/. Repeatable. Left out: those in the manifest.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; docs/observer.md describes them.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(metavar="N", min=0.1, help="Stop after this time.")] = None,
    rounds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop when this many rounds have closed.")
    ] = None,
) -> None:
    """Watch a swarm from outside, and believe nothing that is not signed.

    Takes no part: it dials a member, listens to the swarm's gossip, asks for the latest certificate and
    for presence, and checks every signature itself. It needs no home, no torch and no daemon.
    """
    terms = Manifest.load(manifest)
    addresses = peer or terms.terms.network.bootstrap
    if not addresses:
        raise ConfigError(
            f"{manifest} names no bootstrap peer; give a member's address with --peer", Exit.USAGE
        )
    from dhtnode.observer.client import Door  # only now: py-libp2p takes a second to load
    from dhtnode.observer.program import Options, observe

    doors = tuple(dict.fromkeys(map(Door.parse, addresses)))
    observe(Options(terms, doors, seconds, rounds), _tell_json if as_json else _tell_text)


def _tell_json(sighting: Sighting) -> None:
    document = {"time_s": round(time.time(), 3), **msgspec.to_builtins(sighting)}
    _write(msgspec.json.encode(document).decode())


def _tell_text(sighting: Sighting) -> None:
    for line in lines(sighting):
        _write(line)


def _write(line: str) -> None:
    """Print at once; a reader that went away, as `head` does, is as good as Ctrl-C."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.raise_signal(signal.SIGTERM)
