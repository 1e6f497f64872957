"""The `dhtnode-observer` command: its options, its help, its output."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from dhtnode.errors import ConfigError, Exit
from dhtnode.identity import is_peer_id
from dhtnode.manifest import Manifest
from dhtnode.observer.sightings import Sighting
from dhtnode.observer.view import lines

if TYPE_CHECKING:
    from dhtnode.observer.client import Door

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(
    epilog="""
    **Where does a member stand?** `dhtnode-observer swarm.toml --peer ADDRESS`

    **Another one than the one that is asked:** `dhtnode-observer swarm.toml --peer ADDRESS --key 12D3Koo...`

    **Until Ctrl-C:** `dhtnode-observer swarm.toml --peer ADDRESS --watch`

    **In a script, wait for three rounds, at most five minutes:**
    `dhtnode-observer swarm.toml --peer ADDRESS --json --rounds 3 --seconds 300`

    ADDRESS is what `dhtnode status` of any member shows as *reachable at*, like
    /ip4/192.0.2.7/tcp/4117/p2p/12D3Koo... With several `--peer` no single member can hide anything from you.

    What you see of a swarm that you watch: **presence** (a member's signed DHT entry), **ready**,
    **commitment**, **proposal**, **vote**, **promise**, **result**, **leave** (signed records of a round),
    **head** (a round closed: the state's digest and the votes behind it), **rejected** (forged or broken,
    dropped).

    Exit codes: 0 done or stopped by you, 1 fewer rounds than asked for, or nothing that members show lets a
    standing be told, 2 wrong command line, 3 manifest, 6 no member answers.
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
    key: Annotated[
        str | None,
        typer.Option(metavar="PEER", help="Whose page. Left out: that of the first member you look through."),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="The page as JSON, docs/status.md; of --watch one object a line, docs/observer.md."
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show what happens, as it happens, instead of a page.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(metavar="N", min=0.1, help="Watch, and stop after this time.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Watch, and stop when this many rounds have closed."),
    ] = None,
) -> None:
    """See a swarm from outside, and believe nothing that is not signed.

    Shows where a member stands: everything that `dhtnode status` of its node shows and that follows from
    signed records, fetched from members, verified and added up here. With --watch it shows what happens.

    Takes no part, and needs no home, no torch and no daemon.
    """
    terms = Manifest.load(manifest)
    addresses = peer or terms.terms.network.bootstrap
    if not addresses:
        raise ConfigError(
            f"{manifest} names no bootstrap peer; give a member's address with --peer", Exit.USAGE
        )
    watches = watch or seconds is not None or rounds is not None
    if key is not None and (watches or not is_peer_id(key)):
        why = "does not go with --watch, --seconds or --rounds" if watches else "is no peer id (12D3Koo...)"
        raise ConfigError(f"--key {key} {why}; leave it out, or see --help", Exit.USAGE)
    from dhtnode.observer import client  # only now: py-libp2p takes a second to load

    doors = tuple(dict.fromkeys(map(client.Door.parse, addresses)))
    if watches:
        from dhtnode.observer.program import Options, observe

        observe(Options(terms, doors, seconds, rounds), _tell_json if as_json else _tell_text)
    else:
        _show_page(terms, doors, key or doors[0].peer, as_json=as_json)


def _show_page(terms: Manifest, doors: tuple[Door, ...], key: str, *, as_json: bool) -> None:
    from rich.console import Console

    from dhtnode.cli.view import status_view
    from dhtnode.observer.page import document
    from dhtnode.observer.reading import Wish, read_page

    status = read_page(Wish(terms, doors, key))
    if as_json:
        _write(json.dumps(document(status), indent=2))  # amounts that liars name may exceed 64 bits
        return
    console = Console()
    with console.capture() as shown:
        console.print(status_view(status))
    _write(shown.get().rstrip("\n"))


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
