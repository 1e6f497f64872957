"""Who owns how much: vested credits as shares of a million, in a table under one Merkle root.

The table is the same on every node with the same entries. It and its root are written beside each state on
the disk (`noted`), and an export has them with signatures. A member that keeps its own row and the way to
the root can show its share to anybody who has the root: without the table, without the ledger, without a
network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import msgspec

from dhtnode.digest import digest
from dhtnode.records import Count, Digest, canonical, parse_canonical
from dhtnode.reward import PPM
from rewards.accounts import Balance
from rewards.tree import audit_path, root_of_path, tree_root

MAX_PATH = 40
MAX_PROOF_BYTES = 2048


ROOT, TABLE = "ownership_root", "ownership"
"""Names of the notes in a checkpoint."""


class _Note(msgspec.Struct, frozen=True):
    """A table as text."""

    round: int
    head: str
    rows: tuple[tuple[str, int, int], ...]
    """Key, vested micro-credits and share of each owner."""


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One member's line of the table, bound to the swarm, the round and the chain it is of."""

    swarm_id: Digest
    round: Count
    """Round before which the balances stand."""
    head: Digest
    """Id of the head that they were computed on."""
    key: Digest
    """The member's raw public key."""
    vested: Count
    """Micro-credits."""
    share_ppm: Annotated[int, msgspec.Meta(ge=0, le=PPM)]

    @property
    def leaf(self) -> bytes:
        return canonical(self)


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row and its way to the root."""

    row: Row
    index: Count
    count: Count
    """Rows of the table."""
    path: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=MAX_PATH)]

    @property
    def wire(self) -> bytes:
        return canonical(self)


@dataclass(frozen=True)
class Table:
    """All rows, by key."""

    rows: tuple[Row, ...]

    @cached_property
    def root(self) -> bytes:
        return _table_root(len(self.rows), tree_root([row.leaf for row in self.rows]))

    def prove(self, key: bytes) -> Proof | None:
        """What a member needs to show its share; None if it owns nothing."""
        for index, row in enumerate(self.rows):
            if row.key == key:
                path = audit_path([row.leaf for row in self.rows], index)
                return Proof(row=row, index=index, count=len(self.rows), path=tuple(path))
        return None


def ownership(balances: Iterable[Balance], swarm_id: bytes, round_no: int, head: bytes) -> Table:
    """The table of all members with something vested."""
    vested = {balance.key: balance.vested for balance in balances if balance.vested}
    shares = shares_ppm(vested)
    return Table(
        tuple(
            Row(
                swarm_id=swarm_id,
                round=round_no,
                head=head,
                key=key,
                vested=vested[key],
                share_ppm=shares[key],
            )
            for key in sorted(vested)
        )
    )


def noted(table: Table) -> dict[str, str]:
    """A table as text that is written beside a state; nothing if nobody owns anything."""
    if not table.rows:
        return {}
    rows = [(row.key.hex(), row.vested, row.share_ppm) for row in table.rows]
    note = _Note(round=table.rows[0].round, head=table.rows[0].head.hex(), rows=tuple(rows))
    return {ROOT: table.root.hex(), TABLE: msgspec.json.encode(note).decode()}


def read_table(notes: Mapping[str, str], swarm_id: bytes) -> Table | None:
    """The table among what is written beside a state; None if there is none.

    Raises:
        ValueError: it is damaged: its root is not the one that stands beside it.
    """
    if TABLE not in notes:
        return None
    note = msgspec.json.decode(notes[TABLE], type=_Note)
    head = bytes.fromhex(note.head)
    rows = (
        Row(
            swarm_id=swarm_id,
            round=note.round,
            head=head,
            key=bytes.fromhex(key),
            vested=vested,
            share_ppm=ppm,
        )
        for key, vested, ppm in note.rows
    )
    table = Table(tuple(rows))
    if table.root.hex() != notes.get(ROOT):
        raise ValueError("the table of shares does not have the root that stands beside it")
    return table


def shares_ppm(vested: Mapping[bytes, int]) -> dict[bytes, int]:
    """Shares that add up to 1,000,000 exactly, by largest remainder (Hamilton).

    Of equal remainders the smaller key's goes first. Nobody owns anything while nothing has vested.
    """
    total = sum(vested.values())
    if not total:
        return dict.fromkeys(vested, 0)
    shares = {key: amount * PPM // total for key, amount in vested.items()}
    by_remainder = sorted(vested, key=lambda key: (-(vested[key] * PPM % total), key))
    for key in by_remainder[: PPM - sum(shares.values())]:
        shares[key] += 1
    return shares


def verify(proof: Proof, root: bytes) -> bool:
    """Whether the table with this root has this row."""
    found = root_of_path(proof.row.leaf, proof.index, proof.count, proof.path)
    return found is not None and _table_root(proof.count, found) == root


def parse_proof(wire: bytes) -> Proof:
    """A proof as a member keeps it in a file.

    Raises:
        ValueError: these bytes are none.
    """
    value: Any = parse_canonical(wire, MAX_PROOF_BYTES)
    try:
        proof = msgspec.convert(value, Proof, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    if proof.wire != wire:
        raise ValueError("not in canonical form")
    return proof


def _table_root(count: int, root: bytes) -> bytes:
    """A tree's root does not bind how many leaves it has."""
    return digest("ownership", count, root)
