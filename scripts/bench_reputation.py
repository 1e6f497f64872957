"""What attacks on reputation come to, what entry costs, and what it takes to get missing records.

Each attack runs with the defence and with a control that lacks it (`tests/adversary/feuds.py`), over a few
seeds of chance; the worst seed is shown. Tables and evidence are the real ones, rounds and audits are
played without bytes and sockets.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dhtnode.reputation import ReputationSection  # noqa: E402
from scripts.bench_convergence import machine  # noqa: E402
from scripts.bench_reconcile import merge  # noqa: E402
from scripts.bench_store import years  # noqa: E402
from tests.adversary import feuds  # noqa: E402
from tests.adversary.standing import CAREFUL, GULLIBLE  # noqa: E402
from tests.unit.parties import SWARM  # noqa: E402
from validation.entry import find_nonce  # noqa: E402

Figures = dict[str, float]
PEERS = 64


def attacks(seeds: Sequence[int], quick: bool) -> dict[str, dict[str, list[Figures]]]:
    """Figures by attack, then by `defended` or `control`, one for each seed."""
    short: dict[str, Any] = {"rounds": 70} if quick else {}
    pairs: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
        name: (getattr(feuds, name), {"care": CAREFUL, **short}, {"care": GULLIBLE, **short})
        for name in ("badmouthing", "ballot_stuffing", "self_audit_ring", "sybil_flood")
    }
    stuffing = pairs["ballot_stuffing"]
    for name, how in (("same_but_looking", {"looks": True}), ("same_but_silent", {"praise": False})):
        pairs[name] = (feuds.ballot_stuffing, stuffing[1] | how, stuffing[2] | how)
    pairs["whitewasher"] = (feuds.whitewasher, short, {"probation_rounds": 1, **short})
    pairs["on_off_cheat"] = (feuds.on_off_cheat, short, {"care": feuds.FORGIVING, **short})
    found: dict[str, dict[str, list[Figures]]] = {}
    for name, (run, defended, control) in pairs.items():
        found[name] = {
            how: [dataclasses.asdict(run(seed=seed, **arguments)) for seed in seeds]
            for how, arguments in (("defended", defended), ("control", control))
        }
        show(name, found[name])
    found["voucher_abuse"] = {
        "defended": [dataclasses.asdict(feuds.voucher_abuse())],
        "control": [dataclasses.asdict(feuds.voucher_abuse(tells=False))],
    }
    show("voucher_abuse", found["voucher_abuse"])
    return found


def show(name: str, figures: dict[str, list[Figures]]) -> None:
    """Least and most over the seeds."""
    for how, runs in figures.items():
        spans = (
            f"{key} {min(run[key] for run in runs):.3g} to {max(run[key] for run in runs):.3g}"
            for key in runs[0]
        )
        print(f"{name:16} {how:9} " + ", ".join(spans), flush=True)


def entry(bits: int) -> Figures:
    """Hashes and seconds of a proof of work of so many bits, from the rate of a hundred thousand."""
    began_s = time.perf_counter()
    find_nonce(SWARM, "nobody", 200, 0, 100_000)
    rate = 100_000 / (time.perf_counter() - began_s)
    return {"bits": bits, "hashes_per_s": round(rate), "mean_s": round(2**bits / rate, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small part of everything: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--seeds", type=int, default=3, help="of the attacks")
    parser.add_argument(
        "--ids", type=int, default=1_000_000, help="of the larger of the sets that are merged"
    )
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.ids = 1, 20_000
    document: dict[str, Any] = {"machine": machine(), "seeds": args.seeds}
    print(document["machine"])
    document["merge"] = [dataclasses.asdict(merge(ids, ids // 100)) for ids in (args.ids // 10, args.ids)]
    document["entry"] = entry(ReputationSection().entry_bits)
    members, epoch = (8, 8) if args.quick else (PEERS, 16)
    store = years(members, round(members * 0.14), epoch, (10.0, 60.0))
    document["year"] = [dataclasses.asdict(year) for year in store]
    print(*document["merge"], document["entry"], *document["year"], sep="\n", flush=True)
    document["peace"] = [
        {"members": members, "rounds": rounds, **dataclasses.asdict(feuds.peace(members, rounds))}
        for members, rounds in ([(8, 100)] if args.quick else [(8, 300), (16, 300), (64, 300), (64, 600)])
    ]
    print(*document["peace"], sep="\n", flush=True)
    document["consent"] = [
        {"members": members, "rounds": rounds, **dataclasses.asdict(feuds.consent(members, rounds))}
        for members, rounds in ([(8, 70)] if args.quick else [(8, 120), (16, 120), (64, 120)])
    ]
    print(*document["consent"], sep="\n", flush=True)
    document["attacks"] = attacks(range(1, 1 + args.seeds), args.quick)
    if args.json:
        args.json.write_bytes(msgspec.json.format(json.dumps(document).encode(), indent=1) + b"\n")


if __name__ == "__main__":
    main()
