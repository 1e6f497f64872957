"""Chunks are bound to their signer, their place and the commitment; nothing else reaches arithmetic."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import WireSection
from dhtnode.records import Signed
from tests.unit.parties import commit, head_of, people
from training import codec
from training.contribution import Contribution, check_part, check_result, result_root
from training.messages import Commitment

WIRE = WireSection(block_elems=32, chunk_elems=256)
ELEMS = 256 * 5 - 100
SIZES = codec.chunk_sizes(ELEMS, WIRE)
ME, OTHER = people(2)
HEAD = head_of([ME, OTHER])
OWNED = range(1, 4)


def update(seed: int = 0) -> codec.Vector:
    return np.random.default_rng(seed).normal(0, 0.01, ELEMS).astype(np.float32)


def contribution(seed: int = 0) -> Contribution:
    return Contribution.of(ME.peer_id, HEAD.id, update(seed), WIRE)


def committed(to: Contribution) -> Signed[Commitment]:
    return commit(ME, HEAD, parts=to.root)


def check(
    commitment: Signed[Commitment], shown: Contribution, chunks: list[bytes], owned: range = OWNED
) -> None:
    check_part(commitment, shown.leaves_K, chunks, owned, SIZES, WIRE)


def refused(commitment: Signed[Commitment], shown: Contribution, chunks: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check(commitment, shown, chunks)
    assert (caught.value.peer, caught.value.reason) == (ME.peer_id, "bad-part")


def owned_of(whole: Contribution) -> list[bytes]:
    return [whole.chunks_K[index] for index in OWNED]


@pytest.mark.parametrize("owned", [range(5), range(1, 4), range(4, 5), range(2, 2)])
def test_what_was_committed_to_passes(owned: range) -> None:
    mine = contribution()
    check(committed(mine), mine, [mine.chunks_K[index] for index in owned], owned)


def test_the_same_chunks_after_a_restart() -> None:
    mine = contribution()
    assert Contribution.of_chunks(ME.peer_id, HEAD.id, mine.chunks_K) == mine


def test_other_chunks_than_those_committed_to() -> None:
    mine = contribution()
    refused(committed(mine), mine, owned_of(contribution(1)))


def test_other_digests_than_those_committed_to() -> None:
    refused(committed(contribution()), contribution(1), owned_of(contribution(1)))


def test_chunks_in_another_order() -> None:
    mine = contribution()
    refused(committed(mine), mine, owned_of(mine)[::-1])


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_chunks(count: int) -> None:
    mine = contribution()
    refused(committed(mine), mine, owned_of(mine)[:count])


def test_too_many_chunks() -> None:
    mine = contribution()
    refused(committed(mine), mine, [*owned_of(mine), mine.chunks_K[4]])


@pytest.mark.parametrize("leaves", [4, 6])
def test_digests_for_another_number_of_chunks(leaves: int) -> None:
    """Committed to just so: the roots agree, the number does not."""
    mine = contribution()
    other = Contribution(ME.peer_id, (mine.leaves_K * 2)[:leaves], mine.chunks_K)
    refused(committed(other), other, owned_of(mine))


@given(chunk=st.integers(0, 2), place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_no_byte_can_be_changed(chunk: int, place: int, flip: int) -> None:
    mine = contribution()
    chunks = [bytearray(data) for data in owned_of(mine)]
    chunks[chunk][place % len(chunks[chunk])] ^= flip
    refused(committed(mine), mine, [bytes(data) for data in chunks])


def test_anothers_chunks_can_not_be_committed_to_by_their_digests() -> None:
    """The signer is in each digest: whoever copies the list has nothing to show for it."""
    theirs = Contribution.of(OTHER.peer_id, HEAD.id, update(), WIRE)
    copied = Contribution(ME.peer_id, theirs.leaves_K, theirs.chunks_K)
    refused(committed(copied), copied, owned_of(theirs))


def test_chunks_of_another_round() -> None:
    stale = Contribution.of(ME.peer_id, bytes(32), update(), WIRE)
    refused(committed(stale), stale, owned_of(stale))


def poisoned(value: float) -> bytes:
    """A chunk whose first scale is no finite number in range."""
    chunk = bytearray(contribution().chunks_K[1])
    scales = len(chunk) - SIZES[1]
    assert scales == 4 * SIZES[1] // 32
    for place in (0, SIZES[1]):  # wherever the codec keeps its scales
        attempt = bytearray(chunk)
        attempt[place : place + 4] = struct.pack("<f", value)
        try:
            codec.check(bytes(attempt), SIZES[1], WIRE)
        except ValueError:
            return bytes(attempt)
    raise AssertionError("no scale found")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1.0], ids=str)
def test_committed_to_and_poisonous_all_the_same(value: float) -> None:
    chunks = list(contribution().chunks_K)
    chunks[1] = poisoned(value)
    mine = Contribution.of_chunks(ME.peer_id, HEAD.id, chunks)
    refused(committed(mine), mine, owned_of(mine))


@pytest.mark.parametrize("wrong", [b"", b"\x00", bytes(10_000)], ids=["empty", "short", "long"])
def test_committed_to_and_of_another_length(wrong: bytes) -> None:
    chunks = list(contribution().chunks_K)
    chunks[2] = wrong
    mine = Contribution.of_chunks(ME.peer_id, HEAD.id, chunks)
    refused(committed(mine), mine, owned_of(mine))


# Results


def test_a_result_that_its_reducer_signed_passes() -> None:
    chunks = owned_of(contribution())
    check_result(ME.peer_id, result_root(chunks), chunks, [SIZES[index] for index in OWNED], WIRE)


@pytest.mark.parametrize("fault", ["other", "fewer", "order", "poison"])
def test_a_result_that_can_not_be(fault: str) -> None:
    chunks = owned_of(contribution())
    root = result_root(chunks)
    faulty: dict[str, Any] = {
        "other": owned_of(contribution(1)),
        "fewer": chunks[:2],
        "order": chunks[::-1],
        "poison": [poisoned(float("nan")), *chunks[1:]],
    }
    with pytest.raises(RemoteProtocolError) as caught:
        check_result(ME.peer_id, root, faulty[fault], [SIZES[index] for index in OWNED], WIRE)
    assert (caught.value.peer, caught.value.reason) == (ME.peer_id, "bad-result")
