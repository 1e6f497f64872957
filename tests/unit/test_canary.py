"""Tolerances come from work that all members do; one liar can't widen them, and none goes too far."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import InnerSection, WireSection
from dhtnode.records import Signed, open_record, sign
from tests.unit.parties import SWARM, people
from tests.unit.test_inner import OPTIONS, TEXT, manifest
from training.codec import CODECS, decode_all, encode
from training.inner import Trainer
from training.tasks.text import Text
from validation.canary import (
    GROWTH,
    LEAST_PPM,
    MAX_CANARIES,
    MOST_PPM,
    RUNS,
    STEPS,
    TYPICAL,
    Canary,
    Tolerances,
    apart_ppm,
    run_canary,
    tolerance_ppm,
)
from validation.compare import MOST, WIDTH, Sketch, judge

torch.set_num_threads(1)

KINDS = {Canary.KIND: Canary}
SIZE = 10**6
ONE: Sketch = (SIZE, *(0 for _ in range(WIDTH - 1)))
MINE = (ONE,) * RUNS
LEAST, MOST_APART = LEAST_PPM // GROWTH, MOST_PPM // GROWTH
"""Distances of canaries, in ppm, at which the tolerance begins to grow and after which there is none."""


def apart(ppm: int) -> Sketch:
    """A sketch at that distance from mine."""
    return (SIZE, ppm, *ONE[2:])


def canary(person: Identity, device: str, distance_ppm: int) -> Signed[Canary]:
    return sign(person, SWARM, Canary(device=device, sketches=(apart(distance_ppm),) * RUNS))


@pytest.fixture
def tolerances() -> Tolerances:
    return Tolerances(MINE, "int8")


def test_all_nodes_of_a_kind_find_the_same_and_another_swarm_another() -> None:
    shard = Text(OPTIONS).shard(TEXT, 0.1)

    def run(steps: int) -> tuple[Sketch, ...]:
        return run_canary(Trainer(manifest(InnerSection(steps=((0, steps),))), Text(OPTIONS)), shard)

    first = run(STEPS)
    assert first == run(STEPS)
    assert first != run(STEPS + 1), "the manifest is part of it"
    assert all(any(run) for run in first)
    assert len(set(first)) == RUNS, "each on batches of its own"


def test_a_run_that_lies_far_apart_by_chance_does_not_count() -> None:
    strays = RUNS - 1 - TYPICAL
    theirs = [*(apart(10**6) for _ in range(strays)), *(apart(3) for _ in range(RUNS - strays))]
    assert apart_ppm(theirs, MINE) == 3
    assert apart_ppm([apart(10**6), *theirs[:-1]], MINE) > MOST_APART, "most of them are no chance"


def test_the_record_has_room_for_every_sketch_and_for_nothing_else(tolerances: Tolerances) -> None:
    person = people(1)[0]
    largest = sign(person, SWARM, Canary(device="x" * 80, sketches=((-MOST,) * WIDTH,) * RUNS))
    assert open_record(largest.wire, SWARM, KINDS, person.peer_id) == largest
    for sketch in (ONE[1:], (*ONE, 0), (MOST + 1, *ONE[1:])):
        bad = sign(person, SWARM, Canary(device="x", sketches=(sketch, *MINE[1:])))
        with pytest.raises(RemoteProtocolError, match="schema"):
            open_record(bad.wire, SWARM, KINDS, person.peer_id)
    for sketches in (MINE[1:], (*MINE, ONE)):
        bad = sign(person, SWARM, Canary(device="x", sketches=sketches))
        with pytest.raises(RemoteProtocolError, match="schema"):
            open_record(bad.wire, SWARM, KINDS, person.peer_id)
    tolerances.learn(largest)
    assert tolerances.eps_ppm("x" * 80) is None


@pytest.mark.parametrize("codec", list(CODECS))
def test_rounding_adds_no_more_than_the_tolerance_allows(codec: str) -> None:
    """Normal elements, differences of normal size: what `ROUNDING` was worked out for."""
    random = np.random.default_rng(1)
    mine = random.standard_normal(2**18).astype(np.float32)
    wire = WireSection(codec=codec)  # type: ignore[arg-type]
    for distant_ppm in (LEAST_PPM, MOST_PPM):
        theirs = mine + (random.standard_normal(mine.size) * distant_ppm * 1e-6).astype(np.float32)
        a, b = (decode_all(encode(vector, wire), mine.size, wire) for vector in (theirs, mine))
        distance = 1e6 * float(np.linalg.norm(a - b) / np.linalg.norm(b))
        eps = tolerance_ppm(distant_ppm // GROWTH, codec)
        assert eps is not None
        assert 0.6 * eps < distance < 1.05 * eps


def test_an_unknown_profile_is_not_compared(tolerances: Tolerances) -> None:
    assert tolerances.eps_ppm("gpu") is None
    tolerances.learn(canary(people(1)[0], "other", 0))
    assert tolerances.eps_ppm("gpu") is None
    assert tolerances.eps_ppm("other") == tolerance_ppm(0, "int8")


def test_tolerances_grow_from_a_least_and_end_at_a_most() -> None:
    found = [
        tolerance_ppm(distance, "fp32") for distance in (0, LEAST, LEAST + 1, MOST_APART, MOST_APART + 1)
    ]
    assert found == [LEAST_PPM, LEAST_PPM, LEAST_PPM + GROWTH, MOST_PPM, None]


@pytest.mark.parametrize(("codec", "cheat_ppm"), [("int8", 28_000), ("int2", 110_000)])
def test_even_the_largest_tolerance_finds_samples_that_were_left_out(codec: str, cheat_ppm: int) -> None:
    """2 of 64 dropped in every step, the least distance in the table of docs/validation.md for H > 1."""
    largest = tolerance_ppm(MOST_APART, codec)
    assert largest is not None
    assert judge(cheat_ppm, largest) == "fail"


def test_liars_short_of_half_do_not_move_a_tolerance_beyond_the_honest(tolerances: Tolerances) -> None:
    honest = [LEAST + n for n in (1, 2, 3)]
    for person, distance in zip(people(5), (*honest, 0, MOST_APART), strict=True):
        tolerances.learn(canary(person, "gpu", distance))
    assert tolerances.eps_ppm("gpu") in [tolerance_ppm(distance, "int8") for distance in honest]
    even = Tolerances(MINE, "int8")
    for person, distance in zip(people(2), (honest[0], MOST_APART), strict=True):
        even.learn(canary(person, "gpu", distance))
    assert even.eps_ppm("gpu") == tolerance_ppm(honest[0], "int8"), "of two, the nearer"


def test_a_member_counts_once_with_what_it_said_last(tolerances: Tolerances) -> None:
    liar, *honest = people(3)
    for person in honest:
        tolerances.learn(canary(person, "gpu", 0))
    for _ in range(10):
        tolerances.learn(canary(liar, "gpu", MOST_APART))
    assert tolerances.eps_ppm("gpu") == tolerance_ppm(0, "int8")
    for person in honest:
        tolerances.learn(canary(person, "another since", 0))
    assert tolerances.eps_ppm("gpu") == tolerance_ppm(MOST_APART, "int8")


def test_what_is_remembered_is_bounded(tolerances: Tolerances) -> None:
    first, second, *rest = people(MAX_CANARIES + 1)
    tolerances.learn(canary(first, "first", 0))
    tolerances.learn(canary(second, "second", 0))
    for person in rest:
        tolerances.learn(canary(person, "rest", 0))
    assert tolerances.eps_ppm("first") is None
    assert tolerances.eps_ppm("second") == tolerance_ppm(0, "int8")
