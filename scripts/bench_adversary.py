"""What attackers do to a swarm that nobody audits: the plain mean against centered clipping.

Ten members train scikit-learn's digits on shards of one kind, with the project's own code in one
process (`training.rehearsal`). Some of them commit to what an attack makes of their work, round after
round. `clean` has no attackers, `control` is the plain mean under attack, `defended` is clipping.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed, 20 and 40 %% attackers only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time")
    args = parser.parse_args()
    seeds, fractions = (1, FRACTIONS[1::2]) if args.quick else (args.seeds, FRACTIONS)
    runs = [
        Run(rule, seed, attack, fraction)
        for attack, fraction in [("", 0.0), *((name, share) for name in NAMES for share in fractions)]
        for rule in ("mean", "clipped")
        for seed in range(seeds)
    ]
    points: dict[tuple[str, str, float], list[float]] = {}
    with ProcessPoolExecutor(args.jobs) as pool:
        for number, (run, result) in enumerate(zip(runs, pool.map(accuracy, runs), strict=True), 1):
            points.setdefault((run.rule, run.attack, run.fraction), []).append(result)
            print(f"\r{number} of {len(runs)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
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
    print(f"\n{machine()}; {MEMBERS} members, {ROUNDS} rounds, {seeds} seeds, accuracy in points")
    print(f"no attackers: mean {clean['mean']:.2f}, clipped {clean['clipped']:.2f}\n")
    print(f"{'attack':>22} {'share':>6} {'mean':>7} {'clipped':>8} {'lost':>6}")
    for row in rows:
        lost = row["clean"] - row["defended"]
        attack = f"{row['name']:>22} {row['fraction']:>6.0%}"
        print(f"{attack} {row['control']:>7.2f} {row['defended']:>8.2f} {lost:>6.2f}")
    print("\nworst attack with which the plain mean loses more than 10 points:")
    for share in fractions:
        hard = [row for row in rows if row["fraction"] == share and clean["mean"] - row["control"] > 10]
        worst = max(hard, key=lambda row: row["clean"] - row["defended"], default=None)
        if worst:
            lost = worst["clean"] - worst["defended"]
            print(f"{share:>6.0%}  {worst['name']}: {lost:.2f} points lost (aim: at most {ALLOWED[share]:g})")
    if args.json:
        document = {"machine": machine(), "seeds": seeds, "clean_mean": clean["mean"], "attacks": rows}
        args.json.write_bytes(msgspec.json.format(json.dumps(document).encode(), indent=1) + b"\n")


if __name__ == "__main__":
    main()
