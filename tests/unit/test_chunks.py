"""Who is asked for which chunk: simulated fetches with dead, slow, poor and lying sources."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import leaf_digests, root_digest
from dhtnode.errors import LocalProtocolError
from dhtnode.net.chunkplan import Assignment, ChunkPlan, Content


def content_of(data: bytes, chunk_bytes: int) -> tuple[Content, list[bytes], list[bytes]]:
    chunks = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
    leaves = leaf_digests("test", chunks)
    return Content("test", root_digest("test", leaves), len(data), chunk_bytes), leaves, chunks


@given(st.binary(max_size=300), st.integers(1, 64))
def test_sizes_cover_the_content_exactly(data: bytes, chunk_bytes: int) -> None:
    content, leaves, chunks = content_of(data, chunk_bytes)
    assert [content.size(index) for index in range(content.chunks)] == [len(chunk) for chunk in chunks]
    plan = ChunkPlan.parse(content, b"".join(leaves))
    assert all(plan.holds(index, chunk) for index, chunk in enumerate(chunks))


@given(st.binary(min_size=2, max_size=300), st.integers(1, 64), st.data())
def test_a_changed_byte_or_another_place_is_no_chunk_of_the_plan(
    data: bytes, chunk_bytes: int, draw: st.DataObject
) -> None:
    content, leaves, chunks = content_of(data, chunk_bytes)
    plan = ChunkPlan(content, leaves)
    index = draw.draw(st.integers(0, len(chunks) - 1))
    spoiled = bytearray(chunks[index])
    spoiled[draw.draw(st.integers(0, len(spoiled) - 1))] ^= draw.draw(st.integers(1, 255))
    assert not plan.holds(index, bytes(spoiled))
    for other, chunk in enumerate(chunks):
        assert plan.holds(other, chunks[index]) == (chunk == chunks[index])


def test_leaves_of_other_content_are_refused() -> None:
    content, leaves, _ = content_of(b"abcdefgh", 3)
    for packed in (b"", b"".join(leaves[:-1]), b"".join(reversed(leaves)), b"".join(leaves) + b"x"):
        with pytest.raises(ValueError, match=r"leaves"):
            ChunkPlan.parse(content, packed)


@pytest.mark.parametrize(("total", "chunk"), [(-1, 4), (4, 0), (4, 2**30)])
def test_impossible_sizes_are_our_bug(total: int, chunk: int) -> None:
    with pytest.raises(LocalProtocolError):
        Content("test", bytes(32), total, chunk)


@given(
    chunks=st.integers(0, 60),
    window=st.integers(1, 8),
    has=st.lists(st.sets(st.integers(0, 59)), min_size=1, max_size=4),
    dies_after=st.lists(st.integers(0, 40), min_size=4, max_size=4),
    schedule=st.randoms(use_true_random=False),
)
def test_every_chunk_that_a_survivor_has_arrives_once(
    chunks: int, window: int, has: list[set[int]], dies_after: list[int], schedule: random.Random
) -> None:
    """Sources answer in any order; some lack chunks, all but the first die after some answers."""
    sources = [f"p{number}" for number in range(len(has))]
    work = Assignment(range(chunks), sources, window)
    queues: dict[str, list[int]] = {source: [] for source in sources}
    answered = dict.fromkeys(sources, 0)
    written: list[int] = []
    while True:
        for source, queue in queues.items():
            while (index := work.take(source)) is not None:
                queue.append(index)
        busy = sorted(source for source, queue in queues.items() if queue)
        if not busy:
            break
        source = schedule.choice(busy)
        number = sources.index(source)
        assert len(queues[source]) <= window
        if number and answered[source] >= dies_after[number]:
            work.drop(source)
            del queues[source]
            continue
        answered[source] += 1
        index = queues[source].pop(0)
        if index not in has[number]:
            work.lacking(source, index)
        elif work.arrived(source, index):
            written.append(index)
    assert len(written) == len(set(written))
    assert set(written) | work.missing == set(range(chunks))
    alive = [has[sources.index(source)] for source in queues]
    assert not any(index in having for having in alive for index in work.missing)


def test_an_idle_source_overtakes_one_that_is_stuck() -> None:
    work = Assignment(range(8), ["stuck", "quick"], max_window=4)
    while work.take("stuck") is not None:
        pass
    fetched = []
    while (index := work.take("quick")) is not None:
        assert work.arrived("quick", index)
        fetched.append(index)
    assert sorted(fetched) == list(range(8))
    assert not work.missing


def test_a_repeated_copy_counts_once() -> None:
    work = Assignment([7], ["a", "b"], max_window=4)
    assert work.take("a") == 7
    assert work.take("b") == 7
    assert work.arrived("b", 7)
    assert not work.arrived("a", 7)
    assert work.take("a") is None


def test_equal_sources_share_the_work_and_repeat_next_to_nothing() -> None:
    work = Assignment(range(200), ["a", "b"], max_window=64)
    queues: dict[str, list[int]] = {"a": [], "b": []}
    answers = {"a": 0, "b": 0}
    while work.missing:
        for source, queue in queues.items():
            while (index := work.take(source)) is not None:
                queue.append(index)
            if queue:
                work.arrived(source, queue.pop(0))
                answers[source] += 1
    assert sum(answers.values()) <= 201
    assert abs(answers["a"] - answers["b"]) <= 2
