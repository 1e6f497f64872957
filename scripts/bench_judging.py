"""How soon cheats are out and whether the honest are left alone: the parts of `bench-adversary` that
run the real cores in the simulator, and real local training twice."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dhtnode.identity import Identity  # noqa: E402
from dhtnode.manifest import FORMAT, InnerSection, Manifest, Option, RoundSection, TaskSection, Terms  # noqa: E402
from tests.adversary.attacks import RightNorm  # noqa: E402
from tests.adversary.judges import corrupt  # noqa: E402
from tests.adversary.reducers import miscounted  # noqa: E402
from tests.sim.shell import Node  # noqa: E402
from tests.sim.world import World  # noqa: E402
from training.contribution import Contribution  # noqa: E402
from training.data import builtin_text, describe  # noqa: E402
from training.inner import Trainer  # noqa: E402
from training.rehearsal import rehearse  # noqa: E402
from training.tasks.text import Text  # noqa: E402

PATIENCE = 120
"""Rounds after which a cheat counts as not found."""


@dataclass(frozen=True)
class Hunt:
    """One simulated swarm with cheats in it."""

    seed: int
    nodes: int
    false: int
    honest_rounds: int
    """Rounds in which the cheats behave, so that they are trusted; 0: they cheat from the very first."""
    kind: str = "work"
    """What is false: `work`, the part that is reduced (`reduction`), or audits without a look (`audit`)."""


def turn(liar: Node, kind: str) -> None:
    """From now on it cheats."""
    if kind == "work":
        liar.cheat = RightNorm()
    elif kind == "reduction":
        liar.miscount = miscounted
    else:
        corrupt(liar.validator, "lazy-auditor")


def rounds_taken(hunt: Hunt) -> tuple[list[int], int]:
    """For each cheat, rounds it was a member of while it cheated; and how many honest keys were put out."""
    world = World(hunt.seed, hunt.nodes, hunt.honest_rounds + PATIENCE, people=100 * hunt.seed)
    false = [world.lie(index) for index in range(1, 1 + hunt.false)]
    honest = [node for node in world.nodes if node not in false]
    if hunt.honest_rounds:
        world.start()
        world.run_until(lambda: world.all_at(hunt.honest_rounds), 10_000)
    begin = max(0, *world.numbers())
    if not hunt.honest_rounds:
        world.start()
    for liar in false:
        turn(liar, hunt.kind)

    def all_out() -> bool:
        known = [set(node.validator.cases) for node in honest if node.validator]
        return all(world.dishonest <= cases for cases in known) or world.all_at(begin + PATIENCE, honest)

    world.run_until(all_out, 100_000)
    last = max(world.numbers(honest))
    world.run_until(lambda: world.all_at(min(last + 1, begin + PATIENCE), honest), 10_000)
    taken = [
        sum(head.number > begin and liar.peer_id in head.members for head in world.witness.heads.values())
        for liar in false
    ]
    return taken, len(set(world.witness.cases) - world.dishonest)


@dataclass(frozen=True)
class Peace:
    """A long run without cheats."""

    audits: int
    shares: list[tuple[float, float]]
    """Replays over local runs in each fifth of the rounds: of work, and of verdicts on work."""
    bans: int
    false_fails: int


def peace(seed: int, nodes: int, rounds: int) -> Peace:
    """An honest swarm for a long time; the witness fails if anybody is put out."""
    world = World(seed, nodes, rounds)
    world.start()
    done = [(0.0, 0.0)]
    fifths: list[Callable[[], bool]] = [partial(world.all_at, rounds * fifth // 5) for fifth in range(1, 5)]
    for until in [*fifths, world.done]:
        world.run_until(until, 1_000_000)
        done.append(replays(world))
    runs = nodes * rounds / 5
    verdicts = world.witness.verdicts
    return Peace(
        audits=round(sum(done[-1])),
        shares=[
            ((work - work_before) / runs, (audits - audits_before) / runs)
            for (work_before, audits_before), (work, audits) in pairwise(done)
        ],
        bans=len(world.witness.cases),
        false_fails=verdicts["fail", "audit"] + verdicts["fail", "jury"],
    )


def replays(world: World) -> tuple[float, float]:
    """Verdicts that took a local run to reach, on work and on verdicts; each is taken in by everybody."""
    about = world.witness.about
    return about["work"] / len(world.nodes), about["audit"] / len(world.nodes)


def roots(seed: int, members: int, rounds: int) -> list[bytes]:
    """Commitment roots of real local training, for another process to compute again."""
    torch.set_num_threads(1)
    creator = Identity.from_seed(hashlib.sha256(b"%d" % seed).digest())
    content = builtin_text()
    options: dict[str, Option] = {"dim": 32, "layers": 1, "heads": 2, "context": 16, "eval_windows": 4}
    terms = Terms(
        format=FORMAT,
        name="bench",
        creator=creator.peer_id,
        seed=seed,
        task=TaskSection(kind="text", options=options),
        data=describe(content, 0.1),
        inner=InnerSection(steps=((0, 5),), batch_size=2),
        round=RoundSection(rounds=rounds),
    )
    manifest = Manifest.create(terms, creator)
    task = Text(manifest.terms.task.options)
    shard = task.shard(content, 0.1)
    peers = [Identity.from_seed(bytes([100 + n]) * 32).peer_id for n in range(members)]
    found = []
    for done in rehearse(manifest, Trainer(manifest, task), dict.fromkeys(peers, shard)):
        for peer, work in done.work.items():
            found.append(Contribution.of(peer, manifest.swarm_id, work.update_U, terms.wire).root)
    return found


def interval(mean: float, values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean, normal approximation."""
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))
    half = 1.96 * deviation / math.sqrt(len(values))
    return mean - half, mean + half


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest value that `share` of all do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
