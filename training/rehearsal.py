"""A swarm without a network: the members' work, one after the other, in one process.

It uses the very functions that nodes use, so the real swarm gives the same digests for the same
work. Benchmarks and tests run it; it is also the quickest way to try a task of your own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dhtnode.manifest import Manifest, ReduceSection, WireSection
from training.codec import chunk_sizes, decode_all, encode
from training.inner import LocalWork, Trainer
from training.outer import advance
from training.partition import partition
from training.reduce import reduce_part
from training.roster import ordered
from training.state import State
from training.tasks import Shard


@dataclass(frozen=True, eq=False)
class Rehearsed:
    """One round."""

    state: State
    """The shared state after it."""
    work: dict[str, LocalWork]
    """What each member did, in roster order: the order in which floating-point sums are formed."""
    sent_bytes: int
    """Bytes of one member's encoded update: what a butterfly sends twice, less its own part."""


Tamper = Callable[[State, dict[str, LocalWork]], dict[str, LocalWork]]


def _honestly(state: State, work: dict[str, LocalWork]) -> dict[str, LocalWork]:
    return work


def rehearse(
    manifest: Manifest,
    trainer: Trainer,
    shards: Mapping[str, Shard],
    paces: Mapping[str, int] | None = None,
    tamper: Tamper = _honestly,
) -> Iterator[Rehearsed]:
    """Run the manifest's rounds.

    Args:
        manifest: the swarm's.
        trainer: made for it.
        shards: what each member trains on, by peer id. Read anew in each round: members may come and go.
        paces: most inner steps a round, for members that are slow.
        tamper: from the state that the round starts from and the honest work, what is sent instead.

    Yields:
        Each round, when it is done.
    """
    state = trainer.genesis()
    for _ in range(manifest.terms.round.rounds):
        members = ordered(shards, state.digest, state.round_no, "roster")
        work = {
            peer: trainer.run(state, shards[peer], peer, max_steps=(paces or {}).get(peer))
            for peer in members
        }
        work = tamper(state, work)
        sent = [(done.weight, encode(done.update_U, manifest.terms.wire)) for done in work.values()]
        mean = _reduce(sent, state.shape.update_elems, manifest.terms.wire, manifest.terms.reduce)
        state = advance(
            state, decode_all(mean, state.shape.update_elems, manifest.terms.wire), manifest.terms
        )
        yield Rehearsed(state, work, sum(len(chunk) for chunk in mean))


def _reduce(
    sent: list[tuple[int, list[bytes]]], elems: int, wire: WireSection, how: ReduceSection
) -> list[bytes]:
    """Every member reduces one part, as in the butterfly."""
    sizes = chunk_sizes(elems, wire)
    reduced: list[bytes] = []
    for part in partition(len(sizes), [1] * len(sent)):
        cut = slice(part.start, part.stop)
        reduced += reduce_part([(weight, chunks[cut]) for weight, chunks in sent], sizes[cut], wire, how)
    return reduced
