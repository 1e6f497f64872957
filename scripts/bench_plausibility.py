"""What can be seen of private work without replay, and what can't.

Honest swarms first: how long honest members' parts are beside the others', where they point, how close two
of them come to each other and to the last round's result. The bounds in `validation.plausibility` rest on
these figures, and no honest member may look odd. Then two false members of ten, one attack after the other:
how many of their parts look odd, how many of the honest members' do, and whether the held-out loss warns.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.bench_convergence import machine  # noqa: E402
from tests.adversary.rehearsed import FALSE, Seen, Split, watch  # noqa: E402
from validation.evaluation import IN_A_ROW, WINDOW, rises  # noqa: E402
from validation.plausibility import PPM, TOGETHER, Look  # noqa: E402

SIZES = (4, 8, 10, 16)
HONEST_ROUNDS = 40
MEMBERS, ATTACKERS, ROUNDS = 10, 2, 20


@dataclass(frozen=True)
class Run:
    """One training run."""

    split: Split
    seed: int
    members: int = MEMBERS
    rounds: int = ROUNDS
    attack: str = ""


@dataclass
class Found:
    """What came out of one run, or of several."""

    accuracy: list[float] = field(default_factory=list)
    parts: Counter[str] = field(default_factory=Counter)
    """Looked at: of `false` and of `honest` members."""
    odd: Counter[str] = field(default_factory=Counter)
    """Of these: in which anything was odd."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Of what was odd about false members."""
    shortest: float = 1.0
    longest: float = 1.0
    nearest: float = 2.0
    echo: float = 2.0
    together: int = 0
    """Parts of rounds in which the group went one way."""
    against: float = 1.0
    """Lowest cosine in these."""
    lowest: float = 1.0
    """Lowest cosine of all."""
    warned: list[int | None] = field(default_factory=list)
    """Round after which the held-out loss first warned."""

    def add(self, other: Found) -> None:
        self.accuracy += other.accuracy
        self.warned += other.warned
        for mine, more in ((self.parts, other.parts), (self.odd, other.odd), (self.kinds, other.kinds)):
            mine.update(more)
        self.together += other.together
        self.longest = max(self.longest, other.longest)
        for name in ("shortest", "nearest", "echo", "against", "lowest"):
            setattr(self, name, min(getattr(self, name), getattr(other, name)))


def found_in(run: Run) -> Found:
    torch.set_num_threads(1)
    attackers = ATTACKERS if run.attack else 0
    seen = watch(run.members, run.rounds, run.split, run.attack, attackers, seed=run.seed)
    found = Found(accuracy=[100 * seen.accuracy], warned=[_first_warning(seen)])
    for name, peers in (("false", seen.false), ("honest", seen.honest)):
        found.parts[name] = sum(seen.suspicions.parts[peer] for peer in peers)
        found.odd[name] = sum(seen.odd_parts(peer) for peer in peers)
    found.kinds = seen.kinds(seen.false)
    for looks in seen.looks:
        _extend(found, looks)
    return found


def _extend(found: Found, looks: Sequence[Look]) -> None:
    lengths = [each.length / PPM for each in looks if each.length is not None]
    found.shortest, found.longest = min(found.shortest, *lengths), max(found.longest, *lengths)
    found.nearest = min(
        [found.nearest, *(each.distance / PPM for each in looks if each.distance is not None)]
    )
    found.echo = min([found.echo, *(each.echo / PPM for each in looks if each.echo is not None)])
    cosines = sorted(each.cosine for each in looks if each.cosine is not None)
    if cosines:
        found.lowest = min(found.lowest, cosines[0] / PPM)
        if cosines[(len(cosines) - 1) // 2] >= TOGETHER:
            found.together += 1
            found.against = min(found.against, cosines[0] / PPM)


def _first_warning(seen: Seen) -> int | None:
    changes = [
        round(PPM * (after - before)) for before, after in zip(seen.losses, seen.losses[1:], strict=False)
    ]
    ends = range(1, len(changes) + 1)
    return next((end for end in ends if rises(changes[max(0, end - WINDOW - IN_A_ROW) : end])), None)


def together(pool: ProcessPoolExecutor, runs: Sequence[Run]) -> Found:
    total = Found()
    for found in pool.map(found_in, runs):
        total.add(found)
    return total


def honest(pool: ProcessPoolExecutor, seeds: int, rounds: int) -> list[dict[str, Any]]:
    """Where honest members stand."""
    print(f"honest members, {rounds} rounds, {seeds} seeds; parts that looked odd, and the farthest out")
    print(
        f"{'shards':>7} {'members':>8} {'odd':>12} {'length':>14} {'nearest':>8} {'echo':>6} {'together':>9} "
    )
    rows = []
    for split in get_args(Split):
        for members in SIZES:
            found = together(pool, [Run(split, seed, members, rounds) for seed in range(1, seeds + 1)])
            rows.append({"split": split, "members": members, **vars(found)})
            print(
                f"{split:>7} {members:>8} {found.odd['honest']:>4} of {found.parts['honest']:>6} "
                f"{found.shortest:>6.2f} to {found.longest:.2f} {found.nearest:>8.3f} {found.echo:>6.2f} "
                f"{found.together:>9} {found.against if found.together else 0:>6.2f} "
                f"(all {found.lowest:.2f}) warned {found.warned}",
                flush=True,
            )
    return rows


def attacks(pool: ProcessPoolExecutor, seeds: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """What of each attack is seen."""
    print(f"\n{ATTACKERS} false members of {MEMBERS}, {ROUNDS} rounds, {seeds} seeds, plain mean")
    print(f"{'shards':>7} {'attack':>20} {'accuracy':>9} {'false odd':>10} {'honest odd':>11}  as")
    rows = []
    for split in get_args(Split):
        for name in ("", *names):
            found = together(pool, [Run(split, seed, attack=name) for seed in range(1, seeds + 1)])
            rows.append({"split": split, "attack": name, **vars(found)})
            false, honest_ones = (found.odd[who] / (found.parts[who] or 1) for who in ("false", "honest"))
            kinds = ", ".join(f"{kind} {count}" for kind, count in found.kinds.most_common())
            print(
                f"{split:>7} {name or 'none':>20} {sum(found.accuracy) / seeds:>9.1f} {false:>10.1%} "
                f"{honest_ones:>11.1%}  {kinds} warned {found.warned}",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small part of everything: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--seeds", type=int, default=5, help="of the honest runs")
    parser.add_argument("--attack-seeds", type=int, default=2, help="of the runs under attack")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time")
    args = parser.parse_args()
    rounds, names = HONEST_ROUNDS, list(FALSE)
    if args.quick:
        args.seeds, args.attack_seeds, rounds, names = 1, 1, 5, names[:2]
    document: dict[str, Any] = {"machine": machine(), "seeds": args.seeds}
    print(document["machine"])
    with ProcessPoolExecutor(args.jobs) as pool:
        document["honest"] = honest(pool, args.seeds, rounds)
        document["attacks"] = attacks(pool, args.attack_seeds, names)
    if args.json:
        args.json.write_bytes(msgspec.json.format(json.dumps(document).encode(), indent=1) + b"\n")


if __name__ == "__main__":
    main()
