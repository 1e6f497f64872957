"""What can be told of a commitment at once; two of one key prove that it equivocated."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dhtnode.digest import digest
from dhtnode.manifest import AuditSection, DataSection, InnerSection, Terms
from dhtnode.records import sign
from tests.unit.parties import commit, head_of, people, terms
from validation.commitment import MAX_TOKENS_PER_SAMPLE, find_fault, is_equivocation

ME, OTHER = people(2)
HEAD = head_of([ME, OTHER])
SAMPLES = 10 * 8  # steps of a round times batch size


def fault(the_terms: Terms | None = None, **changes: Any) -> str | None:
    return find_fault(commit(ME, HEAD, **changes).body, HEAD, the_terms or terms())


def test_honest_work_has_no_fault() -> None:
    assert fault() is None
    assert fault(steps=1, tokens=8, weight=8) is None, "a slow node does fewer steps"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": bytes(32)}, "starts from another state"),
        ({"round": 8}, "is for round 8, not 7"),
        ({"steps": 11, "tokens": 88}, "claims 11 steps, a round has 10"),
        ({"tokens": SAMPLES - 1}, f"claims {SAMPLES - 1} tokens from {SAMPLES} samples"),
        ({"tokens": SAMPLES * MAX_TOKENS_PER_SAMPLE + 1}, f"tokens from {SAMPLES} samples"),
    ],
    ids=["start", "round", "steps", "few-tokens", "many-tokens"],
)
def test_faults(changes: dict[str, Any], words: str) -> None:
    found = fault(**changes)
    assert found is not None
    assert words in found


def test_the_bounds_themselves_are_no_faults() -> None:
    assert fault(steps=10, tokens=SAMPLES) is None
    assert fault(tokens=SAMPLES * MAX_TOKENS_PER_SAMPLE) is None


def test_with_shared_data_tokens_are_the_weight() -> None:
    shared = msgspec.structs.replace(terms(), data=DataSection(mode="shared", digest="0" * 64))
    assert fault(shared, weight=SAMPLES, private=False) is None
    assert fault(shared, weight=SAMPLES + 1, private=False) == "weighs something else than its tokens"


def test_nobody_passes_unverified_work_off_as_verified() -> None:
    shared = msgspec.structs.replace(terms(), data=DataSection(mode="shared", digest="0" * 64))
    assert fault(private=False) == "says that its data are shared, the swarm's are private"
    assert fault(shared, private=True) == "says that its data are private, the swarm's are shared"


def test_boundaries_are_committed_to_where_a_run_has_some() -> None:
    shared = DataSection(mode="shared", digest="0" * 64)
    cut = msgspec.structs.replace(terms(), data=shared, audit=AuditSection(segment=4))
    some, words = digest("segments"), "shows segments of a run that has only one"
    assert fault(cut, segments=some, private=False) is None
    assert fault(cut, segments=some, private=False, steps=5, tokens=40, weight=40) is None
    assert fault(cut, segments=some, private=False, steps=4, tokens=32, weight=32) == words
    assert fault(segments=some) == words, "private work is not replayed"


def test_with_private_data_the_weight_is_the_shard() -> None:
    assert fault(weight=12_345) is None


def test_the_rounds_own_number_of_steps_counts() -> None:
    growing = msgspec.structs.replace(terms(), inner=InnerSection(steps=((0, 5), (7, 10), (8, 50))))
    assert fault(growing, steps=10) is None
    assert fault(growing, steps=11, tokens=88) == "claims 11 steps, a round has 10"


def test_two_commitments_of_one_key_for_one_head_are_a_proof() -> None:
    one, other = commit(ME, HEAD), commit(ME, HEAD, loss_micro=1)
    assert is_equivocation(one, other)
    assert is_equivocation(other, one)


def test_what_is_no_proof() -> None:
    mine = commit(ME, HEAD)
    assert not is_equivocation(mine, mine)
    assert not is_equivocation(mine, commit(OTHER, HEAD)), "two people"
    assert not is_equivocation(mine, commit(ME, HEAD, base=bytes(32))), "two heads"
    assert not is_equivocation(mine, sign(ME, digest("other swarm"), commit(ME, HEAD, steps=9).body))
