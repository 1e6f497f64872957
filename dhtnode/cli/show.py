"""`dhtnode swarm show`: verify a manifest and say what its members agree on. Loads no torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dhtnode.cli.view import size
from dhtnode.manifest import Manifest


def show_swarm(path: Path, *, as_json: bool) -> None:
    """Verify and print a manifest. Raises as `Manifest.load`."""
    manifest = Manifest.load(path)
    table = msgspec.to_builtins(manifest.terms)
    if as_json:
        document = {"swarm_id": manifest.swarm_id.hex(), "signature": manifest.signature.hex(), **table}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
        return
    console = Console()
    console.print(f"swarm '{manifest.terms.name}': the signature is good", highlight=False)
    rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows.add_row("id", Text(manifest.swarm_id.hex(), overflow="fold"))
    rows.add_row("creator", manifest.terms.creator)
    for section, values in table.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            rows.add_row(f"{section}.{key}", Text(_shown(section, key, value), overflow="fold"))
    console.print(rows)


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
