"""The node's key: one Ed25519 key that is at once its libp2p identity and its signature.

What signs the records is what the connection authenticated. The file has libp2p's own format
(protobuf `PrivateKey`, key type Ed25519, seed followed by public key), so the daemon reads it too.
A peer id is the base58 text of the identity multihash of the public key and can be turned back
into the key: a signature is checked from the peer id alone.

Sources: libp2p specs, peer-ids/peer-ids.md; RFC 8032.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dhtnode.errors import ConfigError, Exit
from dhtnode.files import replacing

SIGNATURE_BYTES = 64
_KEY_PREFIX = bytes.fromhex("08011240")  # protobuf: type = Ed25519 (1), data = 64 bytes
_PEER_PREFIX = bytes.fromhex("002408011220")  # identity multihash of protobuf PublicKey, 32 bytes


@dataclass(frozen=True)
class Identity:
    """A private key and the peer id that follows from it."""

    key: Ed25519PrivateKey
    peer_id: str

    @classmethod
    def generate(cls) -> Identity:
        return cls.from_seed(os.urandom(32))

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """The identity of a 32-byte seed; tests and the simulator want repeatable ones."""
        key = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(key, peer_id_of(key.public_key().public_bytes_raw()))

    @classmethod
    def load(cls, path: Path) -> Identity:
        """Read a key file.

        Raises:
            ConfigError: the file is unreadable or no Ed25519 key in libp2p's format.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read the identity {path}: {error.strerror}; "
                "restore it from a backup, or remove it to start as a new peer",
                Exit.HOME,
            ) from error
        seed, public = data[4:36], data[36:]
        if len(data) != 68 or not data.startswith(_KEY_PREFIX):
            raise ConfigError(
                f"{path} is not an Ed25519 identity; "
                "restore it from a backup, or remove it to start as a new peer",
                Exit.HOME,
            )
        identity = cls.from_seed(seed)
        if identity.public_bytes != public:
            raise ConfigError(
                f"{path} is damaged: its public half does not match; restore it from a backup",
                Exit.HOME,
            )
        return identity

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        """Read the key file, or make a new one (mode 0600) that survives a crash half-way."""
        if path.exists():
            return cls.load(path)
        identity = cls.generate()
        identity.save(path)
        return identity

    def save(self, path: Path) -> None:
        data = _KEY_PREFIX + self.key.private_bytes_raw() + self.public_bytes
        with replacing(path) as draft:
            draft.write_bytes(data)

    @property
    def public_bytes(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


def peer_id_of(public_bytes: bytes) -> str:
    """The peer id (`12D3KooW...`) of a raw 32-byte Ed25519 public key."""
    return str(base58.b58encode(_PEER_PREFIX + public_bytes), "ascii")


@lru_cache(maxsize=4096)
def public_key_of(peer_id: str) -> Ed25519PublicKey:
    """The key behind a peer id.

    Raises:
        ValueError: not the peer id of an Ed25519 key in its one canonical spelling.
    """
    if not 50 <= len(peer_id) <= 54:
        raise ValueError(f"not an Ed25519 peer id: {peer_id[:60]!r}")
    data = base58.b58decode(peer_id)
    if len(data) != 38 or not data.startswith(_PEER_PREFIX) or base58.b58encode(data).decode() != peer_id:
        raise ValueError(f"not an Ed25519 peer id: {peer_id!r}")
    return Ed25519PublicKey.from_public_bytes(data[6:])


def is_peer_id(text: str) -> bool:
    try:
        public_key_of(text)
    except ValueError:
        return False
    return True


def verify(peer_id: str, message: bytes, signature: bytes) -> bool:
    """Whether `signature` over `message` is by the key behind `peer_id`."""
    try:
        public_key_of(peer_id).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
