"""Figures of the ledger at a million records: how fast it is folded, how soon its root is there, what two
nodes send to merge theirs; and how soon a real node's status is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dhtnode.digest import derive, digest  # noqa: E402
from dhtnode.reward import PPM, RewardSection  # noqa: E402
from dhtnode.store import Store  # noqa: E402
from rewards.book import Book  # noqa: E402
from rewards.entries import NOBODY, Entry, Kind  # noqa: E402
from rewards.ledger import Ledger, Rules  # noqa: E402
from rewards.snapshot import balances_digest  # noqa: E402
from scripts.bench_node import machine  # noqa: E402
from scripts.bench_status import bench_status  # noqa: E402
from validation.antientropy import Pull, answer  # noqa: E402
from validation.idtree import IdTree  # noqa: E402

T = TypeVar("T")

MEMBERS = 64
AUDITS = 4
"""Of a round: a sixteenth of its members."""
RULES = Rules(RewardSection(), parameters=10**9, audit_rate_ppm=PPM // 16)
RECORDS_PER_S_AIM = 200_000
COLD_ROOT_AIM_S = 1.0
MERGE_SHARE_AIM = 0.05


@dataclass(frozen=True)
class Swarm:
    """Entries of a made-up swarm of 64 members that all train, reduce, and audit each other."""

    entries: list[bytes]
    followed: dict[int, bytes]

    @property
    def packed(self) -> bytes:
        return b"".join(sorted(self.entries))


def swarm(records: int) -> Swarm:
    keys = [digest("bench-key", number) for number in range(MEMBERS)]
    entries: list[bytes] = []
    followed: dict[int, bytes] = {}
    while len(entries) < records:
        round_no = len(followed)
        followed[round_no] = digest("bench-head", round_no)
        entries += (entry.packed for entry in _round(round_no, followed[round_no], keys))
    return Swarm(entries[:records], followed)


def _round(round_no: int, head: bytes, keys: list[bytes]) -> Iterator[Entry]:
    for place, key in enumerate(keys):
        record = digest("bench-work", round_no, place)
        yield Entry(round_no, Kind.WORK, record, head, key, NOBODY, 10_000, PPM)
        record = digest("bench-result", round_no, place)
        yield Entry(round_no, Kind.REDUCTION, record, head, key, NOBODY, 10**8, 0)
    for number in range(AUDITS):
        draw = derive("bench-draw", round_no, number)
        auditor, worker = keys[draw % MEMBERS], keys[(draw + 1 + draw // MEMBERS % (MEMBERS - 1)) % MEMBERS]
        record = digest("bench-verdict", round_no, number)
        yield Entry(round_no, Kind.AUDIT, record, head, auditor, worker, 10_000, PPM)


def bench_fold(one: Swarm, repeats: int) -> dict[str, object]:
    """From packed entries in canonical order to balances: one thread, CPU and wall time."""
    packed, cpu_s, wall_s, digests = one.packed, [], [], set()
    for _ in range(repeats):
        ledger = Ledger(RULES)
        cpu_start_s, start_s = time.process_time(), time.perf_counter()
        ledger.fold(packed, one.followed)
        cpu_s.append(time.process_time() - cpu_start_s)
        wall_s.append(time.perf_counter() - start_s)
        digests.add(balances_digest(ledger))
    assert len(digests) == 1, "the same entries gave other balances"
    return {
        "records": len(one.entries),
        "records_per_s": round(len(one.entries) / statistics.median(cpu_s)),
        "records_per_s_wall": round(len(one.entries) / statistics.median(wall_s)),
        "records_per_s_aim": RECORDS_PER_S_AIM,
    }


def bench_store(one: Swarm, repeats: int) -> dict[str, object]:
    """A store with all entries, opened again: seconds until its root is there, and its newest balances."""
    with tempfile.TemporaryDirectory(prefix="dhtnode-bench-") as name:
        path = Path(name) / "node.db"
        with Store.open(path) as store:
            _, add_s = _timed(lambda: Book(store, RULES).add(one.entries))
            first, first_root_s = _timed(lambda: Book(store, RULES).root())
            folded, first_fold_s = _timed(lambda: Book(store, RULES).ledger(one.followed))
        cold_s, balances_s = [], []
        for _ in range(repeats):
            root, seconds = _timed(lambda: _cold_root(path))
            cold_s.append(seconds)
            assert root == first
            again, seconds = _timed(lambda: _cold_ledger(path, one))
            balances_s.append(seconds)
            assert balances_digest(again) == balances_digest(folded)
        megabytes = path.stat().st_size / 1e6
    return {
        "cold_root_s": round(statistics.median(cold_s), 4),
        "cold_root_aim_s": COLD_ROOT_AIM_S,
        "cold_balances_s": round(statistics.median(balances_s), 4),
        "add_s": round(add_s, 2),
        "first_root_s": round(first_root_s, 2),
        "first_fold_s": round(first_fold_s, 2),
        "store_mb": round(megabytes, 1),
    }


def bench_merge(one: Swarm, repeats: int) -> dict[str, object]:
    """Two ledgers of which each lacks half a percent of the other's entries, made equal: bytes both ways."""
    del repeats  # the same bytes each time
    entries = {hashlib.sha256(entry).digest(): entry for entry in one.entries}
    ids = sorted(entries)
    half = max(1, len(ids) // 200)
    mine, theirs = IdTree(), IdTree()
    for id_ in ids[half:]:
        mine.add(id_)
    for id_ in ids[:-half]:
        theirs.add(id_)
    start_s, sent = time.perf_counter(), 0
    for asker, asked in ((mine, theirs), (theirs, mine)):
        pull = Pull(asker, "neighbour", lambda entry: hashlib.sha256(entry).digest())
        while not pull.is_done:
            question = pull.question()
            reply = answer(question, "asker", asked, entries.get)
            sent += len(question) + len(reply)
            for id_, _ in pull.on_answer(reply):
                asker.add(id_)
    assert mine.root == theirs.root, "the two sets are not equal"
    whole = sum(map(len, one.entries))
    return {
        "merge_bytes_share": round(sent / whole, 4),
        "merge_bytes_share_aim": MERGE_SHARE_AIM,
        "merge_s": round(time.perf_counter() - start_s, 2),
    }


def _cold_root(path: Path) -> bytes:
    with Store.open(path) as store:
        return Book(store, RULES).root()


def _cold_ledger(path: Path, one: Swarm) -> Ledger:
    with Store.open(path) as store:
        return Book(store, RULES).ledger(one.followed)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start_s = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start_s


FIGURES: list[Callable[[Swarm, int], dict[str, object]]] = [bench_fold, bench_store, bench_merge]
STATUS_ROUNDS, QUICK_STATUS_ROUNDS = 150, 5
"""Of real training; 64 is an epoch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 records, once, few rounds: does it run?")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    args = parser.parse_args()
    if args.quick:
        args.records, args.repeats = 20_000, 1
    result: dict[str, object] = {"machine": machine()}
    one = swarm(args.records)
    for figure in FIGURES:
        result |= figure(one, args.repeats)
    result |= bench_status(QUICK_STATUS_ROUNDS if args.quick else STATUS_ROUNDS)
    print("\n".join(f"{key:>24}  {value}" for key, value in result.items()))
    if args.json:
        args.json.write_bytes(msgspec.json.format(json.dumps(result).encode(), indent=1) + b"\n")


if __name__ == "__main__":
    main()
