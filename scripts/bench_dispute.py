"""What a dispute costs: inner steps that are done again because somebody's work was called false.

Sixteen simulated members with the real cores. One of them does a single inner step falsely, or judges
falsely; counted is all that is done again of one piece of disputed work (that of which most is) until all
have judged: by those who drew it, by the jury, and by the worker that opens its run. And how often a jury
of a few that are drawn would be wrong. The figures are in docs/validation.md.

    scripts/bench-dispute [--runs 20] [--quick]
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dhtnode.manifest import AuditSection, InnerSection  # noqa: E402
from tests.adversary.judges import corrupt  # noqa: E402
from tests.sim.world import World  # noqa: E402

MEMBERS, STEPS, SEGMENT, ROUNDS = 16, 64, 16, 40


@dataclass(frozen=True)
class Quarrel:
    """One kind of dispute."""

    what: str
    segment: int = SEGMENT
    cheats: bool = True
    opens: bool = True
    judge: str = ""


QUARRELS = (
    Quarrel("a false step, no segments", segment=0),
    Quarrel("a false step, four segments"),
    Quarrel("a false step, four segments, the cheat opens nothing", opens=False),
    Quarrel("sound work called false, no segments", segment=0, cheats=False, judge="false-accuser"),
    Quarrel("a sound segment called false", cheats=False, judge="segment-accuser"),
)


def replayed(quarrel: Quarrel, seed: int) -> tuple[float, float]:
    """Inner steps done again of the most disputed work, in runs: by others, and by the worker itself."""
    world = World(seed, MEMBERS, ROUNDS, people=100 * seed)
    world.terms = msgspec.structs.replace(
        world.terms,
        inner=InnerSection(steps=((0, STEPS),)),
        audit=AuditSection(segment=quarrel.segment),
    )
    world.start()
    world.run_until(lambda: world.all_at(1), 600)
    liar = world.lie(1)
    liar.detour = (seed * 37) % STEPS if quarrel.cheats else None
    liar.opens = quarrel.opens
    if quarrel.judge:
        corrupt(liar.validator, quarrel.judge)
    world.run_until(lambda: liar.peer_id in world.witness.cases, 20_000)
    now = max(world.numbers())
    world.run_until(lambda: max(world.numbers()) >= now + 2, 20_000)

    steps: Counter[bytes] = Counter()
    for node in world.nodes:
        steps.update(node.judging.steps)
    honest = world.nodes[0].validator
    assert honest is not None
    trials = {work: honest.docket.trial(work) for work in steps}
    most, disputed = max((steps[work], work) for work, trial in trials.items() if trial and trial.is_disputed)
    own = world.by_id(world.witness.author(disputed)).judging.steps[disputed]
    return (most - own) / STEPS, own / STEPS


def misled(members: int, dishonest: int, jury: int) -> float:
    """Chance that of a jury drawn evenly from the members more than half are dishonest."""
    ways = (
        math.comb(dishonest, false) * math.comb(members - dishonest, jury - false)
        for false in range(jury // 2 + 1, jury + 1)
    )
    return sum(ways) / math.comb(members, jury)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="two runs, to see that it works")
    options = parser.parse_args()
    print("| dispute | runs done again by others, mean (most) | by the worker |")
    print("| --- | --- | --- |")
    for quarrel in QUARRELS:
        found = [replayed(quarrel, seed) for seed in range(2 if options.quick else options.runs)]
        others, worker = zip(*found, strict=True)
        most = f"{statistics.mean(others):.1f} ({max(others):.1f})"
        print(f"| {quarrel.what} | {most} | {statistics.mean(worker):.2f} |", flush=True)
    print(f"\nof {MEMBERS} members, a drawn jury with a dishonest majority, in percent of disputes")
    print("| dishonest | 3 drawn | 5 | 7 | 9 | all |")
    print("| --- | --- | --- | --- | --- | --- |")
    for dishonest in (2, 4, 6, 7):
        cells = [f"{misled(MEMBERS, dishonest, jury):.1%}" for jury in (3, 5, 7, 9, MEMBERS)]
        print(f"| {dishonest} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
