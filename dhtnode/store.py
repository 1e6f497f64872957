"""The node's memory: one SQLite file that survives SIGKILL at any moment.

Write-ahead logging keeps every finished write when the process dies. What must hold even when the
machine loses power, the promises of `journal` (a node may not sign two different votes), is on the
disk before the call returns.

A `Store` belongs to the thread that opened it; others, and other processes, open their own reader.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dhtnode.errors import ConfigError, Exit
from dhtnode.files import disk_full
from dhtnode.status import Status, parse_status

SCHEMA = 2
MOST_PEERS = 1024
"""Peers remembered, and peers counted by name in `rejected`: anyone can make up more. A guess."""

_TABLES = """
CREATE TABLE fact (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE record (
    id BLOB PRIMARY KEY, kind TEXT NOT NULL, round_no INTEGER NOT NULL, signer TEXT NOT NULL,
    wire BLOB NOT NULL
);
CREATE INDEX record_by_round ON record (kind, round_no, signer);
CREATE TABLE journal (
    round_no INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (round_no, key)
);
CREATE TABLE peer (peer_id TEXT PRIMARY KEY, addresses TEXT NOT NULL, last_seen_s REAL NOT NULL);
CREATE TABLE rejected (
    peer_id TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (peer_id, reason)
);
CREATE TABLE history (round_no INTEGER PRIMARY KEY, summary BLOB NOT NULL);
CREATE TABLE entry (packed BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE epoch (number INTEGER PRIMARY KEY, digest BLOB, head BLOB, snapshot BLOB);
"""


class StoredRecord(msgspec.Struct, frozen=True):
    """A signed record as it came, with the columns it is found by."""

    id: bytes
    kind: str
    round_no: int
    signer: str
    wire: bytes


class KnownPeer(msgspec.Struct, frozen=True):
    """A peer that answered once, for dialling it again after a restart."""

    peer_id: str
    addresses: tuple[str, ...]
    last_seen_s: float
    """Unix time."""


class StoredEpoch(msgspec.Struct, frozen=True):
    """What is remembered of an epoch of the ledger, so that its entries need not be read again."""

    number: int
    digest: bytes | None
    """Of its entries; None since one was added."""
    head: bytes | None
    """On which chain the snapshot was made."""
    snapshot: bytes | None
    """The ledger at the epoch's end."""


class RoundSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished round was for this node."""

    round_no: int
    state_digest: str
    """Hex digest of the state after the round."""
    members: int = 0
    """Peers whose work is in the state."""
    steps: int = 0
    """Inner steps of this node."""
    tokens: int = 0
    """Tokens (or samples) of this node."""
    loss: float | None = None
    """Mean training loss of the inner steps."""
    eval_loss: float | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: dict[str, float] = {}
    """Wall time by phase."""


class Store:
    """Facts, records, ledger entries, promises, peers, rejections and history of one node."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writes: bool = True) -> None:
        self.writes = writes
        """Whether it was opened for writing."""
        self._path = path
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open for writing; makes the file (mode 0600) where it is missing.

        Raises:
            ConfigError: the file can't be used (HOME), the disk is full (DISK).
        """
        with _database_errors(path):
            path.touch(mode=0o600)
            store = cls(path, sqlite3.connect(path, isolation_level=None, timeout=5.0))
            store._db.execute("PRAGMA journal_mode = WAL")
            store._db.execute("PRAGMA synchronous = NORMAL")
            if store._version() == 0:
                store._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
            store._check_version()
        return store

    @classmethod
    def open_reader(cls, path: Path) -> Store:
        """Open for reading only, also while a node writes or after it was killed.

        Raises:
            ConfigError: there is no such store, or it can't be read (HOME).
        """
        with _database_errors(path):
            uri = f"{path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)
            store = cls(path, connection, writes=False)
            store._check_version()
        return store

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All writes of the block become one: all of them or none."""
        self._write("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.rollback()
            raise
        self._write("COMMIT")

    # Facts: one value each

    def set_fact(self, key: str, value: bytes) -> None:
        self._write("INSERT OR REPLACE INTO fact VALUES (?, ?)", key, value)

    def fact(self, key: str) -> bytes | None:
        rows = self._read("SELECT value FROM fact WHERE key = ?", key)
        return rows[0][0] if rows else None

    def save_status(self, status: Status) -> None:
        """Keep the status document for readers who come while no node runs."""
        self.set_fact("status", status.encode())

    def saved_status(self) -> Status | None:
        """The document saved last, as of a node that does not run."""
        document = self.fact("status")
        return None if document is None else msgspec.structs.replace(parse_status(document), running=False)

    # Signed records

    def add_record(self, record: StoredRecord) -> bool:
        """Keep a record. Returns whether it is new."""
        return (
            self._write(
                "INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?)",
                *(record.id, record.kind, record.round_no, record.signer, record.wire),
            )
            == 1
        )

    def has_record(self, record_id: bytes) -> bool:
        return bool(self._read("SELECT 1 FROM record WHERE id = ?", record_id))

    def record(self, record_id: bytes) -> StoredRecord | None:
        found = self.records_named(record_id.hex())
        return found[0] if found else None

    def records_named(self, prefix: str) -> list[StoredRecord]:
        """Records whose id begins with these hex digits; two at most, which is one too many."""
        low, high = (bytes.fromhex(prefix.ljust(64, digit)) for digit in "0f")
        rows = self._read(
            "SELECT id, kind, round_no, signer, wire FROM record WHERE id BETWEEN ? AND ? LIMIT 2", low, high
        )
        return [StoredRecord(*row) for row in rows]

    def records(self, kind: str, round_no: int, signer: str | None = None) -> list[StoredRecord]:
        """Records of a kind and round, by signer and id: the same order on every node."""
        rows = self._read(
            "SELECT id, kind, round_no, signer, wire FROM record "
            "WHERE kind = ?1 AND round_no = ?2 AND (?3 IS NULL OR signer = ?3) ORDER BY signer, id",
            *(kind, round_no, signer),
        )
        return [StoredRecord(*row) for row in rows]

    def all_records(self, kind: str) -> list[StoredRecord]:
        """All records of a kind, by round, signer and id."""
        rows = self._read(
            "SELECT id, kind, round_no, signer, wire FROM record WHERE kind = ? "
            "ORDER BY round_no, signer, id",
            kind,
        )
        return [StoredRecord(*row) for row in rows]

    def has_signed(self, kind: str, signer: str) -> bool:
        """Whether there is a record of this kind by a signer."""
        return bool(self._read("SELECT 1 FROM record WHERE kind = ? AND signer = ? LIMIT 1", kind, signer))

    def drop_records(self, ids: Iterable[bytes]) -> None:
        with self.batch():
            for id_ in ids:
                self._write("DELETE FROM record WHERE id = ?", id_)

    def count_records(self, kind: str) -> int:
        return int(self._read("SELECT count(*) FROM record WHERE kind = ?", kind)[0][0])

    def forget_rounds_before(self, round_no: int, kinds: Iterable[str]) -> None:
        """Drop records of these kinds, and promises, of rounds that nobody asks about any more."""
        with self.batch():
            for kind in kinds:
                self._write("DELETE FROM record WHERE kind = ? AND round_no < ?", kind, round_no)
            self._write("DELETE FROM journal WHERE round_no < ?", round_no)

    # Ledger: entries that sort by their bytes, and what was made of them

    def add_entry(self, packed: bytes) -> bool:
        """Keep an entry of the ledger. Returns whether it is new."""
        return self._write("INSERT OR IGNORE INTO entry VALUES (?)", packed) == 1

    def drop_entry(self, packed: bytes) -> None:
        self._write("DELETE FROM entry WHERE packed = ?", packed)

    def entries(self, start: bytes, end: bytes) -> bytes:
        """The entries from `start` to before `end`, one after the other in the order of their bytes."""
        rows = self._read("SELECT packed FROM entry WHERE packed >= ? AND packed < ?", start, end)
        return b"".join(packed for (packed,) in rows)

    def entry_rounds(self, kind: int) -> set[int]:
        """Rounds that have entries of a kind."""
        rows = self._read(
            "SELECT DISTINCT substr(packed, 1, 8) FROM entry WHERE substr(packed, 9, 1) = ?", bytes([kind])
        )
        return {int.from_bytes(round_no, "big") for (round_no,) in rows}

    def set_epoch(self, epoch: StoredEpoch) -> None:
        self._write(
            "INSERT OR REPLACE INTO epoch VALUES (?, ?, ?, ?)",
            *(epoch.number, epoch.digest, epoch.head, epoch.snapshot),
        )

    def epoch(self, number: int) -> StoredEpoch | None:
        rows = self._read("SELECT number, digest, head, snapshot FROM epoch WHERE number = ?", number)
        return StoredEpoch(*rows[0]) if rows else None

    def epoch_digests(self) -> dict[int, bytes | None]:
        """Of all epochs that have entries."""
        return dict(self._read("SELECT number, digest FROM epoch ORDER BY number"))

    def forget_snapshots_from(self, number: int) -> None:
        """An epoch has changed: what was made of it and of later ones is worth nothing."""
        self._write("UPDATE epoch SET head = NULL, snapshot = NULL WHERE number >= ?", number)

    def fold_entries_away(self, end: bytes, epoch: int) -> None:
        """Drop the entries before `end`, and all snapshots before that of the epoch which ends there."""
        self._write("DELETE FROM entry WHERE packed < ?", end)
        self._write("UPDATE epoch SET head = NULL, snapshot = NULL WHERE number < ?", epoch)

    # Promises: on the disk before we speak

    def journal(self, round_no: int, key: str, value: bytes) -> None:
        """Keep a promise (what we signed) for good. It holds through power loss once this returns."""
        self._db.execute("PRAGMA synchronous = FULL")
        try:
            self._write("INSERT OR REPLACE INTO journal VALUES (?, ?, ?)", round_no, key, value)
        finally:
            self._db.execute("PRAGMA synchronous = NORMAL")

    def journaled(self, round_no: int) -> dict[str, bytes]:
        """The promises of a round, for a node that starts again."""
        return dict(self._read("SELECT key, value FROM journal WHERE round_no = ? ORDER BY key", round_no))

    # Peers

    def remember_peer(self, peer: KnownPeer) -> None:
        """Keep a peer's addresses; the peers that were not seen for longest make room."""
        with self.batch():
            self._write(
                "INSERT OR REPLACE INTO peer VALUES (?, ?, ?)",
                *(peer.peer_id, msgspec.json.encode(peer.addresses).decode(), peer.last_seen_s),
            )
            self._write(
                "DELETE FROM peer WHERE peer_id IN "
                "(SELECT peer_id FROM peer ORDER BY last_seen_s DESC, peer_id LIMIT -1 OFFSET ?)",
                MOST_PEERS,
            )

    def known_peers(self) -> list[KnownPeer]:
        """All remembered peers, the one seen last first."""
        rows = self._read(
            "SELECT peer_id, addresses, last_seen_s FROM peer ORDER BY last_seen_s DESC, peer_id"
        )
        return [
            KnownPeer(peer_id, msgspec.json.decode(addresses, type=tuple[str, ...]), seen_s)
            for peer_id, addresses, seen_s in rows
        ]

    def count_rejected(self, peer_id: str, reason: str) -> None:
        """Count something that a peer sent and that was dropped. Too many peers share the name ""."""
        self._write(
            "INSERT INTO rejected VALUES ("
            " CASE WHEN EXISTS (SELECT 1 FROM rejected WHERE peer_id = ?1)"
            " OR (SELECT count(DISTINCT peer_id) FROM rejected) < ?3 THEN ?1 ELSE '' END, ?2, 1)"
            " ON CONFLICT DO UPDATE SET count = count + 1",
            *(peer_id, reason, MOST_PEERS),
        )

    def rejected(self) -> dict[str, dict[str, int]]:
        """Counts by peer id and reason."""
        found: dict[str, dict[str, int]] = {}
        for peer_id, reason, count in self._read(
            "SELECT peer_id, reason, count FROM rejected ORDER BY peer_id, reason"
        ):
            found.setdefault(peer_id, {})[reason] = count
        return found

    # History

    def add_round(self, summary: RoundSummary) -> None:
        self._write(
            "INSERT OR REPLACE INTO history VALUES (?, ?)", summary.round_no, msgspec.json.encode(summary)
        )

    def forget_history_before(self, round_no: int) -> None:
        self._write("DELETE FROM history WHERE round_no < ?", round_no)

    def rounds(self, last: int = 2**31) -> list[RoundSummary]:
        """The newest `last` rounds, oldest first."""
        rows = self._read("SELECT summary FROM history ORDER BY round_no DESC LIMIT ?", last)
        return [msgspec.json.decode(row[0], type=RoundSummary) for row in reversed(rows)]

    def _write(self, statement: str, *values: Any) -> int:
        """Run one statement. Returns how many rows it changed."""
        with _database_errors(self._path):
            return self._db.execute(statement, values).rowcount

    def _read(self, statement: str, *values: Any) -> list[Any]:
        with _database_errors(self._path):
            return self._db.execute(statement, values).fetchall()

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _check_version(self) -> None:
        version = self._version()
        if version != SCHEMA:
            self._db.close()
            raise ConfigError(
                f"{self._path} has format {version}, this dhtnode reads format {SCHEMA}; "
                "update dhtnode, or give another --home",
                Exit.HOME,
            )


@contextmanager
def _database_errors(path: Path) -> Iterator[None]:
    """SQLite's own errors as one line that names the file and the remedy."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot use {path}: {error.strerror}; choose a writable folder with --home", Exit.HOME
        ) from error
    except sqlite3.IntegrityError:
        raise  # our own statement is wrong
    except sqlite3.OperationalError as error:
        code = error.sqlite_errorcode & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise disk_full(path) from error
        if code == sqlite3.SQLITE_IOERR:
            raise ConfigError(f"the disk fails on {path}: {error}; check the disk", Exit.DISK) from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY):
            raise ConfigError(
                f"cannot use {path}: {error}; stop other programs that use it, or choose a writable --home",
                Exit.HOME,
            ) from error
        raise  # our own statement is wrong
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"{path} is damaged: {error}; move it away and start again, "
            "identity and checkpoints in the same home stay",
            Exit.HOME,
        ) from error
