"""An export is checked from the file and the manifest alone; whatever is changed in it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.reward import RewardSection
from rewards.accounts import Balance
from rewards.entries import raw_key
from rewards.export import (
    MAX_EXPORT_BYTES,
    Export,
    ExportError,
    check_export,
    make_export,
    parse_export,
    sign_export,
    to_csv,
    to_json,
)
from tests.unit.parties import SWARM, person

SIGNERS = tuple(person(index).peer_id for index in (10, 11, 12))
SECTION = RewardSection(export_keys=SIGNERS, export_quorum=2)


def balance(who: int, vested: int, stake: int = 500) -> Balance:
    key = raw_key(person(who).peer_id)
    return Balance(key, vested, stake, burned=20, forfeited=1, by_term=(vested, stake, 15, 5))


BALANCES = [balance(0, 1_000), balance(1, 2_000), balance(2, 0), balance(3, 333)]
UNSIGNED = make_export(SWARM, 4, SECTION, digest("head"), digest("root"), BALANCES)
EXPORT = sign_export(sign_export(UNSIGNED, person(10)), person(12))
FORMS: list[Callable[[Export], bytes]] = [to_json, to_csv]


def fault(export: Export, section: RewardSection = SECTION, swarm_id: bytes = SWARM) -> str:
    with pytest.raises(ExportError) as caught:
        check_export(export, swarm_id, section)
    return str(caught.value)


def changed(**changes: Any) -> Export:
    """A field is another, and the same keys have signed that."""
    export = msgspec.structs.replace(UNSIGNED, **changes)
    return sign_export(sign_export(export, person(10)), person(12))


def changed_line(**changes: Any) -> Export:
    place = next(place for place, line in enumerate(UNSIGNED.lines) if line.vested == 1_000)
    lines = list(UNSIGNED.lines)
    lines[place] = msgspec.structs.replace(lines[place], **changes)
    return changed(lines=tuple(lines))


@pytest.mark.parametrize("form", FORMS)
def test_an_export_is_checked_from_its_file(form: Callable[[Export], bytes]) -> None:
    read = parse_export(form(EXPORT))
    assert read == EXPORT
    check_export(read, SWARM, SECTION)


def test_both_forms_say_the_same() -> None:
    assert parse_export(to_csv(EXPORT)) == parse_export(to_json(EXPORT))
    shares = {line.peer: line.share_ppm for line in EXPORT.lines}
    assert sorted(shares.values()) == [0, 99_910, 300_030, 600_060]


def test_one_signature_is_too_few() -> None:
    assert fault(sign_export(UNSIGNED, person(10))).startswith("1 good signatures by the 3 keys")


def test_a_stranger_does_not_count_and_neither_does_a_key_twice() -> None:
    strangers = sign_export(sign_export(UNSIGNED, person(10)), person(20))
    assert fault(strangers).startswith("1 good")
    borrowed = msgspec.structs.replace(
        strangers, signatures={**strangers.signatures, SIGNERS[1]: strangers.signatures[SIGNERS[0]]}
    )
    assert fault(borrowed).startswith("1 good")


def test_a_swarm_that_names_nobody_has_no_exports() -> None:
    assert fault(EXPORT, RewardSection()).startswith("0 good signatures by the 0 keys")


def test_an_export_of_another_swarm() -> None:
    assert fault(EXPORT, swarm_id=digest("another")).startswith("it is of swarm")


@pytest.mark.parametrize(
    ("export", "why"),
    [
        (changed(schema=2), "schema 2"),
        (changed(round=300), "does not end"),
        (changed(head="ab" * 32), "ownership_root"),
        (changed(ownership_root="ab" * 32), "ownership_root"),
        (changed(lines=UNSIGNED.lines[::-1]), "order of keys"),
        (changed(lines=(UNSIGNED.lines[0], *UNSIGNED.lines)), "twice"),
        (changed_line(vested=1_001), "ownership_root"),
        (changed_line(share_ppm=300_031), "ownership_root"),
        (changed_line(compute=1_001), "earned is not"),
        (changed_line(proof=("00" * 32,)), "proof does not hold"),
        (changed_line(peer="x" * 52), "not an Ed25519 peer id"),
    ],
)
def test_what_does_not_fit_together_is_refused_whoever_signed_it(export: Export, why: str) -> None:
    assert why in fault(export)


def test_a_share_of_nothing() -> None:
    lines = [
        line if line.vested else msgspec.structs.replace(line, proof=("00" * 32,)) for line in UNSIGNED.lines
    ]
    assert "a share of nothing" in fault(changed(lines=tuple(lines)))


def test_a_root_that_the_signers_did_not_have() -> None:
    forged = msgspec.structs.replace(EXPORT, entries_root="ab" * 32)
    assert fault(forged).startswith("0 good")


@settings(max_examples=150)
@given(st.sampled_from(FORMS), st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_is_noticed(form: Callable[[Export], bytes], place: int, flip: int) -> None:
    data = bytearray(form(EXPORT))
    data[place % len(data)] ^= flip
    try:
        read = parse_export(bytes(data))
        check_export(read, SWARM, SECTION)
    except ExportError:
        return
    assert read == EXPORT, "only what has no meaning, like a space, may change"


@settings(max_examples=100)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_garbage(data: bytes) -> None:
    with pytest.raises(ExportError):
        parse_export(data)


@pytest.mark.parametrize(
    "data", [b"#signature\n", b"{}", b"#schema,1\npeer\n", b"[" * 100_000, b"{" * 100_000]
)
def test_broken_files(data: bytes) -> None:
    with pytest.raises(ExportError):
        parse_export(data)


def test_an_endless_file_is_not_parsed() -> None:
    with pytest.raises(ExportError, match="at most"):
        parse_export(bytes(MAX_EXPORT_BYTES + 1))


def test_an_export_without_members() -> None:
    empty = make_export(SWARM, 0, SECTION, digest("head"), digest("root"), [])
    signed = sign_export(sign_export(empty, person(10)), person(11))
    check_export(parse_export(to_csv(signed)), SWARM, SECTION)
