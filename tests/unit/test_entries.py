"""A set of entries: the order of the bytes is the order of the ledger, and merging is a union."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import digest
from rewards.entries import (
    ENTRY_BYTES,
    Entry,
    EntrySet,
    Kind,
    entries_root,
    epoch_digest,
    peer_of,
    raw_key,
    unpacked,
)
from tests.unit.bookings import KEYS, SECTION, case, histories, work
from tests.unit.parties import person

EPOCH = SECTION.epoch_rounds


def test_an_entry_keeps_its_fields() -> None:
    entry = Entry(2**40, Kind.AUDIT, digest("a"), digest("b"), digest("c"), digest("d"), 2**62, 1_000_000)
    assert list(unpacked(entry.packed)) == [entry]
    assert len(entry.packed) == ENTRY_BYTES


@given(histories)
def test_bytes_sort_by_round_then_kind_then_record(packed: list[bytes]) -> None:
    lines = [next(unpacked(one)) for one in sorted(packed)]
    assert [line[:3] for line in lines] == sorted(line[:3] for line in lines)


def test_a_case_comes_before_the_work_of_its_round() -> None:
    assert sorted([work(3, 0).packed, case(3, 0).packed, work(2, 0).packed]) == [
        work(2, 0).packed,
        case(3, 0).packed,
        work(3, 0).packed,
    ]


@given(histories, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_a_set(packed: list[bytes], chance: random.Random) -> None:
    mixed = packed + chance.choices(packed, k=len(packed)) if packed else []
    chance.shuffle(mixed)
    one, other = EntrySet(EPOCH, packed), EntrySet(EPOCH, mixed)
    assert one.packed == other.packed == b"".join(sorted(set(packed)))
    assert one.root == other.root


@given(histories, histories, histories)
def test_merging_is_a_union(a: list[bytes], b: list[bytes], c: list[bytes]) -> None:
    one, two, three = (EntrySet(EPOCH, packed) for packed in (a, b, c))
    assert one.merged(two).root == two.merged(one).root == EntrySet(EPOCH, a + b).root
    assert one.merged(two).merged(three).root == one.merged(two.merged(three)).root
    assert one.merged(one).root == one.root
    assert len(one.merged(two)) == len({*a, *b})


@given(histories, histories)
def test_sets_that_differ_have_different_roots(a: list[bytes], b: list[bytes]) -> None:
    assert (EntrySet(EPOCH, a).root == EntrySet(EPOCH, b).root) == (set(a) == set(b))


@given(histories, histories)
def test_a_set_that_grows_has_the_root_of_one_made_at_once(first: list[bytes], then: list[bytes]) -> None:
    grown = EntrySet(EPOCH, first)
    before = grown.root
    assert grown.add(then) == len({*first, *then}) - len(set(first))
    assert grown.root == EntrySet(EPOCH, first + then).root
    assert (grown.root == before) == (set(then) <= set(first))


@given(histories)
def test_the_root_follows_from_the_digests_of_the_epochs(packed: list[bytes]) -> None:
    by_epoch: dict[int, list[bytes]] = {}
    for one in set(packed):
        by_epoch.setdefault(next(unpacked(one)).round // EPOCH, []).append(one)
    digests = {epoch: epoch_digest(epoch, b"".join(sorted(some))) for epoch, some in by_epoch.items()}
    assert entries_root(digests) == EntrySet(EPOCH, packed).root


def test_a_member_is_known_by_its_raw_key() -> None:
    peer = person(1).peer_id
    assert raw_key(peer) == person(1).public_bytes
    assert peer_of(raw_key(peer)) == peer
    assert len(set(KEYS)) == len(KEYS)
