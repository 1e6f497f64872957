"""How a part looks beside the others': the same numbers as a plain computation, and what is called odd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.manifest import WireSection
from training.codec import Vector, chunk_sizes, decode_all, encode
from validation.plausibility import (
    AGAINST,
    ECHO,
    LONG,
    MAX_PEERS,
    PPM,
    SHORT,
    TOGETHER,
    TWIN,
    Look,
    Suspicions,
    look,
    look_at_chunks,
    oddities,
)

SEED = 7
NAMES = "abcdefgh"


def vectors(count: int, elems: int, seed: int = 0) -> list[Vector]:
    return list(np.random.default_rng(seed).standard_normal((count, elems)).astype(np.float32))


def alike(count: int, seed: int = 0) -> list[Vector]:
    """Members that mostly agree: one common direction and a little of each one's own."""
    own = vectors(count + 1, 2000, seed)
    return [own[0] + np.float32(0.5) * each for each in own[1:]]


def looks_of(parts: list[Vector], before: Vector | None = None) -> list[Look]:
    return look(list(zip(NAMES, parts, strict=False)), SEED, before)


def odd(parts: list[Vector], before: Vector | None = None) -> dict[str, list[str]]:
    return {peer: list(kinds) for peer, kinds in oddities(looks_of(parts, before)).items()}


@given(st.integers(2, 8), st.integers(1, 700), st.integers(0, 100))
@settings(max_examples=60)
def test_lengths_and_cosines_are_those_of_plain_arithmetic(count: int, elems: int, seed: int) -> None:
    parts = vectors(count, elems, seed)
    lengths = np.array([np.linalg.norm(part.astype(float)) for part in parts])
    usual = np.sort(lengths)[(count - 1) // 2]
    directions = [part.astype(float) / length for part, length in zip(parts, lengths, strict=True)]
    for place, each in enumerate(looks_of(parts)):
        others = sum(directions) - directions[place]
        assert each.length == pytest.approx(PPM * lengths[place] / usual, abs=5 + lengths[place] / usual)
        if np.linalg.norm(others) > 1e-3:
            cosine = directions[place] @ others / np.linalg.norm(others)
            assert each.cosine == pytest.approx(PPM * cosine, abs=1000)


@given(st.floats(0.001, 1.9), st.integers(0, 50))
@settings(max_examples=60)
def test_a_sketch_keeps_distances(apart: float, seed: int) -> None:
    """Within five deviations of what the sketch's size promises."""
    one, step = vectors(2, 3000, seed)
    one /= np.linalg.norm(one)
    step -= one * (step @ one)
    step /= np.linalg.norm(step)
    half_angle = np.arcsin(apart / 2)
    other = (np.cos(2 * half_angle) * one + np.sin(2 * half_angle) * step).astype(np.float32)
    first, second = look([("a", one), ("b", other)], seed)
    assert first.distance == second.distance
    assert (first.nearest, second.nearest) == ("b", "a")
    assert first.distance == pytest.approx(PPM * apart, rel=5 * 0.045, abs=300)


def test_the_same_parts_give_the_same_numbers() -> None:
    parts = vectors(4, 999)
    assert looks_of(parts, parts[0]) == looks_of([part.copy() for part in parts], parts[0].copy())


def test_a_part_is_looked_at_as_it_travelled() -> None:
    wire = WireSection(codec="int8", block_elems=32, chunk_elems=256)
    sizes = chunk_sizes(600, wire)
    sent = {name: encode(part, wire) for name, part in zip("abc", vectors(3, 600), strict=True)}
    decoded = [(name, decode_all(chunks, 600, wire)) for name, chunks in sent.items()]
    looks = look_at_chunks(list(sent.items()), sizes, wire, SEED, before=sent["b"])
    assert looks == look(decoded, SEED, decoded[1][1])
    assert looks[1].echo == 0
    with pytest.raises(ValueError, match="zip"):
        look_at_chunks([("a", sent["a"][:-1])], sizes, wire, SEED)


def test_an_honest_group_has_nothing_odd() -> None:
    assert odd(alike(6), before=vectors(1, 2000, seed=9)[0]) == {}
    assert odd(vectors(6, 2000), before=vectors(1, 2000, seed=9)[0]) == {}, (
        "members that have nothing in common"
    )


def test_zeros_and_shouting_are_odd_in_length() -> None:
    parts = alike(6)
    parts[0] = np.zeros_like(parts[0])
    parts[1] = parts[1] * np.float32(10)
    assert odd(parts) == {"a": ["length"], "b": ["length"]}


def test_one_that_shouts_does_not_make_the_others_look_odd() -> None:
    parts = alike(6)
    parts[0] = -parts[0] * np.float32(10_000)
    assert odd(parts) == {"a": ["length", "direction"]}


def test_who_goes_against_a_group_that_agrees_is_odd_in_direction() -> None:
    parts = alike(6)
    assert odd([-parts[0], *parts[1:]]) == {"a": ["direction"]}
    assert odd([np.random.default_rng(1).permutation(parts[0]), *parts[1:]]) == {"a": ["direction"]}


def test_where_members_differ_no_direction_is_odd() -> None:
    parts = vectors(6, 2000)
    assert odd([-np.sum(parts[1:], axis=0).astype(np.float32) / 3, *parts[1:]]) == {}


@pytest.mark.parametrize("change", [1.0, 0.5, 3.0], ids=["same", "half", "triple"])
def test_one_piece_of_work_under_two_names(change: float) -> None:
    parts = alike(6)
    parts[4] = parts[1] * np.float32(change)
    assert odd(parts) == {"b": ["twin"], "e": ["twin"]}
    assert {each.peer: each.nearest for each in looks_of(parts)}["b"] == "e"


def test_a_copy_that_is_disturbed_too_little() -> None:
    parts = alike(6)
    noise = vectors(1, 2000, seed=5)[0] * np.float32(np.linalg.norm(parts[1]) / np.sqrt(2000))
    parts[4] = parts[1] + noise * np.float32(0.01)
    assert set(odd(parts)) == {"b", "e"}
    parts[4] = parts[1] + noise * np.float32(0.1)
    assert odd(parts) == {}, "a tenth of noise is enough to hide it"


def test_two_who_did_nothing_are_no_twins() -> None:
    parts = alike(6)
    parts[0] = parts[1] = np.zeros_like(parts[0])
    assert odd(parts) == {"a": ["length"], "b": ["length"]}


def test_the_last_result_once_more_is_an_echo() -> None:
    parts, last = alike(6), vectors(1, 2000, seed=9)[0]
    parts[2] = last * np.float32(0.8)
    assert odd(parts, before=last)["c"][-1] == "echo"
    assert "echo" not in odd(parts).get("c", []), "who has not seen the last round can't tell"


def test_parts_in_which_nobody_moved_show_nothing() -> None:
    parts = [np.zeros(50, np.float32)] * 3
    assert looks_of(parts, before=parts[0]) == [Look(name, None, None, "", None, None) for name in "abc"]
    assert odd(parts) == {}


def test_a_single_sender_is_compared_with_nobody() -> None:
    (alone,) = looks_of(vectors(1, 50))
    assert alone == Look("a", PPM, None, "", None, None)


def seen(peer: str, **changes: Any) -> Look:
    return replace(Look(peer, PPM, TOGETHER, "z", PPM, PPM), **changes)


@pytest.mark.parametrize(
    ("field", "fine", "too_far"),
    [
        ("length", SHORT, SHORT - 1),
        ("length", LONG, LONG + 1),
        ("cosine", AGAINST, AGAINST - 1),
        ("distance", TWIN, TWIN - 1),
        ("echo", ECHO, ECHO - 1),
    ],
)
def test_the_bounds_themselves_are_not_odd(field: str, fine: int, too_far: int) -> None:
    group = [seen("a"), seen("b")]
    assert oddities([*group, seen("c", **{field: fine})]) == {}
    assert set(oddities([*group, seen("c", **{field: too_far})])) == {"c"}


def test_each_thing_is_told_once_and_counted_always() -> None:
    suspicions = Suspicions()
    parts = alike(4)
    parts[0] = np.zeros_like(parts[0])
    assert suspicions.note(looks_of(parts)) == [
        "work of a is far longer or shorter than the others' work; no proof"
    ]
    assert suspicions.note(looks_of(parts)) == []
    assert suspicions.odd == {"a": {"length": 2}}
    assert suspicions.parts == {"a": 2, "b": 2, "c": 2, "d": 2}


def test_endless_names_are_not_counted() -> None:
    suspicions = Suspicions()
    suspicions.note([seen(f"p{number}", length=0) for number in range(2 * MAX_PEERS)])
    assert len(suspicions.parts) == len(suspicions.odd) == MAX_PEERS
