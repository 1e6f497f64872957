"""One digest names a state; chunks from strangers are checked one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.state import CHUNK_BYTES, Shape, State, from_chunks

SWARM = b"s" * 32
SHAPE = Shape(params=80_000, momentum=True)


def state_of(seed: int = 0, round_no: int = 3, swarm_id: bytes = SWARM, shape: Shape = SHAPE) -> State:
    values = np.random.default_rng(seed).standard_normal(shape.elems).astype(np.float32)
    return State(swarm_id, round_no, shape, values)


def test_the_digest_binds_swarm_round_and_every_bit() -> None:
    base = state_of()
    assert base.digest == state_of().digest
    flipped = np.array(base.values_S)
    flipped.view(np.uint32)[-1] ^= 1
    others = [
        state_of(round_no=4),
        state_of(swarm_id=b"t" * 32),
        State(SWARM, 3, SHAPE, flipped),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 4


def test_chunks_are_little_endian_floats_with_a_shorter_last_one() -> None:
    state = state_of()
    assert len(state.chunks) == SHAPE.chunk_count == 3
    assert [len(chunk) for chunk in state.chunks] == [SHAPE.chunk_length(i) for i in range(3)]
    assert [len(chunk) for chunk in state.chunks] == [CHUNK_BYTES, CHUNK_BYTES, 640_000 - 2 * CHUNK_BYTES]
    np.testing.assert_array_equal(np.frombuffer(b"".join(state.chunks), "<f4"), state.values_S)


@given(st.permutations(range(3)))
def test_rebuilt_from_chunks_in_any_order(order: list[int]) -> None:
    state = state_of()
    got = {index: bytes(state.chunks[index]) for index in order}
    rebuilt = from_chunks(SWARM, 3, SHAPE, got, state.digest)
    assert rebuilt.digest == state.digest
    np.testing.assert_array_equal(rebuilt.momentum, state.momentum)


def test_a_rebuilt_state_must_be_whole_and_the_right_one() -> None:
    state, other = state_of(), state_of(seed=1)
    chunks = {index: bytes(chunk) for index, chunk in enumerate(state.chunks)}
    with pytest.raises(ValueError, match="1 chunks are missing, the first is 2"):
        from_chunks(SWARM, 3, SHAPE, {0: chunks[0], 1: chunks[1]}, state.digest)
    with pytest.raises(ValueError, match="expected digest"):
        from_chunks(SWARM, 3, SHAPE, chunks | {0: bytes(other.chunks[0])}, state.digest)
    with pytest.raises(ValueError, match="bytes, not"):
        from_chunks(SWARM, 3, SHAPE, chunks | {2: b"x"}, state.digest)


def test_nobody_changes_a_state() -> None:
    state = state_of()
    with pytest.raises(ValueError, match="read-only"):
        state.weights[0] = 1


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        (Shape(10, momentum=False), (10, 0, 0, 0)),
        (Shape(10, momentum=True, moments=2), (10, 10, 0, 20)),
        (Shape(10, momentum=False, scaling=True), (10, 0, 10, 0)),
        (Shape(10, momentum=True, moments=1, scaling=True), (10, 10, 10, 10)),
    ],
)
def test_sections(shape: Shape, parts: tuple[int, ...]) -> None:
    state = state_of(shape=shape)
    assert (state.weights.size, state.momentum.size, state.squares.size, state.moments.size) == parts


def test_a_vector_of_another_shape_or_type_is_no_state() -> None:
    with pytest.raises(ValueError, match="can't hold"):
        State(SWARM, 0, SHAPE, np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="can't hold"):
        State(SWARM, 0, SHAPE, np.zeros(SHAPE.elems, np.float64))
