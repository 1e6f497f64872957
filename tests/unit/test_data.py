"""Data is named by its content; who trains on what can be computed by anybody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import DataSection
from training.data import (
    batch_indices,
    builtin_text,
    check_chunk,
    check_section,
    describe,
    pack_arrays,
    read_file,
    split_by_label,
    unpack_arrays,
    verify,
)

SWARM = b"s" * 32
CONTENT = np.random.default_rng(0).bytes(150_000)
SECTION = describe(CONTENT, 0.1)


def test_the_builtin_text_is_english_and_long_enough() -> None:
    text = builtin_text()
    assert len(text) > 400_000
    assert text == builtin_text()
    assert text.count(b" the ") > 3_000


def test_describes_what_verify_accepts() -> None:
    assert SECTION.total_bytes == 150_000
    assert len(SECTION.chunks) == 3
    check_section(SECTION)
    verify(CONTENT, SECTION, "text.txt")
    for index in range(3):
        check_chunk(SECTION, index, CONTENT[index * 65_536 : (index + 1) * 65_536])


def test_large_data_has_larger_chunks_not_a_larger_manifest() -> None:
    section = describe(bytes(65_536 * 1_024 + 1), 0.1)
    assert section.chunk_bytes == 131_072
    assert len(section.chunks) == 513
    assert len(describe(bytes(65_536 * 1_024), 0.1).chunks) == 1_024


def test_the_first_bad_chunk_is_named() -> None:
    changed = bytearray(CONTENT)
    changed[65_536 + 9] ^= 1
    changed[-1] ^= 1
    with pytest.raises(ConfigError, match=r"text.txt is not .*chunk 1 does not match.*from 65536") as caught:
        verify(bytes(changed), SECTION, "text.txt")
    assert caught.value.exit_code == Exit.DATA


def test_another_length_is_named() -> None:
    with pytest.raises(ConfigError, match="149999 bytes, the swarm's dataset has 150000"):
        verify(CONTENT[:-1], SECTION, "text.txt")


def test_chunks_from_peers_are_refused_with_a_reason() -> None:
    for index, chunk, why in [
        (3, b"", "no chunk 3"),
        (-1, b"", "no chunk -1"),
        (2, CONTENT[131_072:-1], "18927 bytes, not 18928"),
        (0, CONTENT[65_536:131_072], "chunk 0 does not match"),
    ]:
        with pytest.raises(ValueError, match=why):
            check_chunk(SECTION, index, chunk)


def test_a_digest_over_other_chunks_is_refused() -> None:
    mixed = DataSection(
        mode="shared", digest=SECTION.digest, total_bytes=150_000, chunks=SECTION.chunks[::-1], held_out=0.1
    )
    with pytest.raises(ConfigError, match=r"data\.digest does not belong"):
        check_section(mixed)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.txt: No such file") as caught:
        read_file(tmp_path / "gone.txt")
    assert caught.value.exit_code == Exit.DATA
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ConfigError, match=r"empty\.txt is empty"):
        read_file(tmp_path / "empty.txt")
    (tmp_path / "some.txt").write_bytes(b"x")
    assert read_file(tmp_path / "some.txt") == b"x"


def test_batches_are_pinned_for_all_versions_to_come() -> None:
    assert batch_indices(SWARM, 3, "peer", 7, 4, 1_000).tolist() == [4, 288, 56, 862]


@given(st.integers(0, 9), st.sampled_from(["a", "b"]), st.integers(0, 9), st.integers(1, 2**31))
def test_indices_are_in_range_and_nobodys_choice(round_no: int, peer: str, step: int, examples: int) -> None:
    indices = batch_indices(SWARM, round_no, peer, step, 16, examples)
    assert indices.shape == (16,)
    assert indices.min() >= 0
    assert indices.max() < examples
    np.testing.assert_array_equal(indices, batch_indices(SWARM, round_no, peer, step, 16, examples))


def test_every_field_changes_the_batch() -> None:
    variants = [
        (SWARM, 0, "a", 0),
        (b"t" * 32, 0, "a", 0),
        (SWARM, 1, "a", 0),
        (SWARM, 0, "b", 0),
        (SWARM, 0, "a", 1),
    ]
    batches = {tuple(batch_indices(*variant, 8, 10**6)) for variant in variants}
    assert len(batches) == len(variants)


def test_indices_are_spread_evenly() -> None:
    counts = np.bincount(np.concatenate([batch_indices(SWARM, 0, "a", s, 100, 10) for s in range(100)]))
    assert abs(counts - 1_000).max() < 150  # five standard deviations


@given(st.integers(1, 8), st.integers(16, 200))
def test_shards_by_label_hold_each_example_once(shards: int, examples: int) -> None:
    y = np.random.default_rng(examples).integers(0, 10, examples)
    parts = split_by_label(np.arange(examples), y, shards)
    assert sorted(np.concatenate([x for x, _ in parts])) == list(range(examples))
    for x, labels in parts:
        np.testing.assert_array_equal(labels, y[x])


def test_shards_by_label_know_few_labels() -> None:
    y = np.repeat(np.arange(10), 100)
    known = [set(labels.tolist()) for _, labels in split_by_label(y, y, 5)]
    assert known == [{0, 5}, {1, 6}, {2, 7}, {3, 8}, {4, 9}]
    with pytest.raises(ValueError, match="cannot cut 3"):
        split_by_label(y[:3], y[:3], 2)


def test_arrays_survive_as_npz() -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])
    x_2, y_2 = unpack_arrays(pack_arrays(x, y))
    np.testing.assert_array_equal(x, x_2)
    np.testing.assert_array_equal(y, y_2)


@pytest.mark.parametrize("damage", [b"", b"hello", pack_arrays(np.ones(3), np.ones(3))[:60]])
def test_what_is_no_npz_is_refused(damage: bytes) -> None:
    with pytest.raises(ConfigError, match=r"no \.npz file with arrays x and y") as caught:
        unpack_arrays(damage)
    assert caught.value.exit_code == Exit.DATA


def test_pickles_are_not_opened() -> None:
    with pytest.raises(ConfigError, match=r"no \.npz file"):
        unpack_arrays(pack_arrays(np.array([{}], dtype=object), np.ones(1)))


def test_one_label_for_each_example() -> None:
    with pytest.raises(ConfigError, match="one label for each"):
        unpack_arrays(pack_arrays(np.ones((3, 2)), np.ones(2)))
