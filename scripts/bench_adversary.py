"""What attackers do to a swarm: how much they spoil while nobody audits, and how soon audits put them out.

Spoiling: ten members train digits and text under attack, without audits and with cheats put out.

Judging: sixteen simulated members with the real cores, one to six of which commit to false work, from
the first round on or after 30 rounds without fault; and long honest runs, in which nobody may be put out.
What a replay finds false does not depend on the attack, so these are counted once for all.

Momentum: the same under clipping, if members send a running mean of their updates.

Replays: real local training, done again by another process, must give the same bits.

Traffic: four real nodes, what they send beside parts and results; `scripts/bench-traffic` says more of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.bench_convergence import machine  # noqa: E402
from scripts.bench_judging import Hunt, interval, peace, percentile, roots, rounds_taken  # noqa: E402
from scripts.bench_node import bench_traffic  # noqa: E402
from scripts.bench_spoiling import FRACTIONS, momentum, plot, spoiling  # noqa: E402

PARTS = ("traffic", "honesty", "judging", "momentum", "spoiling")
MANY = "overt, 6 of 16"
"""The hunt whose figures stand beside each attack: a replay finds all of them as surely."""


HUNTS = {
    MANY: Hunt(0, 16, 6, 0),
    "overt, 1 of 16": Hunt(0, 16, 1, 0),
    "false reducers, 6 of 16": Hunt(0, 16, 6, 0, "reduction"),
    "lazy auditors, 6 of 16": Hunt(0, 16, 6, 0, "audit"),
    "trusted for 30 rounds, 6 of 16": Hunt(0, 16, 6, 30),
}


def judging(pool: ProcessPoolExecutor, runs: int, word: str) -> dict[str, Any]:
    """Rounds until cheats are out, and honest keys that were put out; of hunts with a word in their name."""
    few = max(1, runs // 20)
    plans = {
        name: [replace(hunt, seed=seed) for seed in range(few if hunt.false == 1 else runs)]
        for name, hunt in HUNTS.items()
        if word in name
    }
    document: dict[str, Any] = {}
    print("\nrounds that a cheat was in while it cheated, until it was out (simulated)")
    for name, hunts in plans.items():
        results = list(counted(pool.map(rounds_taken, hunts), len(hunts), name))
        taken = [rounds for each, _ in results for rounds in each]
        mean = statistics.mean(taken)
        low, high = (
            interval(mean, [statistics.mean(each) for each, _ in results]) if runs > 1 else (mean, mean)
        )
        document[name] = {
            "runs": len(hunts),
            "rounds_to_exclusion_mean": round(mean, 2),
            "interval": [round(low, 2), round(high, 2)],
            "rounds_to_exclusion_p95": percentile(taken, 0.95),
            "rounds_to_exclusion_most": max(taken),
            "honest_bans": sum(bans for _, bans in results),
        }
        row = document[name]
        print(
            f"{name:>32}: mean {mean:.2f} ({low:.2f} to {high:.2f}), p95 {row['rounds_to_exclusion_p95']}, "
            f"most {max(taken)}, honest bans {row['honest_bans']}, {len(hunts)} runs"
        )
    return {"exclusion": document}


def honesty(pool: ProcessPoolExecutor, jobs: int, nodes: int, rounds: int, replays: int) -> dict[str, Any]:
    """A long honest swarm, and real work done twice."""
    long = pool.submit(peace, 1, nodes, rounds)
    members, each = 8, 25
    seeds = range(max(1, replays // (members * each)))
    first = list(pool.map(roots, seeds, [members] * len(seeds), [each] * len(seeds)))
    with ProcessPoolExecutor(jobs) as others:  # none of them has seen the first half
        again = list(others.map(roots, seeds, [members] * len(seeds), [each] * len(seeds)))
    compared = [(one, two) for a, b in zip(first, again, strict=True) for one, two in zip(a, b, strict=True)]
    false = sum(one != two for one, two in compared)
    found = long.result()
    print(
        f"\nhonest swarm of {nodes} for {rounds} rounds: {found.audits} audits, {found.false_fails} false, "
        f"{found.bans} bans; replays over local runs by fifths of the rounds (aim: at most 7.5% in the last):"
    )
    for work, verdicts in found.shares:
        print(f"  {work + verdicts:.2%}, of work {work:.2%} and of verdicts {verdicts:.2%}")
    print(f"real work done again by another process: {len(compared)} runs, {false} differ")
    return {
        "honest_audits": len(compared),
        "false_fail": false + found.false_fails,
        "honest_bans": found.bans,
        "honest_rounds": rounds,
        "audit_compute_share": round(sum(found.shares[-1]), 4),
        "audit_compute_by_fifth": found.shares,
    }


def counted(results: Iterable[Any], total: int, what: str) -> Iterator[Any]:
    """The same results, with progress on stderr."""
    for number, result in enumerate(results, 1):
        print(f"\r{what}: {number} of {total} ", end="", file=sys.stderr, flush=True)
        yield result
    print(file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small part of everything: does it run?")
    parser.add_argument(
        "--only", choices=PARTS, action="append", metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write points lost against attackers, svg")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--seeds", type=int, default=3, help="of the runs under attack")
    parser.add_argument(
        "--runs",
        type=int,
        default=1000,
        help="simulated swarms with six cheats of sixteen, of each kind; with one cheat: a twentieth",
    )
    parser.add_argument(
        "--hunt",
        default="",
        metavar="WORD",
        help=f"of the judging part only what has this word in its name: {'; '.join(HUNTS)}",
    )
    parser.add_argument("--nodes", type=int, default=32, help="of the long honest swarm")
    parser.add_argument("--rounds", type=int, default=1000, help="of the long honest swarm")
    parser.add_argument("--replays", type=int, default=10_000, help="local runs that are done again")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time")
    args = parser.parse_args()
    if not any(args.hunt in name for name in HUNTS):
        parser.error(f"--hunt {args.hunt}: not in any of {'; '.join(HUNTS)}")
    fractions: Sequence[float] = FRACTIONS
    if args.quick:
        fractions = FRACTIONS[1::2]
        args.seeds, args.runs, args.nodes, args.rounds, args.replays = 1, 4, 8, 20, 200
    document: dict[str, Any] = {"machine": machine(), "seeds": args.seeds}
    print(document["machine"])
    parts = args.only or PARTS
    if "traffic" in parts:
        document["protocol_traffic_share"] = bench_traffic(1 if args.quick else 3)["protocol_traffic_share"]
    with ProcessPoolExecutor(args.jobs) as pool:
        if "honesty" in parts:
            document |= honesty(pool, args.jobs, args.nodes, args.rounds, args.replays)
        if "judging" in parts:
            document |= judging(pool, args.runs, args.hunt)
        if "momentum" in parts:
            document["momentum"] = momentum(pool, args.seeds, counted)
        if "spoiling" in parts:
            document["attacks"] = spoiling(pool, args.seeds, fractions, counted)
            if args.plot:
                plot(document["attacks"], args.plot)
    hunted = document.get("exclusion", {}).get(MANY)
    for row in document.get("attacks", ()) if hunted else ():
        row |= {key: hunted[key] for key in ("rounds_to_exclusion_p95", "honest_bans")}
    if args.json:
        args.json.write_bytes(msgspec.json.format(json.dumps(document).encode(), indent=1) + b"\n")


if __name__ == "__main__":
    main()
