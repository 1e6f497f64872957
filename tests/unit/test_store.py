"""What is written stays written: through SIGKILL, beside readers, and with a plain word when it can't be."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dhtnode.errors import ConfigError, Exit
from dhtnode.status import RoundPart, Status, SwarmPart
from dhtnode.store import MOST_PEERS, KnownPeer, RoundSummary, Store, StoredRecord

WRITER = """
import os, sys
from pathlib import Path
from dhtnode.store import Store, StoredRecord
store = Store.open(Path(sys.argv[1]))
store.journal(7, "vote", b"roster A")
store.add_record(StoredRecord(b"id", "commit", 7, "peer", b"wire"))
store._db.execute("BEGIN IMMEDIATE")
store._db.execute("INSERT INTO fact VALUES ('half', x'00')")
print("written", flush=True)
sys.stdin.read()
"""


def record(name: str, kind: str = "commit", round_no: int = 0, signer: str = "a") -> StoredRecord:
    return StoredRecord(name.encode(), kind, round_no, signer, b"wire of " + name.encode())


def test_what_was_written_survives_sigkill_and_what_was_not_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        with Store.open_reader(path) as beside:
            assert beside.journaled(7) == {"vote": b"roster A"}
        writer.send_signal(signal.SIGKILL)
    assert (tmp_path / "node.sqlite-wal").exists()
    with Store.open_reader(path) as after:
        assert after.journaled(7) == {"vote": b"roster A"}
        assert after.fact("half") is None
    with Store.open(path) as again:
        assert again.has_record(b"id")
        again.set_fact("half", b"whole")
        assert again.fact("half") == b"whole"


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    with Store.open(tmp_path / "node.sqlite") as store:
        store.set_fact("key", b"value")
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_records_are_kept_once_and_found_in_one_order(tmp_path: Path) -> None:
    with Store.open(tmp_path / "node.sqlite") as store:
        for name, signer in [("3", "b"), ("2", "c"), ("1", "c"), ("4", "a")]:
            assert store.add_record(record(name, signer=signer))
            assert not store.add_record(record(name, signer=signer))
        store.add_record(record("other", kind="close"))
        store.add_record(record("later", round_no=1))
        assert [(found.signer, found.id) for found in store.records("commit", 0)] == [
            ("a", b"4"),
            ("b", b"3"),
            ("c", b"1"),
            ("c", b"2"),
        ]
        assert store.records("commit", 0, signer="b") == [record("3", signer="b")]
        assert store.count_records("commit") == 5


def test_old_rounds_are_forgotten_by_kind(tmp_path: Path) -> None:
    with Store.open(tmp_path / "node.sqlite") as store:
        for round_no in range(5):
            store.add_record(record(f"c{round_no}", "commit", round_no))
            store.add_record(record(f"r{round_no}", "receipt", round_no))
            store.journal(round_no, "vote", b"x")
        store.forget_rounds_before(3, ["commit"])
        assert [bool(store.records("commit", n)) for n in range(5)] == [False, False, False, True, True]
        assert store.count_records("receipt") == 5
        assert [bool(store.journaled(n)) for n in range(5)] == [False, False, False, True, True]


def write_and_fail(store: Store) -> None:
    with store.batch():
        store.set_fact("a", b"1")
        raise ZeroDivisionError


def test_a_batch_is_all_or_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "node.sqlite") as store:
        with pytest.raises(ZeroDivisionError):
            write_and_fail(store)
        assert store.fact("a") is None
        with store.batch():
            store.set_fact("a", b"1")
            store.add_record(record("r"))
        assert store.fact("a") == b"1"


def test_peers_that_were_not_seen_for_longest_make_room(tmp_path: Path) -> None:
    with Store.open(tmp_path / "node.sqlite") as store:
        for number in range(MOST_PEERS + 10):
            store.remember_peer(KnownPeer(f"peer{number:05}", ("/ip4/10.0.0.1/tcp/1",), float(number)))
        known = store.known_peers()
        assert len(known) == MOST_PEERS
        assert known[0] == KnownPeer(
            f"peer{MOST_PEERS + 9:05}", ("/ip4/10.0.0.1/tcp/1",), float(MOST_PEERS + 9)
        )
        assert known[-1].peer_id == "peer00010"


def test_rejections_are_counted_by_sender_but_not_without_end(tmp_path: Path) -> None:
    with Store.open(tmp_path / "node.sqlite") as store:
        for _ in range(3):
            store.count_rejected("mallory", "bad-signature")
        for number in range(MOST_PEERS):
            store.count_rejected(f"made-up-{number}", "garbage")
        store.count_rejected("mallory", "oversized")
        counts = store.rejected()
        assert counts["mallory"] == {"bad-signature": 3, "oversized": 1}
        assert counts[""] == {"garbage": 1}
        assert sum(sum(reasons.values()) for reasons in counts.values()) == 3 + MOST_PEERS + 1


def test_history_comes_back_oldest_first(tmp_path: Path) -> None:
    with Store.open(tmp_path / "node.sqlite") as store:
        for round_no in range(4):
            store.add_round(RoundSummary(round_no=round_no, state_digest="00", seconds={"train": 1.5}))
        assert [summary.round_no for summary in store.rounds(last=2)] == [2, 3]
        assert store.rounds()[0].seconds == {"train": 1.5}


def test_the_saved_status_says_that_nobody_runs(tmp_path: Path) -> None:
    status = Status(
        running=True,
        saved_at_s=1.0,
        version="0",
        swarm=SwarmPart(id="00", name="s"),
        peer_id="p",
        round=RoundPart(number=3),
    )
    with Store.open(tmp_path / "node.sqlite") as store:
        assert store.saved_status() is None
        store.save_status(status)
        saved = store.saved_status()
    assert saved is not None
    assert (saved.running, saved.round.number) == (False, 3)


def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    with Store.open(path) as store:
        store.set_fact("kept", b"value")
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to a full disk
        with pytest.raises(ConfigError, match=r"no space left for .*node.sqlite.*free some space") as caught:
            store.set_fact("large", bytes(1_000_000))
    assert caught.value.exit_code == Exit.DISK
    with Store.open(path) as store:
        assert store.fact("kept") == b"value"


def test_a_damaged_a_foreign_and_a_newer_file_are_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(ConfigError, match=r"damaged.sqlite is damaged: .*move it away"):
        Store.open(damaged)
    newer = tmp_path / "newer.sqlite"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opener in (Store.open, Store.open_reader):
        with pytest.raises(ConfigError, match=r"has format 99, this dhtnode reads format 2; update dhtnode"):
            opener(newer)
    with pytest.raises(ConfigError, match="missing"):
        Store.open_reader(tmp_path / "missing.sqlite")


def test_a_reader_can_not_write(tmp_path: Path) -> None:
    Store.open(tmp_path / "node.sqlite").close()
    with Store.open_reader(tmp_path / "node.sqlite") as reader, pytest.raises(ConfigError, match="readonly"):
        reader.set_fact("key", b"value")
