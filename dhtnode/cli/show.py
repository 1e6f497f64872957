"""`dhtnode swarm show`: verify a manifest and say what its members agree on. Loads no torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dhtnode.cli.view import size, terms_since
from dhtnode.errors import ConfigError, Exit
from dhtnode.home import Home
from dhtnode.manifest import Manifest, terms_digest
from dhtnode.store import Store
from training.in_force import TermsInForce


def show_swarm(path: Path, home: Path | None, *, as_json: bool) -> None:
    """Verify and print a manifest, with what a node's swarm has amended in it.

    Raises:
        ConfigError: as `Manifest.load`; HOME (5): `home` is no home of this swarm.
    """
    manifest = Manifest.load(path)
    in_force = _in_force(manifest, home)
    table = msgspec.to_builtins(in_force.now)
    digest = terms_digest(in_force.now).hex()
    if as_json:
        document = {
            "swarm_id": manifest.swarm_id.hex(),
            "signature": manifest.signature.hex(),
            "terms_digest": digest,
            "since_round": in_force.since,
            "amendments": [id_.hex() for id_ in in_force.adopted],
            **table,
        }
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
        return
    console = Console()
    console.print(f"swarm '{manifest.terms.name}': the signature is good", highlight=False)
    rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows.add_row("id", Text(manifest.swarm_id.hex(), overflow="fold"))
    rows.add_row("creator", manifest.terms.creator)
    rows.add_row("terms", Text(f"{digest} {terms_since(in_force.since)}", overflow="fold"))
    for section, values in table.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            rows.add_row(f"{section}.{key}", Text(_shown(section, key, value), overflow="fold"))
    console.print(rows)


def _in_force(manifest: Manifest, folder: Path | None) -> TermsInForce:
    """The manifest's terms, or as the home's node knows them."""
    if folder is None:
        return TermsInForce(manifest.terms)
    home = Home(folder)
    if not home.store_path.exists() or Manifest.load(home.manifest_path).swarm_id != manifest.swarm_id:
        raise ConfigError(f"no node of this swarm has run in {folder}; leave out --home", Exit.HOME)
    from rewards.stored import stored_terms  # only here: it loads numpy, and a manifest alone needs none

    with Store.open_reader(home.store_path) as store:
        return stored_terms(store, manifest)


def _shown(section: str, key: str, value: Any) -> str:
    if (section, key) == ("data", "chunks"):
        return f"{len(value)} digests"
    if (section, key) == ("data", "total_bytes"):
        return size(value)
    if (section, key) == ("inner", "steps"):
        return ", ".join(f"{steps} from round {start}" for start, steps in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} = {item}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
