"""Every chunk has exactly one reducer, and shares follow bandwidth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.partition import partition

bandwidth_lists = st.lists(st.integers(0, 2**40), min_size=1, max_size=64)


@given(st.integers(0, 5_000), bandwidth_lists)
def test_covers_exactly_and_in_order(chunks: int, bandwidths: list[int]) -> None:
    parts = partition(chunks, bandwidths)
    assert len(parts) == len(bandwidths)
    assert [index for part in parts for index in part] == list(range(chunks))


@given(st.integers(0, 5_000), bandwidth_lists)
def test_nobody_is_off_by_a_chunk(chunks: int, bandwidths: list[int]) -> None:
    """The quota rule: every share is the exact quota rounded down or up."""
    shares = bandwidths if any(bandwidths) else [1] * len(bandwidths)
    for share, part in zip(shares, partition(chunks, bandwidths), strict=True):
        quota, rest = divmod(chunks * share, sum(shares))
        assert len(part) in ({quota, quota + 1} if rest else {quota})


def test_a_member_that_cannot_be_dialled_reduces_nothing() -> None:
    assert partition(10, [1, 0, 1]) == [range(5), range(5, 5), range(5, 10)]


def test_without_any_bandwidth_all_are_equal() -> None:
    assert [len(part) for part in partition(7, [0, 0, 0])] == [3, 2, 2]


def test_the_largest_remainder_gets_the_last_chunk() -> None:
    assert [len(part) for part in partition(10, [55, 28, 17])] == [5, 3, 2]


@pytest.mark.parametrize(("chunks", "bandwidths"), [(3, []), (3, [1, -1]), (-1, [1])])
def test_refuses_nonsense(chunks: int, bandwidths: list[int]) -> None:
    with pytest.raises(ValueError, match="cannot share"):
        partition(chunks, bandwidths)
