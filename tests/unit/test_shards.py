"""Data is paid once, to who registered it first; copies are told by their sketches."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.manifest import DataSection
from dhtnode.records import Signed, open_record, sign
from dhtnode.reward import PPM, RewardSection
from rewards.data import (
    CLAIMS_PER_KEY,
    SKETCH_BYTES,
    SKETCH_HASHES,
    WINDOW_BYTES,
    Registration,
    contained_ppm,
    find_fault,
    register,
    sketch,
    training_chunks,
)
from rewards.entries import raw_key
from rewards.ledger import Rules
from tests.unit.bookings import KEYS, PARAMETERS, TOKENS, booked, case, work
from tests.unit.parties import SWARM, person

SECTION = RewardSection()
CHUNKS = 16


def registered(who: int, first: int = 0, chunks: int = 4, **changes: Any) -> Signed[Registration]:
    wish: dict[str, Any] = {"round": 0, "domain": "law", "tokens": 4_000, **changes}
    unlike = bytes([who, first, chunks, 0]) * SKETCH_HASHES
    wish.setdefault("sketch", unlike)
    wish.setdefault("salt", bytes(16))
    return sign(person(who), SWARM, Registration(first=first, chunks=chunks, **wish))


claims_ = st.lists(
    st.builds(
        registered,
        st.integers(0, 3),
        st.integers(0, CHUNKS),
        st.integers(0, CHUNKS),
        round=st.integers(0, 5),
        domain=st.sampled_from(["law", "medicine", "code"]),
    ),
    max_size=12,
    unique_by=lambda record: record.id,
)


@settings(max_examples=60)
@given(claims_, st.randoms(use_true_random=False))
def test_every_chunk_has_one_owner_whatever_the_order(
    records: list[Signed[Registration]], chance: random.Random
) -> None:
    registry = register(records, CHUNKS, SECTION)
    owner: dict[int, bytes] = {}
    for record in sorted(records, key=lambda record: (record.body.round, record.id)):
        asked = range(record.body.first, min(CHUNKS, record.body.first + record.body.chunks))
        for chunk in asked:
            owner.setdefault(chunk, record.id)
    sizes = {claim.record: claim.size for claim in registry.claims}
    assert sizes == {record: list(owner.values()).count(record) for record in set(owner.values())}
    chance.shuffle(records)
    assert register(records, CHUNKS, SECTION).claims == registry.claims


@settings(max_examples=60)
@given(claims_, st.integers(0, 10**12))
def test_no_more_tokens_are_used_than_were_trained_on(
    records: list[Signed[Registration]], tokens: int
) -> None:
    uses = register(records, CHUNKS, SECTION).used(5, {KEYS[0]: tokens, KEYS[1]: tokens})
    assert sum(use.tokens for use in uses) <= 2 * tokens


def test_a_shard_that_is_claimed_twice_counts_once() -> None:
    first, second = registered(0, round=3), registered(1, round=4)
    registry = register([second, first], CHUNKS, SECTION)
    assert [claim.record for claim in registry.claims] == [first.id]
    overlapping = register([first, registered(2, first=2, round=4)], CHUNKS, SECTION)
    assert [claim.size for claim in overlapping.claims] == [4, 2]


def test_the_held_out_end_earns_nothing() -> None:
    assert register([registered(0, first=CHUNKS)], CHUNKS, SECTION).claims == ()


def test_what_the_manifest_shows_to_be_wrong_is_found() -> None:
    data = DataSection(mode="shared", total_bytes=10_240, chunk_bytes=1_000, held_out=0.1)
    assert find_fault(registered(0, first=5, chunks=4).body, data) is None
    for wrong, why in (
        (registered(0, first=6, chunks=4), "chunks"),
        (registered(0, chunks=0), "chunks"),
        (registered(0, chunks=4, tokens=4_001), "another size"),
    ):
        assert why in (find_fault(wrong.body, data) or "")
    private = DataSection(mode="private")
    assert find_fault(registered(0, chunks=0, tokens=77).body, private) is None
    assert find_fault(registered(0, chunks=1).body, private) is not None


def test_the_end_of_a_dataset_is_held_out() -> None:
    data = DataSection(mode="shared", total_bytes=1_050_000, chunk_bytes=100_000, held_out=0.1)
    assert training_chunks(data) == 9
    assert training_chunks(DataSection(mode="private", total_bytes=1_050_000)) == 0


def test_a_claim_counts_from_its_round_on() -> None:
    registry = register([registered(0, round=3)], CHUNKS, SECTION)
    tokens = {KEYS[0]: 1_600}
    assert [len(registry.used(round_no, tokens)) for round_no in (2, 3)] == [0, 1]
    assert registry.used(3, tokens)[0].tokens == 400


def test_a_rare_domain_is_worth_more() -> None:
    common = [registered(0, chunks=12), registered(1, first=12, chunks=1, domain="medicine")]
    law, medicine = sorted(register(common, CHUNKS, SECTION).used(0, {}), key=lambda use: use.rarity_ppm)
    assert law.key == raw_key(person(0).peer_id)
    assert law.rarity_ppm == int(PPM * (13 / (2 * 12)) ** 0.5)
    assert medicine.rarity_ppm == int(PPM * (13 / 2) ** 0.5)


def test_private_data_is_used_by_its_owners_own_work() -> None:
    mine, others = registered(0, chunks=0, tokens=500), registered(1, chunks=0, tokens=9_000)
    uses = register([mine, others], 0, SECTION).used(0, {raw_key(person(0).peer_id): 1_000})
    assert {use.record: use.tokens for use in uses} == {mine.id: 1_000, others.id: 0}


def test_a_flood_of_claims_by_one_key_is_bounded() -> None:
    flood = [registered(0, chunks=0, tokens=1 + number) for number in range(CLAIMS_PER_KEY + 20)]
    assert len(register(flood, 0, SECTION).claims) == CLAIMS_PER_KEY


def test_the_ledger_pays_owners_and_never_more_than_the_training() -> None:
    shard = registered(7, chunks=CHUNKS)
    rules = Rules(SECTION, PARAMETERS, PPM // 16, register([shard], CHUNKS, SECTION))
    owner = raw_key(person(7).peer_id)
    capped = booked(work(0, 0), work(0, 1), rules=rules, watched=owner)
    trained = sum(capped.account(key).by_term[0] for key in KEYS[:2])
    assert capped.account(owner).by_term[1] == trained, "200 kilotokens would be worth more than the work"
    assert [change.record for change in capped.changes] == [shard.id]
    larger = Rules(SECTION, 1000 * PARAMETERS, PPM // 16, rules.registry)
    uncapped = booked(work(0, 0), work(0, 1), rules=larger)
    assert uncapped.account(owner).by_term[1] == 2 * TOKENS // 1000 * PPM * 2 // 5  # reputation 0.2, early 2


def test_false_work_uses_no_data() -> None:
    rules = Rules(SECTION, 1000 * PARAMETERS, 0, register([registered(7, chunks=CHUNKS)], CHUNKS, SECTION))
    owner = raw_key(person(7).peer_id)
    honest = booked(work(0, 0), rules=rules).account(owner).by_term[1]
    assert booked(work(0, 0), work(0, 1), case(0, 1), rules=rules).account(owner).by_term[1] == honest > 0


# Sketches


def letters(seed: int, length: int) -> bytes:
    return np.random.default_rng(seed).integers(97, 123, length, np.uint8).tobytes()


def windows(content: bytes) -> set[bytes]:
    return {content[start : start + WINDOW_BYTES] for start in range(len(content) - WINDOW_BYTES + 1)}


@pytest.mark.parametrize("shared", [0, 2_000, 5_000, 9_000, 10_000])
def test_a_sketch_tells_which_share_of_a_shard_another_one_holds(shared: int) -> None:
    base = letters(1, 10_000)
    other = base[:shared] + letters(2, 10_000 - shared)
    exact = len(windows(base) & windows(other)) / len(windows(base))
    one, two = (registered(0, tokens=len(some), sketch=sketch(some)).body for some in (base, other))
    assert contained_ppm(one, two) / PPM == pytest.approx(exact, abs=0.1)


def test_a_small_shard_inside_a_large_one_is_found() -> None:
    large = letters(3, 40_000)
    part = large[10_000:20_000]
    small = registered(0, tokens=len(part), sketch=sketch(part)).body
    whole = registered(1, tokens=len(large), sketch=sketch(large)).body
    assert contained_ppm(small, whole) > 600_000
    assert contained_ppm(whole, small) < 400_000


def test_a_copy_is_worth_nothing() -> None:
    text = sketch(letters(4, 10_000))
    first = registered(0, chunks=0, tokens=10_000, sketch=text)
    copy = registered(1, chunks=0, tokens=10_000, sketch=text, round=1)
    tokens = {raw_key(person(who).peer_id): 5_000 for who in (0, 1)}
    rarity = {use.record: use.rarity_ppm for use in register([copy, first], 0, SECTION).used(1, tokens)}
    assert rarity == {first.id: PPM, copy.id: 0}


def test_a_sketch_is_the_same_on_every_machine() -> None:
    """A golden value: the hash functions are part of the protocol."""
    assert sketch(b"The quick brown fox jumps over the lazy dog").hex()[:24] == "09f944de038fab3c04083b13"


def test_a_sketch_does_not_depend_on_where_the_content_is_cut() -> None:
    content = letters(5, 3 * 2**16 + 5)
    parts = [sketch(content[:70_000]), sketch(content[70_000 - WINDOW_BYTES + 1 :])]
    least = np.minimum(*(np.frombuffer(part, ">u4") for part in parts))
    assert sketch(content) == least.astype(">u4").tobytes()


def test_less_than_a_window_has_no_sketch() -> None:
    with pytest.raises(ValueError, match="7 bytes"):
        sketch(b"seven b")


def test_a_registration_travels_as_a_record() -> None:
    record = registered(0, sketch=sketch(letters(6, 1_000)))
    assert len(record.body.sketch) == SKETCH_BYTES
    assert open_record(record.wire, SWARM, {Registration.KIND: Registration}).id == record.id
