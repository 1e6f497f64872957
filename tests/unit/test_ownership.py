"""Shares add up to the whole, and each member can show its own to anybody."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.reward import PPM
from rewards.accounts import Balance
from rewards.ownership import Proof, Row, ownership, parse_proof, shares_ppm, verify
from tests.unit.bookings import KEYS
from tests.unit.parties import SWARM

HEAD = digest("head", 100)
owners = st.dictionaries(st.binary(min_size=32, max_size=32), st.integers(0, 2**62), max_size=30)


def balance(key: bytes, vested: int) -> Balance:
    return Balance(key, vested, stake=7, burned=3, forfeited=1, by_term=(vested + 10, 0, 0, 0))


TABLE = ownership([balance(key, 1 + n) for n, key in enumerate(KEYS)], SWARM, 100, HEAD)


@given(owners)
def test_shares_add_up_to_a_million(vested: dict[bytes, int]) -> None:
    shares = shares_ppm(vested)
    total = sum(vested.values())
    assert sum(shares.values()) == (PPM if total else 0)
    for key, amount in vested.items():
        assert not total or abs(shares[key] - Fraction(amount * PPM, total)) < 1


def test_of_equal_remainders_the_smaller_key_goes_first() -> None:
    assert shares_ppm({b"c": 5, b"a": 5, b"b": 5}) == {b"c": 333_333, b"a": 333_334, b"b": 333_333}


def test_nobody_owns_anything_while_nothing_has_vested() -> None:
    assert shares_ppm({b"a": 0}) == {b"a": 0}
    assert ownership([balance(b"k" * 32, 0)], SWARM, 0, HEAD).rows == ()


@given(owners, st.randoms(use_true_random=False))
def test_the_table_does_not_depend_on_the_order_of_balances(vested: dict[bytes, int], chance: Any) -> None:
    balances = [balance(key, amount) for key, amount in vested.items()]
    one = ownership(balances, SWARM, 100, HEAD)
    chance.shuffle(balances)
    assert ownership(balances, SWARM, 100, HEAD) == one


@given(owners)
def test_every_owner_can_prove_its_share(vested: dict[bytes, int]) -> None:
    table = ownership([balance(key, amount) for key, amount in vested.items()], SWARM, 100, HEAD)
    for key, amount in vested.items():
        proof = table.prove(key)
        assert (proof is not None) == (amount > 0)
        if proof is not None:
            assert proof.row.vested == amount
            assert verify(parse_proof(proof.wire), table.root)


def test_a_stranger_has_nothing_to_prove() -> None:
    assert TABLE.prove(digest("stranger")) is None


@pytest.mark.parametrize(
    "lie",
    [
        {"share_ppm": 999_999},
        {"vested": 10**9},
        {"key": digest("stranger")},
        {"round": 101},
        {"head": digest("head", 101)},
        {"swarm_id": digest("another swarm")},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_no_field_of_a_row_can_be_changed(lie: dict[str, Any]) -> None:
    proof = TABLE.prove(KEYS[2])
    assert proof is not None
    assert verify(proof, TABLE.root)
    forged = msgspec.structs.replace(proof, row=msgspec.structs.replace(proof.row, **lie))
    assert not verify(forged, TABLE.root)


def test_the_number_of_rows_is_bound() -> None:
    """The path of row 2 of 5 is that of row 2 of 8 as well."""
    proof = TABLE.prove(KEYS[2])
    assert proof is not None
    assert not any(
        verify(msgspec.structs.replace(proof, count=count), TABLE.root) for count in (3, 4, 6, 7, 8)
    )


@settings(max_examples=300)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_a_proof_can_be_changed(place: int, flip: int) -> None:
    proof = TABLE.prove(KEYS[2])
    assert proof is not None
    wire = bytearray(proof.wire)
    wire[place % len(wire)] ^= flip
    try:
        forged = parse_proof(bytes(wire))
    except ValueError:
        return
    assert not verify(forged, TABLE.root)


def test_an_endless_proof_is_not_parsed() -> None:
    with pytest.raises(ValueError, match="at most"):
        parse_proof(bytes(10_000))


def test_a_proof_is_small() -> None:
    """A member of the largest swarm keeps it in one file, or prints it."""
    row = Row(swarm_id=SWARM, round=2**40, head=HEAD, key=KEYS[0], vested=2**62, share_ppm=PPM)
    assert len(Proof(row=row, index=2**39, count=2**40, path=(HEAD,) * 40).wire) < 2048
