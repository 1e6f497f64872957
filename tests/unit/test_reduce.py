"""One mean, to the bit, whoever computes it and however the parts came in."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.manifest import ReduceSection, WireSection
from training.codec import LIMIT, Vector, check, chunk_sizes, decode_all, encode
from training.reduce import reduce_part

ELEMS = 600
MEAN = ReduceSection(rule="mean")
WIRE = WireSection(chunk_elems=256)
SIZES = chunk_sizes(ELEMS, WIRE)


def vector_of(seed: int) -> Vector:
    return np.random.default_rng(seed).standard_normal(ELEMS).astype(np.float32)


def dumb_mean(senders: list[tuple[int, Vector]]) -> Vector:
    """Element by element, in Python, rounding to float32 after each operation."""
    total = sum(weight for weight, _ in senders)
    mean = np.zeros(ELEMS, np.float32)
    for i in range(ELEMS):
        for weight, vector in senders:
            if weight:
                mean[i] = np.float32(mean[i] + np.float32(vector[i] * np.float32(weight / total)))
    return mean


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=6).filter(any), st.randoms())
def test_any_order_of_arrival_gives_the_bits_of_the_reference(weights: list[int], chance: Random) -> None:
    roster = [f"p{n}" for n in range(len(weights))]
    sent = {
        peer: (weight, encode(vector_of(n), WIRE))
        for n, (peer, weight) in enumerate(zip(roster, weights, strict=True))
    }
    arrivals = list(sent.items())
    chance.shuffle(arrivals)
    arrived = dict(arrivals)
    reduced = reduce_part([arrived[peer] for peer in roster], SIZES, WIRE, MEAN)
    expected = dumb_mean([(weight, decode_all(chunks, ELEMS, WIRE)) for weight, chunks in sent.values()])
    assert reduced == encode(expected, WIRE)


def test_roster_order_is_what_fixes_the_bits() -> None:
    """The control: without a fixed order the sums do differ, so the order is not for show."""
    fp32 = WireSection(codec="fp32", chunk_elems=256)
    sent = [(1, encode(vector_of(seed), fp32)) for seed in range(5)]
    assert reduce_part(sent, SIZES, fp32, MEAN) != reduce_part(sent[::-1], SIZES, fp32, MEAN)


def test_parts_reduced_apart_are_the_whole() -> None:
    sent = [(seed + 1, encode(vector_of(seed), WIRE)) for seed in range(3)]
    parts = [
        reduce_part([(weight, chunks[cut]) for weight, chunks in sent], SIZES[cut], WIRE, MEAN)
        for cut in (slice(0, 1), slice(1, 3))
    ]
    assert parts[0] + parts[1] == reduce_part(sent, SIZES, WIRE, MEAN)


def test_fedavg_weights() -> None:
    fp32 = WireSection(codec="fp32", chunk_elems=256)
    sent = [(n, encode(np.full(ELEMS, value, np.float32), fp32)) for n, value in [(300, 1.0), (100, 5.0)]]
    mean = decode_all(reduce_part(sent, SIZES, fp32, MEAN), ELEMS, fp32)
    np.testing.assert_array_equal(mean, np.full(ELEMS, 2.0, np.float32))


def test_weight_zero_adds_nothing() -> None:
    sent = [(2, encode(vector_of(0), WIRE)), (3, encode(vector_of(1), WIRE))]
    assert reduce_part([sent[0], (0, sent[1][1]), sent[1]], SIZES, WIRE, MEAN) == reduce_part(
        sent, SIZES, WIRE, MEAN
    )


def test_values_at_the_limit_stay_on_the_wire() -> None:
    """Shares of 1/3 add up to more than 1 in float32; the mean must not leave the range for it."""
    for codec in ("int8", "int4", "fp32"):
        wire = WireSection(codec=codec, chunk_elems=256)
        top = encode(np.full(ELEMS, LIMIT, np.float32), wire)
        for chunk, elems in zip(reduce_part([(1, top)] * 3, SIZES, wire, MEAN), SIZES, strict=True):
            check(chunk, elems, wire)


@pytest.mark.parametrize("weights", [[0, 0], [3, -1], []])
def test_refuses_weights_without_a_mean(weights: list[int]) -> None:
    chunks = encode(vector_of(0), WIRE)
    with pytest.raises(ValueError, match="give no mean"):
        reduce_part([(weight, chunks) for weight in weights], SIZES, WIRE, MEAN)


def test_refuses_a_sender_with_missing_chunks() -> None:
    chunks = encode(vector_of(0), WIRE)
    with pytest.raises(ValueError, match="has not sent 3 chunks"):
        reduce_part([(1, chunks), (1, chunks[:2])], SIZES, WIRE, MEAN)
