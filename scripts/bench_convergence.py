"""A swarm of four against synchronous data-parallel training: loss at equal tokens, tokens to equal
loss, bytes sent.

Both sides run the project's own code in one process (`training.rehearsal`), which gives the same bits
as real nodes. The data-parallel reference is a swarm of one whose batch is the global batch and whose
optimizer state survives from round to round: plain AdamW. Each reference budget has its own whole
cosine schedule, and both sides' learning rates were tuned (docs/convergence.md). The swarm's members take
steps of plain SGD with gradients scaled by shared second moments (`training.scaling`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import torch

from dhtnode.identity import Identity
from dhtnode.manifest import (
    FORMAT,
    InnerSection,
    Manifest,
    OuterSection,
    ReduceSection,
    RoundSection,
    TaskSection,
    Terms,
    WireSection,
)
from training.data import builtin_text, describe, read_file
from training.inner import Trainer
from training.rehearsal import rehearse
from training.tasks.text import Text

NODES = 4
REFERENCE: dict[str, Any] = {"lr": 9e-3, "weight_decay": 0.1}
"""The best found for data-parallel training; the swarm's best are the defaults of `Setting`."""
LARGE_LR, LARGE = 1.3e-2, 4
"""The same with a global batch so many times larger and as many times fewer steps: fewer bytes as well."""
SINGLE: dict[str, Any] = {**REFERENCE, "lr": 4e-3}
ADAM: dict[str, Any] = {"betas": [0.8, 0.99], "eps": 1e-4}
POINTS = 10
"""Evaluations along a run."""
SWEEP = [
    *(("fp32", every) for every in (2.0, 6.7, 20.0, 50.0)),
    *(("int8", every) for every in (6.7, 25.0)),
    *(("int4", every) for every in (6.7, 12.5)),
    *(("int2", every) for every in (6.7, 20.0)),
]
"""What the curve of loss against bytes is made of: codec, mean inner steps between synchronisations."""
FRACTIONS = (0.6, 0.7, 0.85, 1.0)
"""Token budgets of the reference, as shares of the swarm's."""


@dataclass(frozen=True)
class Setting:
    """One training run. Defaults: the swarm's recommended schedule."""

    name: str
    steps: int
    """Inner steps of each node; with the batch, the token budget."""
    kind: str = "swarm"
    """`swarm`, `dp` (global batch, synchronous) or `single` (one node's batch, as many tokens)."""
    seed: int = 0
    every: float = 6.7
    """Mean inner steps between synchronisations."""
    power: float = 2.0
    """Rounds end at steps N (r / R)^power: above 1, rounds are short early and long later."""
    codec: str = "int2"
    rule: str = "mean"
    lr: float = 1e-3
    weight_decay: float = 0.02
    scaling: float = 0.95
    outer_lr: float = 1.4
    outer_momentum: float = 0.8
    batch: int = 2
    dim: int = 64
    layers: int = 3
    data: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a run gave. Losses are held-out nats per byte."""

    setting: Setting
    parameters: int
    curve: list[tuple[int, float, int]]
    """(tokens of all nodes, loss, bytes sent by one node)."""
    rounds: int
    seconds: float

    @property
    def loss(self) -> float:
        return self.curve[-1][1]

    @property
    def sent_bytes(self) -> int:
        return self.curve[-1][2]


def ramp(steps: int, every: float, power: float) -> tuple[tuple[int, int], ...]:
    """Inner steps of each round, as the manifest writes them: (from round, H)."""
    rounds = max(1, round(steps / every))
    ends = sorted({max(r, round(steps * (r / rounds) ** power)) for r in range(1, rounds + 1)})
    lengths = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    pairs = [(r, h) for r, h in enumerate(lengths) if r == 0 or lengths[r - 1] != h]
    return tuple(pairs)


def rounds_of(steps: int, every: float, power: float) -> int:
    rounds = max(1, round(steps / every))
    return len({max(r, round(steps * (r / rounds) ** power)) for r in range(1, rounds + 1)})


def manifest_of(setting: Setting, content: bytes) -> Manifest:
    creator = Identity.from_seed(bytes([setting.seed]) * 32)
    swarm = setting.kind == "swarm"
    if swarm:
        pairs = ramp(setting.steps, setting.every, setting.power)
        rounds = rounds_of(setting.steps, setting.every, setting.power)
    else:
        pairs, rounds = ((0, max(1, setting.steps // POINTS)),), POINTS
    options: dict[str, Any] = {"lr": setting.lr, "weight_decay": setting.weight_decay}
    inner = InnerSection(
        steps=pairs,
        batch_size=setting.batch * (NODES if setting.kind == "dp" else 1),
        optimizer="SGD" if swarm else "AdamW",
        options=options if swarm else {**options, **ADAM},
        warmup_steps=min(50, setting.steps // 5),
        final_lr=0.0,
        moments="reset" if swarm else "averaged",
        scaling=setting.scaling if swarm else 0.0,
    )
    outer = OuterSection(lr=setting.outer_lr, momentum=setting.outer_momentum)
    terms = Terms(
        format=FORMAT,
        name="bench",
        creator=creator.peer_id,
        seed=setting.seed,
        task=TaskSection(
            kind="text",
            options={"dim": setting.dim, "layers": setting.layers, "heads": 2, "eval_windows": 400},
        ),
        data=describe(content, 0.1),
        inner=inner,
        outer=outer if swarm else OuterSection(lr=1.0, momentum=0.0),
        wire=WireSection(
            codec=setting.codec if swarm else "fp32",  # type: ignore[arg-type]
            block_elems=256,
        ),
        reduce=ReduceSection(rule=setting.rule),  # type: ignore[arg-type]
        round=RoundSection(rounds=rounds),
    )
    return Manifest.create(terms, creator)


def run(setting: Setting) -> Outcome:
    """Train and evaluate along the way."""
    torch.set_num_threads(1)
    start_s = time.monotonic()
    content = read_file(Path(setting.data)) if setting.data else builtin_text()
    manifest = manifest_of(setting, content)
    task = Text(manifest.terms.task.options)
    trainer = Trainer(manifest, task)
    shard = task.shard(content, manifest.terms.data.held_out)
    members = NODES if setting.kind == "swarm" else 1
    peers = [Identity.from_seed(bytes([100 + n]) * 32).peer_id for n in range(members)]
    total = manifest.terms.round.rounds
    marks = {round(total * (point + 1) / POINTS) for point in range(POINTS)}
    curve: list[tuple[int, float, int]] = []
    tokens = sent = 0
    for done in rehearse(manifest, trainer, dict.fromkeys(peers, shard)):
        tokens += sum(work.units for work in done.work.values())
        sent += 2 * done.sent_bytes * (members - 1) // members
        if done.state.round_no in marks:
            curve.append((tokens, trainer.evaluate(done.state, shard).loss, sent))
    return Outcome(setting, trainer.shape.params, curve, total, time.monotonic() - start_s)


def settings_for(args: argparse.Namespace) -> list[Setting]:
    """All runs of one benchmark, the longest first."""
    base = Setting(
        "swarm", args.steps, lr=args.lr, power=args.power, batch=args.batch, data=str(args.data or "")
    )
    reference = {**REFERENCE, "lr": args.reference_lr}
    jobs = []
    for seed in range(args.seeds):
        jobs.append(replace(base, seed=seed))
        jobs.append(replace(base, name="swarm clipped", rule="clipped", seed=seed))
        for fraction in FRACTIONS:
            steps = round(args.steps * fraction)
            jobs.append(
                replace(base, name=f"dp {fraction:g}", kind="dp", seed=seed, steps=steps, **reference)
            )
        large = {**reference, "lr": LARGE_LR, "batch": args.batch * LARGE}
        jobs.append(replace(base, name="dp large", kind="dp", seed=seed, steps=args.steps // LARGE, **large))
    jobs.append(replace(base, name="single", kind="single", steps=args.steps * NODES, **SINGLE))
    if not args.no_sweep:
        jobs += [
            replace(base, name=f"{codec} H={every:g}", codec=codec, every=every, seed=seed)
            for codec, every in SWEEP
            if (codec, every) != (base.codec, base.every)
            for seed in range(args.sweep_seeds)
        ]
    return sorted(jobs, key=lambda job: -job.steps * (NODES if job.kind != "single" else 1))


def ddp_bytes(outcome: Outcome) -> int:
    """Bytes that each node sends for an fp32 ring all-reduce in every inner step."""
    return 2 * (NODES - 1) * 4 * outcome.parameters * outcome.setting.steps // NODES


def tokens_ratio(loss: float, references: Sequence[float]) -> float | None:
    """The swarm's tokens over those that the reference needs to the same loss, interpolated.

    None if the loss is outside what the reference's budgets, `FRACTIONS` of the swarm's, reach.
    """
    for (few, high), (many, low) in pairwise(zip(FRACTIONS, references, strict=True)):
        if low <= loss <= high and high > low:
            return 1 / (few + (many - few) * (high - loss) / (high - low))
    return None


def summarize(outcomes: Sequence[Outcome], args: argparse.Namespace) -> dict[str, object]:
    """The figures of the issue, by seed and as means."""
    named: dict[tuple[str, int], Outcome] = {(o.setting.name, o.setting.seed): o for o in outcomes}
    seeds = range(args.seeds)
    swarms = [named["swarm", seed] for seed in seeds]
    dps = [named["dp 1", seed] for seed in seeds]
    budgets = [[named[f"dp {f:g}", seed].loss for f in FRACTIONS] for seed in seeds]
    ratios = [tokens_ratio(named["swarm", seed].loss, budgets[seed]) for seed in seeds]
    # One seed's losses are noisy to the second digit, and the ratio is a quotient of differences of them.
    mean_ratio = tokens_ratio(
        statistics.mean(o.loss for o in swarms),
        [statistics.mean(losses) for losses in zip(*budgets, strict=True)],
    )
    return {
        "machine": machine(),
        "seeds": args.seeds,
        "tokens": swarms[0].curve[-1][0],
        "parameters": swarms[0].parameters,
        "loss_swarm": [round(o.loss, 4) for o in swarms],
        "loss_clipped": [round(named["swarm clipped", seed].loss, 4) for seed in seeds],
        "loss_dp": [round(o.loss, 4) for o in dps],
        "loss_dp_large": [round(named["dp large", seed].loss, 4) for seed in seeds],
        "loss_single": round(named["single", 0].loss, 4),
        "loss_gap": round(statistics.mean(o.loss for o in swarms) - statistics.mean(o.loss for o in dps), 4),
        "tokens_ratio": [None if ratio is None else round(ratio, 3) for ratio in ratios],
        "tokens_ratio_of_means": None if mean_ratio is None else round(mean_ratio, 3),
        "loss_budgets": {
            f"{fraction:g}": round(statistics.mean(losses), 4)
            for fraction, losses in zip(FRACTIONS, zip(*budgets, strict=True), strict=True)
        },
        "bytes_ratio": round(ddp_bytes(swarms[0]) / swarms[0].sent_bytes, 1),
        "sweep": sweep_of(outcomes),
        "runs": [
            {
                **asdict(o.setting),
                "loss": o.loss,
                "rounds": o.rounds,
                "seconds": round(o.seconds, 1),
                "curve": o.curve,
            }
            for o in outcomes
        ],
    }


def sweep_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Loss against bytes: each codec and schedule, with the mean over its seeds."""
    rows = []
    for codec, every in SWEEP:
        runs = [
            o
            for o in outcomes
            if (o.setting.kind, o.setting.rule) == ("swarm", "mean")
            and (o.setting.codec, o.setting.every) == (codec, every)
        ]
        if runs:
            row = {
                "codec": codec,
                "every": every,
                "loss": round(statistics.mean(o.loss for o in runs), 4),
                "losses": [round(o.loss, 4) for o in runs],
                "sent_bytes": runs[0].sent_bytes,
                "bytes_ratio": round(ddp_bytes(runs[0]) / runs[0].sent_bytes, 1),
            }
            rows.append(row)
    return rows


def machine() -> str:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, torch {torch.__version__}"


def plot(summary: dict[str, object], outcomes: Sequence[Outcome], folder: Path) -> None:
    """Loss against tokens, and against bytes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "dhtnode"
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.5))
    for name, label in (
        ("dp 1", "data-parallel, every step"),
        ("swarm", "swarm of four"),
        ("single", "one node"),
    ):
        for outcome in outcomes:
            if outcome.setting.name == name:
                axis.plot(
                    [tokens / 1e6 for tokens, _, _ in outcome.curve],
                    [loss for _, loss, _ in outcome.curve],
                    color={"dp 1": "C0", "swarm": "C1", "single": "C2"}[name],
                    label=label if outcome.setting.seed == 0 else None,
                )
    axis.set(xlabel="million tokens", ylabel="held-out loss (nats per byte)", ylim=(None, 2.2))
    axis.legend()
    figure.savefig(folder / "convergence-tokens.svg", metadata={"Date": None})
    figure, axis = pyplot.subplots(figsize=(7, 4.5))
    sweep = sweep_of(outcomes)
    for codec in ("fp32", "int8", "int4", "int2"):
        points = sorted((row["bytes_ratio"], row["loss"]) for row in sweep if row["codec"] == codec)
        if points:
            axis.plot([x for x, _ in points], [y for _, y in points], "o-", label=codec)
    reference = statistics.mean(o.loss for o in outcomes if o.setting.name == "dp 1")
    axis.axhline(reference, color="grey", ls=":", label="data-parallel")
    axis.set(
        xlabel="times fewer bytes than fp32 all-reduce in every step", ylabel="held-out loss at equal tokens"
    )
    axis.set_xscale("log")
    axis.legend()
    figure.savefig(folder / "convergence-bytes.svg", metadata={"Date": None})


def print_tables(summary: dict[str, object], out: Iterable[str] = ()) -> None:
    print(f"\n{summary['machine']}")
    shown = ("parameters", "tokens", "loss_dp", "loss_budgets", "loss_dp_large", "loss_swarm")
    for key in (*shown, "loss_clipped", "loss_single", "loss_gap", "tokens_ratio"):
        print(f"{key:>22}  {summary[key]}")
    print(f"{'tokens_ratio_of_means':>22}  {summary['tokens_ratio_of_means']}   (aim: at most 1.15)")
    print(f"{'bytes_ratio':>22}  {summary['bytes_ratio']}   (aim: at least 100)\n")
    rows = summary["sweep"]
    assert isinstance(rows, list)
    for row in rows:
        where = f"{row['codec']:>6} every {row['every']:>5g} steps"
        print(f"{where}  loss {row['loss']:.4f}  {row['bytes_ratio']:>7.1f}x fewer bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, one seed: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and curves")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write the two plots")
    parser.add_argument("--data", type=Path, metavar="FILE", help="any text instead of the built-in one")
    parser.add_argument("--steps", type=int, default=2000, help="inner steps of each node")
    parser.add_argument("--batch", type=int, default=2, help="sequences of each node in one step")
    parser.add_argument("--lr", type=float, default=Setting.lr, help="of the swarm's inner steps")
    parser.add_argument(
        "--reference-lr", type=float, default=REFERENCE["lr"], help="of data-parallel training"
    )
    parser.add_argument("--power", type=float, default=Setting.power, help="how much longer late rounds are")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sweep-seeds", type=int, default=1, help="of the curve of loss against bytes")
    parser.add_argument("--no-sweep", action="store_true", help="only the main comparison")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time")
    args = parser.parse_args()
    if args.quick:
        args.steps, args.seeds, args.sweep_seeds = max(20, args.steps // 10), 1, 1
    jobs = settings_for(args)
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for number, outcome in enumerate(pool.map(run, jobs), 1):
            outcomes.append(outcome)
            name = f"{outcome.setting.name}, seed {outcome.setting.seed}"
            print(
                f"{number} of {len(jobs)}  {name}: {outcome.loss:.4f} in {outcome.seconds:.0f} s",
                file=sys.stderr,
            )
    summary = summarize(outcomes, args)
    print_tables(summary)
    if args.json:
        args.json.write_bytes(msgspec.json.format(json.dumps(summary).encode(), indent=1) + b"\n")
    if args.plots:
        plot(summary, outcomes, args.plots)


if __name__ == "__main__":
    main()
