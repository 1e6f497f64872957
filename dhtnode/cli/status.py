"""`dhtnode status`: ask the running node, or read what it left behind. Loads no torch, no network."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version

import msgspec
from rich.console import Console
from rich.live import Live

from dhtnode.alias import alias_of
from dhtnode.cli.view import status_view
from dhtnode.control import NotRunningError, ask
from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest
from dhtnode.status import RoundPart, Status, StoragePart, SwarmPart, TrainingPart, parse_status, totals
from dhtnode.store import Store

INTERVAL_S = 1.0


def read_document(home: Home) -> bytes:
    """The status document as JSON: from the node if one runs, else from its store."""
    try:
        return ask(home.control_path, "status")
    except NotRunningError:
        return offline_status(home).encode()


def offline_status(home: Home) -> Status:
    """What the home knows while no node runs in it.

    Raises:
        ConfigError: the home is damaged.
    """
    if not home.store_path.exists():
        return _never_ran(home)
    with Store.open_reader(home.store_path) as store:
        saved = store.saved_status() or _never_ran(home)
        rejected = store.rejected()
    return msgspec.structs.replace(saved, rejected_by_peer=rejected, rejected=totals(rejected))


def _never_ran(home: Home) -> Status:
    manifest = Manifest.load(home.manifest_path)
    peer_id = Identity.load(home.identity_path).peer_id if home.identity_path.exists() else ""
    return Status(
        running=False,
        saved_at_s=time.time(),
        version=version("dhtnode"),
        swarm=SwarmPart(id=manifest.swarm_id.hex(), name=manifest.terms.name),
        alias=alias_of(peer_id),
        peer_id=peer_id,
        round=RoundPart(total=manifest.terms.round.rounds, phase="stopped", reason="no round finished yet"),
        training=TrainingPart(task=manifest.terms.task.kind),
        storage=StoragePart(home=str(home.root)),
    )


def show_status(home: Home, *, as_json: bool, watch: bool) -> None:
    """Print the status once, or again every second until Ctrl-C."""
    documents = _every_second(home) if watch else iter([read_document(home)])
    with suppress(KeyboardInterrupt):
        if as_json:
            _print_json(documents, indent=0 if watch else 2)
        else:
            _print_tables(documents, watch=watch)


def _print_json(documents: Iterator[bytes], indent: int) -> None:
    """One document a line where there are many, for programs that read lines."""
    for document in documents:
        text = msgspec.json.format(document, indent=indent) if indent else document
        sys.stdout.write(text.decode() + "\n")
        sys.stdout.flush()


def _print_tables(documents: Iterator[bytes], *, watch: bool) -> None:
    console = Console()
    if not watch:
        console.print(status_view(parse_status(next(documents))))
        return
    if not console.is_terminal:  # one page after the other, for whoever reads a file as it grows
        for document in documents:
            console.print(status_view(parse_status(document)))
            sys.stdout.flush()
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for document in documents:
            live.update(status_view(parse_status(document)), refresh=True)


def _every_second(home: Home) -> Iterator[bytes]:
    while True:
        yield read_document(home)
        time.sleep(INTERVAL_S)
