"""How far apart honest machines are, and how far cheap cheats: what tolerances between profiles rest on.

Each profile is a process of its own that does the same local runs of a small GPT: on this machine as it is,
with more threads, with narrower vector instructions, in bf16, and on the GPU where there is one. Their
updates are compared with those of this machine as it is, raw and as they travel (int8, int2): in full, by
count-sketch, and chunk by chunk, since an auditor looks at a few chunks. Beside them stand runs in which one
thing is wrong. Honest rows show the largest distance over all runs (and chunks), cheats the smallest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dhtnode.digest import derive  # noqa: E402
from dhtnode.identity import Identity  # noqa: E402
from dhtnode.manifest import (  # noqa: E402
    FORMAT,
    AuditSection,
    InnerSection,
    Manifest,
    RoundSection,
    TaskSection,
    Terms,
    WireSection,
)
from scripts.bench_convergence import machine  # noqa: E402
from training import eager  # noqa: E402
from training.codec import Vector, decode_all, encode  # noqa: E402
from training.data import builtin_text, describe  # noqa: E402
from training.inner import LocalRun, LocalWork, Trainer  # noqa: E402
from training.state import State  # noqa: E402
from training.tasks import Batch, Shard  # noqa: E402
from training.tasks.text import Text  # noqa: E402
from validation.canary import apart_ppm, run_canary, tolerance_ppm  # noqa: E402
from validation.compare import distance_ppm, sketch  # noqa: E402

PPM = 1e-6
BATCH = 64
CODECS = ("int8", "int2")


@dataclass(frozen=True)
class Size:
    """How much is done."""

    steps: tuple[int, ...]
    peers: int
    options: dict[str, Any]


FULL = Size((1, 10, 50, 200), 2, {"dim": 64, "layers": 2, "heads": 4, "context": 32})
QUICK = Size((1, 4, 8), 1, {"dim": 16, "layers": 1, "heads": 2, "context": 8})


@dataclass(frozen=True)
class Profile:
    """One kind of machine, as far as one machine can be several."""

    name: str
    threads: int = 1
    device: str = "cpu"
    bf16: bool = False
    tf32: bool = False
    environment: dict[str, str] = field(default_factory=dict)


def profiles() -> list[Profile]:
    """The first is what all others are compared with."""
    narrow = {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    found = [
        Profile("this machine, 1 thread"),
        Profile("the same, another process"),
        Profile("2 threads", threads=2),
        Profile("AVX2 in torch", environment={"ATEN_CPU_CAPABILITY": "avx2"}),
        Profile("no AVX in torch", environment={"ATEN_CPU_CAPABILITY": "default"}),
        Profile("AVX2 everywhere", environment={"ATEN_CPU_CAPABILITY": "avx2", **narrow}),
        Profile("bf16 autocast", bf16=True),
    ]
    if torch.cuda.is_available():
        found += [
            Profile("GPU fp32", device="cuda"),
            Profile("GPU TF32", device="cuda", tf32=True),
            Profile("GPU bf16 autocast", device="cuda", bf16=True),
        ]
    return found


# One process


class Dropping(Text):
    """Leaves two samples of every batch out."""

    def batch(self, shard: Shard, indices: npt.NDArray[np.int64]) -> Batch:
        return super().batch(shard, indices[:-2])


class Flipping(Text):
    """Gets one label of every batch wrong."""

    def batch(self, shard: Shard, indices: npt.NDArray[np.int64]) -> Batch:
        (tokens_BT,) = super().batch(shard, indices)
        tokens_BT[0, -1] ^= 1
        return (tokens_BT,)


class Open(Trainer):
    """Goes on from any step."""

    def _places(self, round_no: int) -> frozenset[int]:
        return frozenset(range(1, self._manifest.terms.inner.steps_at(round_no)))


class Stale(Open):
    """Takes a run's last step with the gradient of the step before."""

    last = 0

    def _step(self, local: LocalRun, step: int) -> float:
        if step != self.last:
            return super()._step(local, step)
        eager.step(local.optimizer)
        return 0.0


def manifest_of(size: Size) -> Manifest:
    creator = Identity.from_seed(bytes(32))
    terms = Terms(
        format=FORMAT,
        name="bench",
        creator=creator.peer_id,
        task=TaskSection(kind="text", options=size.options),
        data=describe(builtin_text(), 0.1),
        inner=InnerSection(steps=((0, size.steps[-1]),), batch_size=BATCH),
        round=RoundSection(rounds=5),
        audit=AuditSection(segment=0),
    )
    return Manifest.create(terms, creator)


def result(work: LocalWork) -> Vector:
    """The update, and behind it the mean loss."""
    return np.append(work.update_U, np.float32(work.loss))


class Bench:
    """All runs of one process. What they find is the update with the loss behind it."""

    def __init__(self, size: Size, device: str, folder: Path) -> None:
        self.size, self.device, self.folder = size, device, folder
        self.manifest = manifest_of(size)
        self.task = Text(self.manifest.terms.task.options)
        self.trainer = Trainer(self.manifest, self.task, device)
        self.shard = self.task.shard(builtin_text(), 0.1)

    def states(self) -> Iterator[tuple[str, State]]:
        """What the runs start from: nothing learned yet, and a round of training later."""
        genesis = self.trainer.genesis()
        yield "genesis", genesis
        path = self.folder / "trained.npy"
        if not path.exists():
            values_S = genesis.values_S.copy()
            values_S[: genesis.shape.params] -= self.trainer.run(genesis, self.shard, "first").update_U
            np.save(path, values_S)
        yield "trained", State(genesis.swarm_id, 1, genesis.shape, np.load(path))

    def runs(self) -> Iterator[tuple[str, State, str]]:
        for name, state in self.states():
            for number in range(self.size.peers):
                yield f"{name} {number}", state, f"peer {number}"

    def walk(self, trainer: Trainer, state: State, peer: str) -> dict[int, Vector]:
        """Updates after each number of steps, from one run."""
        local, found = trainer.begin(state, self.shard, peer), {}
        while local.steps < self.size.steps[-1]:
            trainer.step(local)
            if local.steps in self.size.steps:
                found[local.steps] = result(trainer.finish(local))
        return found

    def honest(self) -> dict[str, Vector]:
        return {
            f"{run}/{steps}": update
            for run, state, peer in self.runs()
            for steps, update in self.walk(self.trainer, state, peer).items()
        }

    def cheats(self) -> dict[str, dict[str, Vector]]:
        always = {
            "2 of 64 samples dropped in every step": Trainer(self.manifest, Dropping(self.size.options)),
            "1 label flipped in every step": Trainer(self.manifest, Flipping(self.size.options)),
        }
        found: dict[str, dict[str, Vector]] = {}
        for run, state, peer in self.runs():
            for name, trainer in always.items():
                for steps, update in self.walk(trainer, state, peer).items():
                    found.setdefault(name, {})[f"{run}/{steps}"] = update
            for steps, update in self.walk(self.trainer, state, "somebody else").items():
                found.setdefault("all batches are others", {})[f"{run}/{steps}"] = update
            for name, steps, update in self.once(state, peer):
                found.setdefault(name, {})[f"{run}/{steps}"] = update
        return found

    def once(self, state: State, peer: str) -> Iterator[tuple[str, int, Vector]]:
        """Cheats in the last step alone, from one honest run that leads up to it."""
        honest, stale = Open(self.manifest, self.task), Stale(self.manifest, self.task)
        false: dict[str, tuple[Trainer, str]] = {
            "last step on another batch": (Open(self.manifest, self.task), "somebody else"),
            "2 of 64 samples dropped in the last step": (
                Open(self.manifest, Dropping(self.size.options)),
                peer,
            ),
            "1 label flipped in the last step": (Open(self.manifest, Flipping(self.size.options)), peer),
        }
        local = honest.begin(state, self.shard, peer)

        def go_on(trainer: Trainer, whose: str, steps: int) -> Vector:
            other = (
                trainer.begin_at(honest.boundary(local), state, self.shard, whose)
                if local.steps
                else trainer.begin(state, self.shard, whose)
            )
            while other.steps < steps:
                trainer.step(other)
            return result(trainer.finish(other))

        while True:
            for steps in self.size.steps:
                if local.steps == steps - 2:
                    stale.last = steps - 1
                    yield "last step with a stale gradient", steps, go_on(stale, peer, steps)
                if local.steps == steps - 1:
                    if local.steps:
                        yield "one step less", steps, result(honest.finish(local))
                    for name, (trainer, whose) in false.items():
                        yield name, steps, go_on(trainer, whose, steps)
            if local.steps == self.size.steps[-1] - 1:
                return
            honest.step(local)


def child(index: int, size: Size, folder: Path) -> None:
    """One profile, in a process that was started for it."""
    profile = profiles()[index]
    torch.set_num_threads(profile.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = profile.tf32
    # without the cache: it would keep the first step's weights for all that follow
    lower = torch.autocast(profile.device, torch.bfloat16, profile.bf16, cache_enabled=False)
    bench = Bench(size, profile.device, folder)
    with lower:
        np.savez(folder / f"{profile.name}.npz", **bench.honest())  # type: ignore[arg-type]  # none is called allow_pickle
        (folder / f"{profile.name}.json").write_text(json.dumps(run_canary(bench.trainer, bench.shard)))
    if index == 0:
        for name, updates in bench.cheats().items():
            np.savez(folder / f"{name}.npz", **updates)  # type: ignore[arg-type]


# The table


def relative(theirs: Vector, mine: Vector) -> float:
    """|theirs - mine| / |mine|."""
    difference = theirs.astype(np.float64) - mine
    return float(np.linalg.norm(difference) / np.linalg.norm(mine.astype(np.float64)))


def distances(
    theirs: Vector, mine: Vector, seed: int, worst: Callable[[Iterable[float]], float]
) -> dict[str, float]:
    """Of one pair of results: updates raw and as they travel, by sketch and in the worst chunk; losses."""
    loss = abs(float(theirs[-1]) - float(mine[-1])) / float(mine[-1])
    theirs, mine = theirs[:-1], mine[:-1]
    found = {"raw": relative(theirs, mine)}
    for codec in CODECS:
        wire = WireSection(codec=codec)  # type: ignore[arg-type]
        a, b = (decode_all(encode(vector, wire), vector.size, wire) for vector in (theirs, mine))
        found[codec] = relative(a, b)
        found[f"{codec} sketch"] = distance_ppm(sketch(a, seed), sketch(b, seed)) * PPM
        cuts = range(wire.chunk_elems, mine.size, wire.chunk_elems)
        chunks = zip(np.split(a, cuts), np.split(b, cuts), strict=True)
        found[f"{codec} chunk"] = worst(relative(one, other) for one, other in chunks)
    return found | {"loss": loss}


Rows = dict[int, dict[str, float]]


def compare(folder: Path, name: str, reference: str, worst: Callable[[Iterable[float]], float]) -> Rows:
    """By number of steps: the worst distance over all runs."""
    with np.load(folder / f"{name}.npz") as theirs, np.load(folder / f"{reference}.npz") as mine:
        rows: dict[int, list[dict[str, float]]] = {}
        for key in theirs.files:
            found = distances(theirs[key], mine[key], derive("bench", key), worst)
            rows.setdefault(int(key.rsplit("/", 1)[1]), []).append(found)
    return {
        steps: {column: worst(row[column] for row in found) for column in found[0]}
        for steps, found in sorted(rows.items())
    }


def show(title: str, table: dict[str, Rows]) -> None:
    """One row for each name; in a cell the distances by number of steps, rising."""
    first = next(iter(table.values()))
    columns = list(next(iter(first.values())))
    print(f"\n| {title}, H = {' / '.join(map(str, first))} | {' | '.join(columns)} |")
    print("| --- " * (1 + len(columns)) + "|")
    for name, rows in table.items():
        cells = (" / ".join(written(rows.get(H, {}).get(column)) for H in first) for column in columns)
        print(f"| {name} | {' | '.join(cells)} |")


def written(distance: float | None) -> str:
    if distance is None:
        return "-"
    return f"{distance:.2g}" if distance >= 1e-3 or not distance else f"{distance:.0e}".replace("e-0", "e-")


def margins(folder: Path, honest: dict[str, Rows], reference: str) -> list[dict[str, Any]]:
    """The tolerance that each canary gives, beside the worst that honest runs need."""
    mine = json.loads((folder / f"{reference}.json").read_text())
    found = []
    for name, rows in honest.items():
        distance = apart_ppm(json.loads((folder / f"{name}.json").read_text()), mine)
        for codec in CODECS:
            worst = max(max(row[codec], row[f"{codec} chunk"]) for row in rows.values())
            eps = tolerance_ppm(distance, codec)
            found.append({"name": name, "codec": codec, "canary": distance, "eps": eps, "worst": worst})
    return found


def show_margins(found: Sequence[dict[str, Any]]) -> None:
    print("\n| honest machine | codec | canary, ppm | tolerance, ppm | worst honest distance, ppm |")
    print("| --- | --- | --- | --- | --- |")
    for row in found:
        eps = "not comparable" if row["eps"] is None else row["eps"]
        print(f"| {row['name']} | {row['codec']} | {row['canary']} | {eps} | {row['worst'] / PPM:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model and few steps: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    size = QUICK if args.quick else FULL
    if args.child is not None:
        child(args.child, size, args.folder)
        return
    document: dict[str, Any] = {"machine": machine(), "steps": size.steps, "gpu": torch.cuda.is_available()}
    print(document["machine"] + ("" if document["gpu"] else "; no GPU: not measured"))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for index, profile in enumerate(profiles()):
            print(f"{profile.name} ...", file=sys.stderr, flush=True)
            command = [sys.executable, "-P", __file__, "--child", str(index), "--folder", made]
            subprocess.run(
                command + ["--quick"] * args.quick, env=os.environ | profile.environment, check=True
            )
        reference, *others = (profile.name for profile in profiles())
        honest = {name: compare(folder, name, reference, max) for name in others}
        names = sorted(path.stem for path in folder.glob("*.npz"))
        found = margins(folder, honest, reference)
        cheats = {
            name: compare(folder, name, reference, min) for name in names if name not in (reference, *others)
        }
    show("honest machine", honest)
    show("cheat", cheats)
    show_margins(found)
    document |= {"honest": honest, "cheats": cheats, "tolerances": found}
    if args.json:
        args.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
