"""A private swarm of digits in one process, some of its members false, and what its reducers see.

Made for the checks that do without replay: who looks odd to whom, and where the held-out loss goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
import numpy as np

from dhtnode.cli.create import PRESETS
from dhtnode.digest import derive
from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, Manifest, Terms
from tests.adversary.attacks import ATTACKS, InnerProduct, LittleIsEnough
from training.codec import Vector, chunk_sizes, decode_all, encode
from training.data import pack_arrays, split_by_label
from training.inner import LocalWork, Trainer
from training.partition import partition
from training.rehearsal import rehearse
from training.state import State
from training.tasks import Shard
from training.tasks.digits import LABELS, Digits, public_split
from validation.plausibility import Look, Suspicions, look, oddities

Split = Literal["alike", "labels"]
"""Shards of one kind, or of few labels each."""
Falsify = Callable[[str, dict[str, LocalWork], Sequence[str], Vector | None], Vector]
"""What a false member sends: its name, what all have done, who is false, the last round's result."""


def _alone(name: str) -> Falsify:
    attacks: dict[str, Callable[[Vector], Vector]] = {}

    def falsify(me: str, work: dict[str, LocalWork], false: Sequence[str], last_U: Vector | None) -> Vector:
        return attacks.setdefault(me, ATTACKS[name]())(work[me].update_U)

    return falsify


def _scaled(factor: float) -> Falsify:
    return lambda me, work, false, last_U: work[me].update_U * np.float32(factor)


def _noisy(update_U: Vector, share: float, seed: int) -> Vector:
    """With noise that is `share` times as long as it."""
    noise_U = np.random.default_rng(seed).standard_normal(update_U.size).astype(np.float32)
    return update_U + noise_U * np.float32(share * np.linalg.norm(update_U) / np.linalg.norm(noise_U))


def _copycat(share: float) -> Falsify:
    """All false members send the work of the first of them, each with noise of its own."""
    return lambda me, work, false, last_U: _noisy(work[false[0]].update_U, share, 100 + false.index(me))


def _echo(share: float) -> Falsify:
    """The last round's result once more: everybody has it, and nobody needs any data for it."""

    def falsify(me: str, work: dict[str, LocalWork], false: Sequence[str], last_U: Vector | None) -> Vector:
        return _noisy(work[me].update_U if last_U is None else last_U, share, 200 + false.index(me))

    return falsify


def _together(attack: InnerProduct | LittleIsEnough) -> Falsify:
    return lambda me, work, false, last_U: attack(
        work[me].update_U, [done.update_U for peer, done in work.items() if peer not in false]
    )


def _late_flip(honest_rounds: int) -> Falsify:
    """Honest while all go one way; later three times its work, turned round."""
    rounds: Counter[str] = Counter()

    def falsify(me: str, work: dict[str, LocalWork], false: Sequence[str], last_U: Vector | None) -> Vector:
        rounds[me] += 1
        return work[me].update_U * np.float32(1 if rounds[me] <= honest_rounds else -3)

    return falsify


def _work(me: str, work: dict[str, LocalWork], false: Sequence[str], last_U: Vector | None) -> Vector:
    return work[me].update_U


FALSE: dict[str, Falsify] = {
    "zero": _alone("zero"),
    "scaled-noise": _alone("scaled-noise"),
    "scaled 10": _scaled(10),
    "scaled 3": _scaled(3),
    "sign-flip": _alone("sign-flip"),
    "right-norm": _alone("right-norm"),
    "stale": _alone("stale"),
    "copycat": _copycat(0),
    "copycat, 1 % noise": _copycat(0.01),
    "copycat, 10 % noise": _copycat(0.1),
    "echo": _echo(0),
    "echo, 10 % noise": _echo(0.1),
    "echo, 50 % noise": _echo(0.5),
    "inner-product 2": _together(InnerProduct(2.0)),
    "inner-product 10": _together(InnerProduct(10.0)),
    "little-is-enough 1": _together(LittleIsEnough(1.0)),
    "late flip": _late_flip(8),
    "wrong labels": _work,
}
"""`wrong labels` works as it should, on data that are false: its members' shards name another digit."""


@dataclass
class Seen:
    """What one run has shown."""

    false: list[str]
    losses: list[float]
    """On the public test images, from before the first round on."""
    accuracy: float = 0.0
    looks: list[list[Look]] = field(default_factory=list)
    """One list for each part of each round."""
    suspicions: Suspicions = field(default_factory=Suspicions)

    def odd_parts(self, peer: str) -> int:
        """Parts of a member in which anything was odd."""
        return sum(peer in oddities(looks) for looks in self.looks)

    def kinds(self, peers: Sequence[str]) -> Counter[str]:
        """Of what was odd about these members, in parts."""
        return sum((Counter(self.suspicions.odd.get(peer, {})) for peer in peers), Counter())

    @property
    def honest(self) -> list[str]:
        return [peer for peer in self.suspicions.parts if peer not in self.false]


def watch(
    members: int,
    rounds: int,
    split: Split = "alike",
    attack: str = "",
    attackers: int = 0,
    rule: str = "mean",
    seed: int = 1,
) -> Seen:
    """Train, and look at every part as its reducer does."""
    manifest = _manifest(rounds, rule, seed)
    task = Digits({})
    trainer = Trainer(manifest, task)
    peers = [Identity.from_seed(bytes([100 + n]) * 32).peer_id for n in range(members)]
    false = peers[:attackers]
    shards = dict(zip(peers, _shards(task, members, split, seed), strict=True))
    if attack == "wrong labels":
        shards |= {peer: _mislabelled(shards[peer]) for peer in false}
    state, wire = trainer.genesis(), manifest.terms.wire
    seen = Seen(false, [trainer.evaluate(state, shards[peers[0]]).loss])
    last_U: Vector | None = None

    def tamper(_: State, work: dict[str, LocalWork]) -> dict[str, LocalWork]:
        sent = {peer: FALSE[attack](peer, work, false, last_U) for peer in false}
        return {peer: replace(done, update_U=sent.get(peer, done.update_U)) for peer, done in work.items()}

    for done in rehearse(manifest, trainer, shards, tamper=tamper):
        sent = {
            peer: decode_all(encode(work.update_U, wire), work.update_U.size, wire)
            for peer, work in done.work.items()
        }
        for cut in _parts(trainer.shape.update_elems, members, manifest):
            before_E = None if last_U is None else last_U[cut]
            looks = look(
                [(peer, update_U[cut]) for peer, update_U in sent.items()],
                derive("sketch", state.digest),
                before_E,
            )
            seen.looks.append(looks)
            seen.suspicions.note(looks)
        last_U = np.subtract(state.weights, done.state.weights)
        state = done.state
        scores = trainer.evaluate(state, shards[peers[0]])
        seen.losses.append(scores.loss)
        seen.accuracy = float(scores.accuracy or 0.0)
    return seen


def _manifest(rounds: int, rule: str, seed: int) -> Manifest:
    creator = Identity.from_seed(bytes([seed]) * 32)
    table: dict[str, Any] = {
        "format": FORMAT,
        "name": "private",
        "creator": creator.peer_id,
        "seed": seed,
        "task": {"kind": "digits"},
        "data": {"mode": "private"},
        "round": {"rounds": rounds},
    }
    for key, value in PRESETS["digits"].items():
        section, name = key.split(".")
        table.setdefault(section, {})[name] = value
    table["reduce"] = {"rule": rule}
    return Manifest.create(msgspec.convert(table, Terms), creator)


def _shards(task: Digits, members: int, split: Split, seed: int) -> list[Shard]:
    (images, labels), _ = public_split()
    order = np.random.default_rng(seed).permutation(len(labels))
    if split == "labels":
        parts = split_by_label(images[order], labels[order], members)
    else:
        parts = [(images[share], labels[share]) for share in np.array_split(order, members)]
    return [task.shard(pack_arrays(*part), 0.0) for part in parts]


def _mislabelled(shard: Shard) -> Shard:
    images, labels = shard.train
    return replace(shard, train=(images, (labels + 1) % LABELS))


def _parts(elems: int, members: int, manifest: Manifest) -> Iterator[slice]:
    """Where each reducer's part lies in an update."""
    sizes = chunk_sizes(elems, manifest.terms.wire)
    starts = np.cumsum([0, *sizes])
    for part in partition(len(sizes), [1] * members):
        if part:
            yield slice(int(starts[part.start]), int(starts[part.stop]))
