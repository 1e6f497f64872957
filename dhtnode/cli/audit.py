"""`dhtnode audit`: what a node knows about others' work, and proofs that a person checks offline.

Loads no torch and no network: a proof is signed records, and all there is to do is to read them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import msgspec
from rich.console import Console
from rich.table import Table

from dhtnode.errors import ConfigError, Exit, RemoteProtocolError
from dhtnode.files import replacing
from dhtnode.home import Home
from dhtnode.manifest import Manifest
from dhtnode.records import Signed, canonical, parse_canonical
from dhtnode.store import Store, StoredRecord
from validation.cases import CASE, MAX_CASE_BYTES, Case
from validation.holdings import open_piece
from validation.messages import NOT_SHOWN, Subject, Verdict

HEADER, FORMAT = "dhtnode-audit", 1
NEWEST = 20
"""Verdicts that `audit show` lists."""

Evidence = Case | Signed[Verdict]
_WHAT: dict[Subject, str] = {"work": "the work", "reduction": "a reduced part", "audit": "an audit"}
_DID: dict[Subject, str] = {
    "work": "replayed the commitment",
    "reduction": "reduced again from the senders' own chunks the result",
    "audit": "replayed what was audited by the verdict",
}


def show_audits(home: Home, record: str | None, *, as_json: bool) -> None:
    """List cases and the newest verdicts, or explain one.

    Raises:
        ConfigError: there is no such record.
    """
    shown = _all(home) if record is None else [_find(home, record)]
    if as_json:
        documents = [_document(evidence) for evidence in shown]
        text = msgspec.json.format(msgspec.json.encode(documents), indent=2).decode()
        sys.stdout.write(text + "\n")
    elif record is not None:
        explain(shown[0])
    else:
        _print_list(shown)


def export_audit(home: Home, record: str, out: Path) -> None:
    """Write a case or verdict into a file that `verify_audit` needs nothing else for."""
    evidence = _find(home, record)
    swarm_id = Manifest.load(home.manifest_path).swarm_id
    with replacing(out) as draft:
        draft.write_bytes(canonical([HEADER, FORMAT, swarm_id, evidence.wire]))
    print(f"{out}: {line_of(evidence)}")


def verify_audit(path: Path) -> None:
    """Check an exported file from itself and say what it proves.

    Raises:
        ConfigError: FAILED (1): it proves nothing.
    """
    explain(open_export(path))


def open_export(path: Path) -> Evidence:
    """The case or verdict in an exported file, checked.

    Raises:
        ConfigError: FAILED (1): no such file, or it is not what it says.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; give an exported file", Exit.FAILED
        ) from error
    try:
        value: Any = parse_canonical(data, MAX_CASE_BYTES + 256)
        header, version, swarm_id, wire = msgspec.convert(
            value, tuple[str, int, bytes, bytes], builtin_types=(bytes,)
        )
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{path} is damaged or no exported record ({error}); export it again", Exit.FAILED
        ) from error
    if (header, version) != (HEADER, FORMAT):
        raise ConfigError(f"{path} is of another kind or version ({header} {version})", Exit.FAILED)
    return _open(wire, swarm_id, str(path))


def explain(evidence: Evidence) -> None:
    """What a record says, and what that rests on, in plain words."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{line_of(evidence)}[/]")
    console.print(f"record {evidence.id.hex()}, swarm {_swarm_of(evidence).hex()}")
    if isinstance(evidence, Signed):
        body = evidence.body
        how = "drew it in the audit lottery" if body.role == "audit" else "was called by another's doubt"
        console.print(
            f"{evidence.signer} {how}, {_DID[body.about]} {body.target.hex()[:12]} of {body.worker} "
            f"on {body.device} and says: {body.outcome}."
        )
        if body.segment is not None:
            console.print(
                f"It names segment {body.segment} of the run, counted from 0, as one that is false."
            )
        if body.distance == NOT_SHOWN:
            console.print("It was not shown what it asked for, though the other goes on taking part.")
        elif body.distance is not None:
            console.print(f"The two devices differ; what they made of it lies {body.distance} ppm apart.")
        console.print("Its signature is good. One verdict proves no guilt; a majority's do (a case).")
        return
    if evidence.certificate is None:
        console.print("Two records that no honest key signs both of; both signatures are good:")
    else:
        head = evidence.certificate.head
        console.print(
            f"{len(evidence.certificate.votes)} of its {len(head.members)} members certified the round; "
            f"{len(evidence.judges)} of them have judged. All signatures are good:"
        )
    for record in evidence.records:
        said = f", {record.body.outcome}" if isinstance(record.body, Verdict) else ""
        console.print(f"  {record.body.KIND}{said}, signed by {record.signer}, id {record.id.hex()[:12]}")


def _print_list(shown: list[Evidence]) -> None:
    console = Console(highlight=False)
    if not shown:
        console.print("no verdicts yet: this node has not seen an audit")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("record", "round", "what"):
        table.add_column(column, no_wrap=column != "what")
    for evidence in shown:
        round_no = evidence.round_no if isinstance(evidence, Case) else evidence.body.round
        table.add_row(evidence.id.hex()[:12], str(round_no), line_of(evidence))
    console.print(table)


def line_of(evidence: Evidence) -> str:
    """A case or verdict in one line."""
    if isinstance(evidence, Case):
        return f"out: {evidence.text}"
    body = evidence.body
    return f"{body.outcome}: {evidence.signer} on {_WHAT[body.about]} of {body.worker} ({body.role})"


def _document(evidence: Evidence) -> dict[str, object]:
    if isinstance(evidence, Case):
        return {
            "kind": "case",
            "id": evidence.id.hex(),
            "round": evidence.round_no,
            "charge": evidence.charge,
            "guilty": evidence.guilty,
            "judges": sorted(evidence.judges),
            "text": evidence.text,
        }
    body = evidence.body
    return {
        "kind": "verdict",
        "id": evidence.id.hex(),
        "round": body.round,
        "signer": evidence.signer,
        "worker": body.worker,
        "about": body.about,
        "target": body.target.hex(),
        "outcome": body.outcome,
        "distance_ppm": body.distance,
        "segment": body.segment,
        "role": body.role,
    }


def _all(home: Home) -> list[Evidence]:
    """Cases, then the newest verdicts, newest last."""
    with Store.open_reader(home.store_path) as store:
        stored = [*store.all_records(CASE), *store.all_records(Verdict.KIND)[-NEWEST:]]
    return [_opened(home, record) for record in stored]


def _find(home: Home, prefix: str) -> Evidence:
    with Store.open_reader(home.store_path) as store:
        stored = [*store.all_records(CASE), *store.all_records(Verdict.KIND)]
    found = [record for record in stored if prefix and record.id.hex().startswith(prefix.lower())]
    if len(found) != 1:
        how = "no case or verdict" if not found else f"{len(found)} cases and verdicts"
        raise ConfigError(
            f"{how} with an id that begins with '{prefix}'; 'dhtnode audit show' lists them", Exit.USAGE
        )
    return _opened(home, found[0])


def _opened(home: Home, record: StoredRecord) -> Evidence:
    return _open(record.wire, Manifest.load(home.manifest_path).swarm_id, str(home.store_path))


def _open(wire: bytes, swarm_id: bytes, source: str) -> Evidence:
    try:
        return cast("Evidence", open_piece(wire, swarm_id, source, {Verdict.KIND: Verdict}))
    except RemoteProtocolError as error:
        raise ConfigError(
            f"{source} proves nothing: {error.reason}: {error.detail}; it was changed, or made up",
            Exit.FAILED,
        ) from error


def _swarm_of(evidence: Evidence) -> bytes:
    return evidence.records[0].swarm_id if isinstance(evidence, Case) else evidence.swarm_id
