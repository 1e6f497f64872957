"""Signed records: the only thing peers believe of each other.

A record is `[kind, signer, body, signature]` in canonical msgpack: map keys sorted, integers in
their shortest form, no floats. There is exactly one byte string for each record, so its digest is
its name. The signature covers the swarm id and the kind as well as the body: a record of another
swarm, or of another kind with the same fields, does not verify.

Bodies are `msgspec` structs that carry their own bounds. A peer's bytes are capped, parsed, held
against the schema, compared with their canonical form and only then verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgpack
import msgspec

from dhtnode.digest import digest
from dhtnode.errors import LocalProtocolError, RemoteProtocolError
from dhtnode.identity import SIGNATURE_BYTES, Identity, verify

DOMAIN = "dhtnode/1"
_LEAVES = frozenset({type(None), bool, int, str, bytes})
_ENCODER = msgspec.msgpack.Encoder(order="sorted")

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
PeerId = Annotated[str, msgspec.Meta(min_length=50, max_length=54)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all record bodies. A subclass names its kind and the most bytes it may take."""

    KIND: ClassVar[str]
    MAX_BYTES: ClassVar[int] = 16 * 1024


B = TypeVar("B", bound=Body)
B_co = TypeVar("B_co", bound=Body, covariant=True)


@dataclass(frozen=True)
class Signed(Generic[B_co]):
    """A record whose signature has been checked, or that we signed ourselves."""

    signer: str
    body: B_co
    signature: bytes
    swarm_id: bytes

    @cached_property
    def id(self) -> bytes:
        """32 bytes that name this record. Independent of the signature's own bytes."""
        return digest("record", _payload(self.swarm_id, self.signer, self.body))

    @cached_property
    def wire(self) -> bytes:
        return canonical([self.body.KIND, self.signer, self.body, self.signature])


def canonical(value: Any) -> bytes:
    """The one msgpack form of a value made of maps, lists, integers, text, bytes, bools, None, and structs of
    those, which are maps.

    Raises:
        LocalProtocolError: the value holds a float or another type that has no single form.
    """
    _check_form(value)
    return _ENCODER.encode(value)


def parse_canonical(data: bytes, max_bytes: int) -> Any:
    """The value behind canonical bytes.

    Raises:
        ValueError: too long, not msgpack, or not the canonical form of what it says.
    """
    if len(data) > max_bytes:
        raise ValueError(f"{len(data)} bytes, at most {max_bytes} allowed")
    value = _unpacked(data)
    try:
        again = canonical(value)
    except (ValueError, TypeError, RecursionError, LocalProtocolError) as error:
        raise ValueError(f"not canonical msgpack: {type(error).__name__}") from error
    if again != data:
        raise ValueError("not in canonical form")
    return value


def _unpacked(data: bytes) -> Any:
    """The value behind msgpack bytes, in whatever form they are.

    Raises:
        ValueError: they are no msgpack.
    """
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"not canonical msgpack: {type(error).__name__}") from error


def sign(identity: Identity, swarm_id: bytes, body: B) -> Signed[B]:
    """Sign a body for one swarm."""
    signature = identity.sign(_payload(swarm_id, identity.peer_id, body))
    record = Signed(identity.peer_id, body, signature, swarm_id)
    if len(record.wire) > body.MAX_BYTES:
        raise LocalProtocolError(f"own {body.KIND} record has {len(record.wire)} bytes, cap {body.MAX_BYTES}")
    return record


def open_record(wire: bytes, swarm_id: bytes, kinds: Mapping[str, type[B]], sender: str = "") -> Signed[B]:
    """Check a peer's bytes and return the record in them.

    Args:
        wire: what came from the network.
        swarm_id: the swarm it must be signed for.
        kinds: accepted kinds and their body types.
        sender: who handed us the bytes; blamed while the signer is not proven.

    Raises:
        RemoteProtocolError: reason `oversized`, `malformed`, `unknown-kind`, `schema` or
            `bad-signature`. Never any other exception, whatever the bytes are.
    """
    most = max(kind.MAX_BYTES for kind in kinds.values())
    if len(wire) > most:
        raise RemoteProtocolError(sender, "oversized", f"{len(wire)} bytes, at most {most}")
    try:
        value = _unpacked(wire)
    except ValueError as error:
        raise RemoteProtocolError(sender, "malformed", str(error)) from error
    if not (isinstance(value, list) and len(value) == 4):
        raise RemoteProtocolError(sender, "malformed", "not a list of four")
    kind, signer, body, signature = value
    if not (isinstance(kind, str) and kind in kinds):
        raise RemoteProtocolError(sender, "unknown-kind", repr(kind)[:40])
    body_type = kinds[kind]
    if len(wire) > body_type.MAX_BYTES:
        raise RemoteProtocolError(
            sender, "oversized", f"{kind}: {len(wire)} bytes, at most {body_type.MAX_BYTES}"
        )
    if not (isinstance(signer, str) and isinstance(signature, bytes) and len(signature) == SIGNATURE_BYTES):
        raise RemoteProtocolError(sender, "malformed", f"{kind}: signer or signature")
    try:
        typed = msgspec.convert(body, body_type, strict=True, builtin_types=(bytes,))
    except (msgspec.ValidationError, ValueError) as error:
        raise RemoteProtocolError(sender, "schema", f"{kind}: {error}") from error
    record: Signed[B] = Signed(signer, typed, signature, swarm_id)
    if record.wire != wire:  # a default left out, or spelled out, would be a second spelling, too
        raise RemoteProtocolError(sender, "malformed", f"{kind}: not in canonical form")
    payload = _payload(swarm_id, signer, typed)
    if not verify(signer, payload, signature):
        raise RemoteProtocolError(sender, "bad-signature", kind)
    record.__dict__["id"] = digest("record", payload)  # what `id` would make once more
    return record


def _payload(swarm_id: bytes, signer: str, body: Body) -> bytes:
    return canonical([DOMAIN, swarm_id, body.KIND, signer, body])


def _check_form(value: Any) -> None:
    """Structs are not looked into: their fields are typed, and none that travels has a float."""
    if type(value) in _LEAVES or isinstance(value, msgspec.Struct):
        return
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise LocalProtocolError("map keys must be text")
        items: Iterable[Any] = value.values()
    elif isinstance(value, list | tuple):
        items = value
    else:
        raise LocalProtocolError(f"{type(value).__name__} has no canonical form")
    for item in items:
        if type(item) not in _LEAVES:
            _check_form(item)
