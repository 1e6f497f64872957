"""An epoch's balances as a file that anybody can check without a network.

This is where a payroll or a chain takes over: the file names the swarm, the round and the head, has each
member's balance and share with its proof, and is signed by k of the n keys that the manifest names.
Signers sign the digest of its content, each on its own node after folding the same ledger, so signatures
are collected in any order. JSON and CSV hold the same fields and are checked in the same way; CSV has what
is true of the whole file in lines `#name,value` above the table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from dhtnode.identity import Identity, verify
from dhtnode.records import Count, canonical
from dhtnode.reward import PPM, RewardSection
from rewards.accounts import Balance
from rewards.entries import peer_of, raw_key
from rewards.ownership import MAX_PATH, Proof, Row, Table, ownership
from rewards.ownership import verify as proves

SCHEMA = 1
MAX_EXPORT_BYTES = 64 * 2**20
"""A row takes about 1 KB: 64,000 members."""

Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}$")]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One member. Amounts are micro-credits."""

    peer: Annotated[str, msgspec.Meta(min_length=50, max_length=54)]
    compute: Count
    data: Count
    audit: Count
    reduction: Count
    vested: Count
    stake: Count
    burned: Count
    share_ppm: Annotated[int, msgspec.Meta(ge=0, le=PPM)]
    proof: Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=MAX_PATH)]
    """From the member's row to `ownership_root`; empty for who owns nothing."""


class Export(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The balances of a swarm at the end of an epoch."""

    schema: int
    swarm_id: Hex32
    epoch: Count
    round: Count
    """First round that is not in it."""
    head: Hex32
    entries_root: Hex32
    """Of the ledger's entries as the signers had them."""
    ownership_root: Hex32
    lines: tuple[Line, ...]
    """By raw key."""
    signatures: dict[str, Signature]
    """By signer's peer id."""


class ExportError(ValueError):
    """An export is not what it says; the text names what is wrong."""


def make_export(
    swarm_id: bytes, epoch: int, section: RewardSection, head: bytes, root: bytes, balances: Iterable[Balance]
) -> Export:
    """An export without signatures.

    Args:
        swarm_id: 32 bytes.
        epoch: the one that has ended.
        section: the manifest's.
        head: id of the head that the epoch's last round ended with.
        root: of the entries.
        balances: of all members, at the round after the epoch.
    """
    known = sorted(balances, key=lambda balance: balance.key)
    round_no = (epoch + 1) * section.epoch_rounds
    table = ownership(known, swarm_id, round_no, head)
    return Export(
        schema=SCHEMA,
        swarm_id=swarm_id.hex(),
        epoch=epoch,
        round=round_no,
        head=head.hex(),
        entries_root=root.hex(),
        ownership_root=table.root.hex(),
        lines=tuple(_line(balance, table.prove(balance.key)) for balance in known),
        signatures={},
    )


def sign_export(export: Export, identity: Identity) -> Export:
    """The same with one signature more."""
    signature = identity.sign(_signed_form(export)).hex()
    signatures = {**export.signatures, identity.peer_id: signature}
    return msgspec.structs.replace(export, signatures=signatures)


def to_json(export: Export) -> bytes:
    return msgspec.json.format(msgspec.json.encode(export), indent=1) + b"\n"


def to_csv(export: Export) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for name in _FILE_FIELDS:
        writer.writerow([f"#{name}", getattr(export, name)])
    writer.writerows(["#signature", peer, signature] for peer, signature in sorted(export.signatures.items()))
    writer.writerow(Line.__struct_fields__)
    for line in export.lines:
        plain = msgspec.structs.asdict(line)
        writer.writerow([*list(plain.values())[:-1], " ".join(line.proof)])
    return out.getvalue().encode()


def parse_export(data: bytes) -> Export:
    """An export from JSON or CSV, whichever it is.

    Raises:
        ExportError: it is neither, or too long.
    """
    if len(data) > MAX_EXPORT_BYTES:
        raise ExportError(f"{len(data)} bytes, at most {MAX_EXPORT_BYTES} allowed")
    try:
        if data.lstrip()[:1] == b"{":
            return msgspec.json.decode(data, type=Export)
        return msgspec.convert(_table(data.decode()), Export, strict=False)
    except (ValueError, LookupError, csv.Error) as error:
        raise ExportError(f"this is no export: {error}") from error


def check_export(export: Export, swarm_id: bytes, section: RewardSection) -> None:
    """Hold an export against itself and the manifest.

    Raises:
        ExportError: another swarm's, sums that do not fit, a proof that does not hold, or too few good
            signatures by the keys that the manifest names.
    """
    if export.schema != SCHEMA:
        raise ExportError(f"schema {export.schema}, this dhtnode reads {SCHEMA}")
    if export.swarm_id != swarm_id.hex():
        raise ExportError(f"it is of swarm {export.swarm_id}")
    if export.round != (export.epoch + 1) * section.epoch_rounds:
        raise ExportError(f"epoch {export.epoch} does not end with round {export.round}")
    keys = [_key(line) for line in export.lines]
    if keys != sorted(set(keys)):
        raise ExportError("its lines are not in the order of keys, or one is there twice")
    _check_shares(export)
    signers = signers_of(export, section)
    if not section.export_keys or len(signers) < section.export_quorum:
        raise ExportError(
            f"{len(signers)} good signatures by the {len(section.export_keys)} keys of the manifest, "
            f"{section.export_quorum} are needed"
        )


def signers_of(export: Export, section: RewardSection) -> set[str]:
    """Which of the manifest's keys have signed it."""
    return {peer for peer in section.export_keys if _has_signed(export, peer)}


def _check_shares(export: Export) -> None:
    owners = [line for line in export.lines if line.vested]
    if Table(tuple(_row(export, line) for line in owners)).root.hex() != export.ownership_root:
        raise ExportError("ownership_root is not that of its lines")
    if owners and sum(line.share_ppm for line in export.lines) != PPM:
        raise ExportError("its shares do not add up to 1,000,000")
    for line in export.lines:
        if line.compute + line.data + line.audit + line.reduction != line.vested + line.stake + line.burned:
            raise ExportError(f"{line.peer}: what was earned is not what is vested, at stake or burned")
        if not line.vested and (line.share_ppm or line.proof):
            raise ExportError(f"{line.peer}: a share of nothing")
    for index, line in enumerate(owners):
        path = tuple(map(bytes.fromhex, line.proof))
        proof = Proof(row=_row(export, line), index=index, count=len(owners), path=path)
        if not proves(proof, bytes.fromhex(export.ownership_root)):
            raise ExportError(f"{line.peer}: its proof does not hold")


def _has_signed(export: Export, peer: str) -> bool:
    signature = export.signatures.get(peer)
    return signature is not None and verify(peer, _signed_form(export), bytes.fromhex(signature))


def _signed_form(export: Export) -> bytes:
    content = msgspec.to_builtins(msgspec.structs.replace(export, signatures={}))
    return canonical(["dhtnode/export", content])


def _line(balance: Balance, proof: Proof | None) -> Line:
    compute, data, audit, reduction = balance.by_term
    return Line(
        peer=peer_of(balance.key),
        compute=compute,
        data=data,
        audit=audit,
        reduction=reduction,
        vested=balance.vested,
        stake=balance.stake,
        burned=balance.burned,
        share_ppm=proof.row.share_ppm if proof else 0,
        proof=tuple(digest.hex() for digest in proof.path) if proof else (),
    )


def _row(export: Export, line: Line) -> Row:
    return Row(
        swarm_id=bytes.fromhex(export.swarm_id),
        round=export.round,
        head=bytes.fromhex(export.head),
        key=_key(line),
        vested=line.vested,
        share_ppm=line.share_ppm,
    )


def _key(line: Line) -> bytes:
    try:
        return raw_key(line.peer)
    except ValueError as error:
        raise ExportError(str(error)) from error


_FILE_FIELDS = tuple(name for name in Export.__struct_fields__ if name not in ("lines", "signatures"))


def _table(text: str) -> dict[str, Any]:
    """What a CSV file says, field by field."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    above = [row for row in rows if row and row[0].startswith("#")]
    below = rows[len(above) :]
    document: dict[str, Any] = {row[0][1:]: row[1] for row in above if row[0] != "#signature"}
    document["signatures"] = {row[1]: row[2] for row in above if row[0] == "#signature"}
    if not below or tuple(below[0]) != Line.__struct_fields__:
        raise ExportError("the columns are not those of an export")
    document["lines"] = [dict(zip(below[0], row, strict=True)) for row in below[1:]]
    for line in document["lines"]:
        line["proof"] = line["proof"].split()
    return document
