"""One key is identity and signature; its peer id is what libp2p says it is."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.errors import ConfigError, Exit
from dhtnode.identity import Identity, is_peer_id, peer_id_of, public_key_of, verify

seeds = st.binary(min_size=32, max_size=32)


def test_the_peer_id_of_the_specification() -> None:
    """libp2p specs, peer-ids: the Ed25519 example key; its id is the base58 identity multihash."""
    private = bytes.fromhex(
        "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
        "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    )
    identity = Identity.from_seed(private[4:36])
    assert identity.public_bytes == private[36:]
    assert identity.peer_id == "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"


@given(seeds, st.binary(max_size=64))
def test_a_signature_is_checked_from_the_peer_id_alone(seed: bytes, message: bytes) -> None:
    identity = Identity.from_seed(seed)
    signature = identity.sign(message)
    assert verify(identity.peer_id, message, signature)
    assert not verify(identity.peer_id, message + b"x", signature)
    assert (
        not verify(Identity.from_seed(bytes(31) + b"\x01").peer_id, message, signature)
        or seed == bytes(31) + b"\x01"
    )
    assert peer_id_of(public_key_of(identity.peer_id).public_bytes_raw()) == identity.peer_id


@given(st.text(max_size=60))
def test_any_text_is_a_peer_id_or_not_and_never_an_exception(text: str) -> None:
    assert not is_peer_id(text)
    assert not verify(text, b"message", bytes(64))


@given(seeds, st.integers(0, 51), st.characters())
def test_a_peer_id_has_one_spelling(seed: bytes, position: int, letter: str) -> None:
    peer_id = Identity.from_seed(seed).peer_id
    other = peer_id[:position] + letter + peer_id[position + 1 :]
    assert other == peer_id or not is_peer_id(other) or public_key_of(other) != public_key_of(peer_id)


@given(seeds, st.binary(max_size=80))
def test_any_signature_bytes_are_refused_quietly(seed: bytes, signature: bytes) -> None:
    assert not verify(Identity.from_seed(seed).peer_id, b"message", signature)


def test_a_key_file_survives_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    made = Identity.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Identity.load_or_create(path).peer_id == made.peer_id
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity.key"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "is not an Ed25519 identity"),
        (lambda data: b"", "is not an Ed25519 identity"),
        (lambda data: b"\x00" + data[1:], "is not an Ed25519 identity"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "its public half does not match"),
    ],
)
def test_a_damaged_key_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "identity.key"
    Identity.generate().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match=rf"identity.key .*{message}.*backup") as caught:
        Identity.load_or_create(path)
    assert caught.value.exit_code == Exit.HOME
