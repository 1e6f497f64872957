"""How much attackers spoil: the part of `bench-adversary` that trains under attack.

Ten members train with the project's own code in one process (`training.rehearsal`): digits on shards of
one kind, or a small GPT on the built-in text. Some of them do what an attack does, round after round.
`clean` has no attackers, `control` is the plain mean under attack, `defended` is clipping, both without
audits. In `after_bans` the attackers are clipped for some rounds and then out, as audits put them out.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dhtnode.cli.create import PRESETS  # noqa: E402
from dhtnode.identity import Identity  # noqa: E402
from dhtnode.manifest import FORMAT, Manifest, Terms  # noqa: E402
from tests.adversary.attacks import ATTACKS, WORK_ATTACKS, Attack, InnerProduct, LittleIsEnough  # noqa: E402
from tests.adversary.crooked import CrookedTrainer  # noqa: E402
from training.data import builtin_text, describe, pack_arrays  # noqa: E402
from training.inner import LocalWork, Trainer  # noqa: E402
from training.rehearsal import rehearse  # noqa: E402
from training.state import State  # noqa: E402
from training.tasks import Shard, Task  # noqa: E402
from training.tasks.digits import Digits, public_split  # noqa: E402
from training.tasks.text import Text  # noqa: E402

MEMBERS = 10
FRACTIONS = (0.1, 0.2, 0.3, 0.4)
ALLOWED = {0.1: 0.5, 0.2: 1.0, 0.3: 1.5, 0.4: 3.0}
"""Points of accuracy that the defended swarm may lose: the aim."""
COLLAPSE = 10.0
"""Points that the plain mean has to lose for a row to count."""
ROUNDS_TO_BAN = 4
"""Rounds that take a cheat's false work in, 95th percentile (docs/validation.md)."""
SWEPT = ("inner-product", "little-is-enough")
KINDS: dict[str, Callable[[], Attack]] = {
    **{name: kind for name, kind in (ATTACKS | WORK_ATTACKS).items() if name not in ("one-part", *SWEPT)},
    **{f"inner-product {size:g}": partial(InnerProduct, size) for size in (0.5, 1.0, 2.0, 3.0, 10.0)},
    **{f"little-is-enough {z:g}": partial(LittleIsEnough, z) for z in (0.5, 1.0, 1.5)},
}
TEXT_KINDS = ("sign-flip", "scaled-noise", "label-flip", "inner-product 2", "little-is-enough 1")
"""A text run takes three times as long: one attack of each kind."""
MOMENTA = (0.0, 0.5, 0.9)
"""Of the members themselves, as in Karimireddy, He and Jaggi, "Learning from History" (2021)."""
MOMENTUM_KINDS = ("sign-flip", "label-flip", "inner-product 0.5", "inner-product 2", "little-is-enough 1")
TASKS: dict[str, dict[str, Any]] = {
    "digits": {"data": {"mode": "private"}, "round": {"rounds": 20}},
    "text": {
        "task": {"kind": "text", "options": {"dim": 32, "layers": 1, "heads": 2, "context": 32}},
        "wire": {"chunk_elems": 4096},
        "round": {"rounds": 15},
    },
}
"""What the manifests have beside the presets. Both models have about nine chunks."""


@dataclass(frozen=True)
class Run:
    """One training run."""

    task: str
    rule: str
    seed: int
    attack: str = ""
    fraction: float = 0.0
    banned_after: int | None = None
    """Rounds after which the attackers are out; None for never."""
    momentum: float = 0.0
    """How much of what it sent in the round before an honest member puts into what it sends."""


def manifest_of(run: Run) -> Manifest:
    creator = Identity.from_seed(bytes([run.seed]) * 32)
    table: dict[str, Any] = {
        "format": FORMAT,
        "name": "bench",
        "creator": creator.peer_id,
        "seed": run.seed,
        "task": {"kind": run.task},
        "reduce": {"rule": run.rule},
    }
    if run.task == "text":
        table["data"] = msgspec.to_builtins(describe(builtin_text(), 0.1))
    for key, value in PRESETS[run.task].items():
        section, name = key.split(".")
        table.setdefault(section, {})[name] = value
    for section, values in TASKS[run.task].items():
        table.setdefault(section, {}).update(values)
    return Manifest.create(msgspec.convert(table, Terms), creator)


def setting(run: Run, manifest: Manifest, peers: Sequence[str]) -> tuple[Task, dict[str, Shard]]:
    """The task, and what each member trains on."""
    if run.task == "text":
        text = Text(manifest.terms.task.options)
        shard = text.shard(builtin_text(), manifest.terms.data.held_out)
        return text, dict.fromkeys(peers, shard)
    (images, labels), _ = public_split()
    order = np.random.default_rng(run.seed).permutation(len(labels))
    digits = Digits(manifest.terms.task.options)
    return digits, {
        peer: digits.shard(pack_arrays(images[share], labels[share]), 0.0)
        for peer, share in zip(peers, np.array_split(order, len(peers)), strict=True)
    }


def accuracy(run: Run) -> float:
    """Share of right answers on held-out data after the last round, in points."""
    torch.set_num_threads(1)
    manifest = manifest_of(run)
    peers = [Identity.from_seed(bytes([100 + n]) * 32).peer_id for n in range(MEMBERS)]
    task, shards = setting(run, manifest, peers)
    trainer, shard = Trainer(manifest, task), shards[peers[0]]
    count = round(run.fraction * MEMBERS)
    honest = peers[count:]
    attacks = {peer: KINDS[run.attack]() for peer in peers[:count]}
    crooked = {
        peer: CrookedTrainer(manifest, task, attack, honest)
        for peer, attack in attacks.items()
        if attack.NAME in WORK_ATTACKS
    }

    smoothed: dict[str, NDArray[np.float32]] = {}

    def tamper(state: State, work: dict[str, LocalWork]) -> dict[str, LocalWork]:
        for peer in honest if run.momentum else ():
            fresh = (1 - run.momentum) * work[peer].update_U
            smoothed[peer] = fresh + run.momentum * smoothed.get(peer, work[peer].update_U)
            work[peer] = replace(work[peer], update_U=smoothed[peer].astype(np.float32))
        seen = [work[peer].update_U for peer in honest]

        def sent(peer: str, done: LocalWork) -> LocalWork:
            if peer in crooked:
                return crooked[peer].run(state, shards[peer], peer)
            return replace(done, update_U=attacks[peer](done.update_U, seen)) if peer in attacks else done

        return {peer: sent(peer, done) for peer, done in work.items()}

    for done in rehearse(manifest, trainer, shards, tamper=tamper):
        if done.state.round_no == run.banned_after:
            for peer in attacks:
                del shards[peer]
    return 100 * right_answers(trainer, done.state, shard)


def right_answers(trainer: Trainer, state: State, shard: Shard) -> float:
    """Share of them on held-out data; in text, of the next byte."""
    found = trainer.evaluate(state, shard).accuracy
    if found is not None:
        return found
    model = trainer.model(state)
    length = model.get_buffer("cos_TD").shape[0] + 1
    windows = shard.held_out[: len(shard.held_out) // length * length].reshape(-1, length)
    tokens_BT = torch.from_numpy(windows.astype(np.int64))
    with torch.inference_mode():
        guesses_BT = model(tokens_BT[:, :-1]).argmax(dim=-1)
    return float((guesses_BT == tokens_BT[:, 1:]).float().mean())


def plan(task: str, seeds: int, fractions: Sequence[float]) -> list[Run]:
    """All runs of one task."""
    kinds = TEXT_KINDS if task == "text" else tuple(KINDS)
    return [
        Run(task, rule, seed, attack, share, banned_after)
        for seed in range(seeds)
        for attack, share in [("", 0.0), *((name, share) for name in kinds for share in fractions)]
        for rule, banned_after in [("mean", None), ("clipped", None), ("clipped", ROUNDS_TO_BAN)]
        if attack or banned_after is None
    ]


def rows_of(runs: Sequence[Run], results: Sequence[float]) -> list[dict[str, Any]]:
    """One row for each attack and share of attackers; accuracies are means over the seeds."""
    points: dict[Run, list[float]] = {}
    for run, result in zip(runs, results, strict=True):
        points.setdefault(replace(run, seed=0), []).append(result)
    found = {cell: round(statistics.mean(values), 2) for cell, values in points.items()}
    task = runs[0].task
    return [
        {
            "task": task,
            "name": cell.attack,
            "fraction": cell.fraction,
            "clean_mean": found[Run(task, "mean", 0)],
            "clean": found[Run(task, "clipped", 0)],
            "control": found[replace(cell, rule="mean")],
            "defended": found[cell],
            "after_bans": found[replace(cell, banned_after=ROUNDS_TO_BAN)],
        }
        for cell in found
        if cell.attack and cell.rule == "clipped" and cell.banned_after is None
    ]


def spoiling(
    pool: ProcessPoolExecutor,
    seeds: int,
    fractions: Sequence[float],
    counted: Callable[[Iterable[float], int, str], Iterator[float]],
) -> list[dict[str, Any]]:
    """Train both tasks under all attacks; the rows of both."""
    rows = []
    for task in TASKS:
        runs = plan(task, seeds, fractions)
        found = rows_of(runs, list(counted(pool.map(accuracy, runs), len(runs), f"{task} under attack")))
        print_table(task, found, seeds)
        rows += found
    return rows


def momentum(
    pool: ProcessPoolExecutor,
    seeds: int,
    counted: Callable[[Iterable[float], int, str], Iterator[float]],
) -> list[dict[str, Any]]:
    """Whether clipping does better if members send a running mean of their updates (40 % attackers)."""
    cells = [(name, beta) for name in ("", *MOMENTUM_KINDS) for beta in MOMENTA]
    runs = [
        Run("digits", "clipped", seed, name, 0.4 if name else 0.0, momentum=beta)
        for name, beta in cells
        for seed in range(seeds)
    ]
    found = list(counted(pool.map(accuracy, runs), len(runs), "momentum of the members"))
    means = {cell: statistics.mean(found[at * seeds : (at + 1) * seeds]) for at, cell in enumerate(cells)}
    print(
        f"\ndigits, 40 % attackers, clipped: right answers in points, {seeds} seeds; momentum of the members"
    )
    print(f"{'attack':>22} " + " ".join(f"{beta:>7}" for beta in MOMENTA))
    for name in ("", *MOMENTUM_KINDS):
        print(f"{name or 'none':>22} " + " ".join(f"{means[name, beta]:>7.2f}" for beta in MOMENTA))
    return [{"name": name, "momentum": beta, "accuracy": round(means[name, beta], 2)} for name, beta in cells]


def lost(row: dict[str, Any], column: str) -> float:
    """Points below the same task without attackers."""
    return float(row["clean_mean" if column == "control" else "clean"] - row[column])


def worst(rows: Sequence[dict[str, Any]], column: str) -> dict[str, Any] | None:
    """The row that loses most, of those whose plain mean collapses; None if there is none."""
    hard = [row for row in rows if lost(row, "control") > COLLAPSE]
    return max(hard, key=lambda row: lost(row, column), default=None)


def print_table(task: str, rows: Sequence[dict[str, Any]], seeds: int) -> None:
    rounds = TASKS[task]["round"]["rounds"]
    print(f"\n{task}: right answers in points, {MEMBERS} members, {rounds} rounds, {seeds} seeds")
    print(f"no attackers: mean {rows[0]['clean_mean']:.2f}, clipped {rows[0]['clean']:.2f}")
    print(
        f"{'attack':>22} {'share':>6} {'mean':>7} {'clipped':>8} {'lost':>6} {'after bans':>11} {'lost':>6}"
    )
    for row in rows:
        print(
            f"{row['name']:>22} {row['fraction']:>6.0%} {row['control']:>7.2f} {row['defended']:>8.2f} "
            f"{lost(row, 'defended'):>6.2f} {row['after_bans']:>11.2f} {lost(row, 'after_bans'):>6.2f}"
        )
    print(f"worst attack with which the plain mean loses more than {COLLAPSE:g} points:")
    for share in sorted({row["fraction"] for row in rows}):
        most = worst([row for row in rows if row["fraction"] == share], "defended")
        if most:
            aim = f"(aim: at most {ALLOWED[share]:g})"
            print(f"{share:>6.0%}  {most['name']}: {lost(most, 'defended'):.2f} points lost {aim}")


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Points lost against the share of attackers, one line for each attack, mean beside clipped."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "dhtnode"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(TASKS), 2, figsize=(9, 8), sharex=True, sharey="row")
    colors = dict(zip(KINDS, pyplot.get_cmap("tab20").colors, strict=False))
    for pair, task in zip(axes, TASKS, strict=True):
        for axis, column, title in zip(pair, ("control", "defended"), ("plain mean", "clipped"), strict=True):
            for name in KINDS:
                line = [row for row in rows if (row["task"], row["name"]) == (task, name)]
                if line:
                    shares = [100 * row["fraction"] for row in line]
                    axis.plot(
                        shares, [lost(row, column) for row in line], "o-", color=colors[name], label=name
                    )
            axis.set(title=f"{task}, {title}", ylabel="points of accuracy lost")
            axis.set_yscale("symlog", linthresh=1)
    for axis in axes[-1]:
        axis.set(xlabel="attackers in %", xticks=[100 * share for share in FRACTIONS])
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", fontsize=8, ncols=4)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(path, metadata={"Date": None})
