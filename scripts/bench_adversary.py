"""What attackers do to a swarm: how much they spoil while nobody audits, and how soon audits put them out.

Spoiling: ten members train scikit-learn's digits on shards of one kind, with the project's own code in one
process (`training.rehearsal`). Some of them commit to what an attack makes of their work, round after
round. `clean` has no attackers, `control` is the plain mean under attack, `defended` is clipping.

Judging: sixteen simulated members with the real cores, one to six of which commit to false work, from
the first round on or after 30 rounds without fault; and long honest runs, in which nobody may be put out.
What a replay finds false does not depend on the attack, so these are counted once for all.

Replays: real local training, done again by another process, must give the same bits.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench_convergence import machine  # noqa: E402
from bench_judging import Hunt, interval, peace, percentile, roots, rounds_taken  # noqa: E402

from dhtnode.cli.create import PRESETS  # noqa: E402
from dhtnode.identity import Identity  # noqa: E402
from dhtnode.manifest import FORMAT, Manifest, Terms  # noqa: E402
from tests.adversary.attacks import ATTACKS, Collusion, InnerProduct, LittleIsEnough  # noqa: E402
from training.data import pack_arrays  # noqa: E402
from training.inner import LocalWork, Trainer  # noqa: E402
from training.rehearsal import rehearse  # noqa: E402
from training.tasks.digits import Digits, public_split  # noqa: E402

MEMBERS, ROUNDS = 10, 20
FRACTIONS = (0.1, 0.2, 0.3, 0.4)
ALLOWED = {0.1: 0.5, 0.2: 1.0, 0.3: 1.5, 0.4: 3.0}
"""Points of accuracy that the defended swarm may lose: the aim."""
COLLUSIONS: dict[str, Collusion] = {
    **{f"inner-product {size:g}": InnerProduct(size) for size in (0.5, 2.0, 10.0)},
    **{f"little-is-enough {z:g}": LittleIsEnough(z) for z in (0.5, 1.0, 1.5)},
}
NAMES = [*(name for name in ATTACKS if name != "one-part"), *COLLUSIONS]


@dataclass(frozen=True)
class Run:
    """One training run."""

    rule: str
    seed: int
    attack: str = ""
    fraction: float = 0.0


def manifest_of(run: Run) -> Manifest:
    creator = Identity.from_seed(bytes([run.seed]) * 32)
    table: dict[str, Any] = {
        "format": FORMAT,
        "name": "bench",
        "creator": creator.peer_id,
        "seed": run.seed,
        "task": {"kind": "digits"},
        "data": {"mode": "private"},
        "round": {"rounds": ROUNDS},
    }
    for key, value in PRESETS["digits"].items():
        section, name = key.split(".")
        table.setdefault(section, {})[name] = value
    table["reduce"] = {"rule": run.rule}
    return Manifest.create(msgspec.convert(table, Terms), creator)


def accuracy(run: Run) -> float:
    """Share of right answers on the public test images after the last round, in points."""
    torch.set_num_threads(1)
    manifest = manifest_of(run)
    task = Digits(manifest.terms.task.options)
    trainer = Trainer(manifest, task)
    (images, labels), _ = public_split()
    order = np.random.default_rng(run.seed).permutation(len(labels))
    peers = [Identity.from_seed(bytes([100 + n]) * 32).peer_id for n in range(MEMBERS)]
    shards = {
        peer: task.shard(pack_arrays(images[share], labels[share]), 0.0)
        for peer, share in zip(peers, np.array_split(order, MEMBERS), strict=True)
    }
    false = peers[: round(run.fraction * MEMBERS)]
    twists = {peer: ATTACKS[run.attack]() for peer in false} if run.attack in ATTACKS else {}

    def tamper(work: dict[str, LocalWork]) -> dict[str, LocalWork]:
        if not false:
            return work
        sent = dict(work)
        if run.attack in COLLUSIONS:
            honest = [done.update_U for peer, done in work.items() if peer not in false]
            together = COLLUSIONS[run.attack](honest)
        for peer in false:
            update = twists[peer](work[peer].update_U) if twists else together
            sent[peer] = replace(work[peer], update_U=update)
        return sent

    *_, last = rehearse(manifest, trainer, shards, tamper=tamper)
    shard = shards[peers[0]]
    return 100 * float(trainer.evaluate(last.state, shard).accuracy or 0.0)


def spoiling(pool: ProcessPoolExecutor, seeds: int, fractions: Sequence[float]) -> dict[str, Any]:
    """Accuracy after training under each attack, with both rules and without audits."""
    runs = [
        Run(rule, seed, attack, fraction)
        for attack, fraction in [("", 0.0), *((name, share) for name in NAMES for share in fractions)]
        for rule in ("mean", "clipped")
        for seed in range(seeds)
    ]
    points: dict[tuple[str, str, float], list[float]] = {}
    for run, result in zip(runs, counted(pool.map(accuracy, runs), len(runs), "attacks"), strict=True):
        points.setdefault((run.rule, run.attack, run.fraction), []).append(result)
    found = {key: statistics.mean(values) for key, values in points.items()}
    clean = {rule: found[rule, "", 0.0] for rule in ("mean", "clipped")}
    rows = [
        {
            "name": name,
            "fraction": share,
            "clean": round(clean["clipped"], 2),
            "control": round(found["mean", name, share], 2),
            "defended": round(found["clipped", name, share], 2),
        }
        for name in NAMES
        for share in fractions
    ]
    print(f"accuracy in points, {MEMBERS} members, {ROUNDS} rounds, {seeds} seeds, no audits")
    print(f"no attackers: mean {clean['mean']:.2f}, clipped {clean['clipped']:.2f}\n")
    print(f"{'attack':>22} {'share':>6} {'mean':>7} {'clipped':>8} {'lost':>6}")
    for row in rows:
        attack, lost = f"{row['name']:>22} {row['fraction']:>6.0%}", row["clean"] - row["defended"]
        print(f"{attack} {row['control']:>7.2f} {row['defended']:>8.2f} {lost:>6.2f}")
    print("\nworst attack with which the plain mean loses more than 10 points:")
    for share in fractions:
        hard = [row for row in rows if row["fraction"] == share and clean["mean"] - row["control"] > 10]
        worst = max(hard, key=lambda row: row["clean"] - row["defended"], default=None)
        if worst:
            lost = worst["clean"] - worst["defended"]
            print(f"{share:>6.0%}  {worst['name']}: {lost:.2f} points lost (aim: at most {ALLOWED[share]:g})")
    return {"clean_mean": clean["mean"], "attacks": rows}


def judging(pool: ProcessPoolExecutor, runs: int) -> dict[str, Any]:
    """Rounds until cheats are out, and honest keys that were put out."""
    plans = {
        "overt, 1 of 16": [Hunt(seed, 16, 1, 0) for seed in range(runs)],
        "overt, 6 of 16": [Hunt(seed, 16, 6, 0) for seed in range(runs)],
        "trusted for 30 rounds, 6 of 16": [Hunt(seed, 16, 6, 30) for seed in range(max(1, runs // 5))],
    }
    document: dict[str, Any] = {}
    print("\nrounds that took a cheat's false work in, until it was out (simulated)")
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


def honesty(pool: ProcessPoolExecutor, nodes: int, rounds: int, replays: int) -> dict[str, Any]:
    """A long honest swarm, and real work done twice."""
    long = pool.submit(peace, 1, nodes, rounds)
    members, each = 8, 25
    seeds = range(max(1, replays // (members * each)))
    first = list(pool.map(roots, seeds, [members] * len(seeds), [each] * len(seeds)))
    with ProcessPoolExecutor(pool._max_workers) as others:  # none of them has seen the first half
        again = list(others.map(roots, seeds, [members] * len(seeds), [each] * len(seeds)))
    compared = [(one, two) for a, b in zip(first, again, strict=True) for one, two in zip(a, b, strict=True)]
    false = sum(one != two for one, two in compared)
    found = long.result()
    print(
        f"\nhonest swarm of {nodes} for {rounds} rounds: {found.audits} audits, {found.false_fails} false, "
        f"{found.bans} bans; replays over local runs in the last fifth {found.share:.1%} (aim: at most 7.5%)"
    )
    print(f"real work done again by another process: {len(compared)} runs, {false} differ")
    return {
        "honest_audits": len(compared),
        "false_fail": false + found.false_fails,
        "honest_bans": found.bans,
        "honest_rounds": rounds,
        "audit_compute_share": round(found.share, 4),
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--seeds", type=int, default=3, help="of the runs under attack")
    parser.add_argument("--runs", type=int, default=1000, help="simulated swarms with cheats in them")
    parser.add_argument("--nodes", type=int, default=32, help="of the long honest swarm")
    parser.add_argument("--rounds", type=int, default=1000, help="of the long honest swarm")
    parser.add_argument("--replays", type=int, default=10_000, help="local runs that are done again")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time")
    args = parser.parse_args()
    fractions: Sequence[float] = FRACTIONS
    if args.quick:
        fractions = FRACTIONS[1::2]
        args.seeds, args.runs, args.nodes, args.rounds, args.replays = 1, 4, 8, 20, 200
    document: dict[str, Any] = {"machine": machine(), "seeds": args.seeds}
    print(document["machine"])
    with ProcessPoolExecutor(args.jobs) as pool:
        document |= honesty(pool, args.nodes, args.rounds, args.replays)
        document |= judging(pool, args.runs)
        document |= spoiling(pool, args.seeds, fractions)
    if args.json:
        args.json.write_bytes(msgspec.json.format(json.dumps(document).encode(), indent=1) + b"\n")


if __name__ == "__main__":
    main()
