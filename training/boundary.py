"""The exact state of a local run between two inner steps, as bytes, and back.

Model and inner optimizer are taken tensor by tensor in their own types: who goes on from a boundary gets
the bits of who did the steps before it. Its digest is over these bytes; hashing them costs what
docs/validation.md says, and copying them is left for when somebody asks.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from dhtnode.errors import DhtnodeError
from training.flatten import distinct
from training.optimizer import prime

_HEADER = struct.Struct("<Id")
_ABSENT, _PRESENT = b"\x00", b"\x01"


class BadBoundaryError(DhtnodeError):
    """What was opened as a boundary is none of such a run. Who has committed to it is at fault."""


class UnfitBoundaryError(DhtnodeError):
    """Arithmetic that goes on from an opened state breaks down.

    It may have been made for that, or this machine is short of something: nothing is said from it.
    """


@dataclass(frozen=True, eq=False)
class Boundary:
    """The exact local state between two inner steps."""

    step: int
    """Inner steps done."""
    loss_sum: float
    """Of their losses."""
    content: bytes
    """Model and optimizer, see `capture`."""

    @property
    def wire(self) -> bytes:
        return _HEADER.pack(self.step, self.loss_sum) + self.content

    @cached_property
    def digest(self) -> bytes:
        """Names the state, whoever it belongs to; shown to others only when sealed (`seal`)."""
        return _digest(self.step, self.loss_sum, [self.content])

    @classmethod
    def parse(cls, wire: bytes) -> Boundary:
        """A boundary from its bytes. What they say is not checked: hold the digest against a commitment.

        Raises:
            BadBoundaryError: too short.
        """
        if len(wire) < _HEADER.size:
            raise BadBoundaryError(f"a boundary of {len(wire)} bytes")
        step, loss_sum = _HEADER.unpack_from(wire)
        return cls(step, loss_sum, wire[_HEADER.size :])


def capture(model: nn.Module, optimizer: torch.optim.Optimizer) -> bytes:
    """Every distinct tensor of the model in order of name, then what the optimizer keeps of each parameter.

    Tensors are their own bytes, as little-endian machines hold them. Before a parameter's part of the
    optimizer stands whether there is any: one that no gradient has reached may have none. Learning rates
    are not in it, they follow from the step.
    """
    return b"".join(_pieces(model, optimizer))


def boundary_digest(step: int, loss_sum: float, model: nn.Module, optimizer: torch.optim.Optimizer) -> bytes:
    """`Boundary.digest` of what `capture` would copy, without the copy: this is what each segment costs."""
    return _digest(step, loss_sum, _pieces(model, optimizer))


def most_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Length of the longest `Boundary.wire` of their kind: all parameters have a state.

    Args:
        model: as it is trained.
        optimizer: a fresh one over it; it is spoilt then.
    """
    prime(optimizer)
    return _HEADER.size + sum(len(piece) for piece in _pieces(model, optimizer))


def restore(content: bytes, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Set model and optimizer to what `capture` has read from others of their kind.

    Args:
        content: of a boundary.
        model: of the same code and options.
        optimizer: a fresh one over the model.

    Raises:
        BadBoundaryError: it was captured from something else. Model and optimizer are spoilt then.
    """
    prime(optimizer)  # makes the tensors that are to be filled
    reader = _Reader(content)
    with torch.no_grad():
        for _, tensor in distinct(model):
            reader.fill(tensor)
        for parameter in _parameters(optimizer):
            kept = optimizer.state.get(parameter)
            present = reader.take(1)
            if present == _ABSENT:
                optimizer.state.pop(parameter, None)
            elif present == _PRESENT and kept:
                for _, tensor in sorted(kept.items()):
                    reader.fill(tensor)
            else:
                raise BadBoundaryError("a boundary of another optimizer")
    if reader.left:
        raise BadBoundaryError(f"a boundary with {reader.left} bytes too many")


class _Reader:
    """Hands out bytes from the front."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = memoryview(content), 0

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def take(self, count: int) -> memoryview:
        if count > self.left:
            raise BadBoundaryError(f"a boundary that ends {count - self.left} bytes too early")
        self._at += count
        return self._content[self._at - count : self._at]

    def fill(self, tensor: Tensor) -> None:
        raw = np.frombuffer(self.take(tensor.numel() * tensor.element_size()), np.uint8).copy()
        tensor.copy_(torch.from_numpy(raw).view(tensor.dtype).view(tensor.shape))


def _digest(step: int, loss_sum: float, pieces: Iterable[bytes | memoryview]) -> bytes:
    state = hashlib.sha256(_HEADER.pack(step, loss_sum))
    for piece in pieces:
        state.update(piece)
    return state.digest()


def _pieces(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[bytes | memoryview]:
    for _, tensor in distinct(model):
        yield _bytes_of(tensor)
    for parameter in _parameters(optimizer):
        kept = optimizer.state.get(parameter)
        yield _PRESENT if kept else _ABSENT
        for _, tensor in sorted((kept or {}).items()):
            yield _bytes_of(tensor)


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
