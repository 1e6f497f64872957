"""A local run in segments, so that a quarrel about it is a quarrel about a few steps.

A commitment binds its signer to the exact local state at every segment's start: weights, inner optimizer,
loss so far. Whoever disputes the work finds the first boundary at which the own replay differs; the worker
opens the one before it, and a juror does that one segment again. Nothing is kept for it: local work
repeats to the bit, so a worker that is asked does its own run again.

A boundary's bytes are hashed as they are (`Boundary.digest`); what is signed is that digest under the
signer's name and the round's head, which can't be copied by who has not done the work. The first
segment starts from the shared state and the last one ends in the update itself, so only the boundaries
in between have digests; a run of one segment has none.

# P = floating-point elements of the model
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from dhtnode.digest import digest, root_digest
from dhtnode.errors import DhtnodeError
from dhtnode.manifest import Terms
from training.flatten import distinct
from training.optimizer import prime

MAX_BOUNDARIES = 64
"""Their digests are 2 KiB then, when they are opened. Finding the bad one takes one replay, however many."""
_HEADER = struct.Struct("<Id")
_ABSENT, _PRESENT = b"\x00", b"\x01"


class BadBoundaryError(DhtnodeError):
    """What was opened as a boundary is none of such a run. Who has committed to it is at fault."""


def boundaries(steps: int, most: int, segment: int) -> tuple[int, ...]:
    """After which inner steps a run of `steps` steps has a boundary: at most MAX_BOUNDARIES, rising.

    Where they lie does not depend on how many steps a slow node did of them, which it does not know before.

    Args:
        steps: that were done.
        most: inner steps H of a full-speed node in that round.
        segment: the manifest's `audit.segment`; made longer where H is large, 0 for one segment.
    """
    length = max(segment, math.ceil(most / (MAX_BOUNDARIES + 1))) if segment else most
    return tuple(range(length, steps, length))


def boundaries_of(terms: Terms, round_no: int, steps: int) -> tuple[int, ...]:
    """`boundaries` of a member's run in a round; none where nobody can replay it, or does."""
    if terms.data.mode == "private" or not terms.audit.rate:
        return ()
    return boundaries(steps, terms.inner.steps_at(round_no), terms.audit.segment)


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


def seal(signer: str, base: bytes, index: int, boundary: bytes) -> bytes:
    """A boundary's digest under its signer's name.

    Args:
        signer: whose work it is.
        base: id of the head that the work builds on.
        index: of the boundary, from 0.
        boundary: `Boundary.digest`.
    """
    return digest("boundary", signer, base, index, boundary)


def seal_all(signer: str, base: bytes, digests: Sequence[bytes]) -> tuple[bytes, ...]:
    """What a worker opens when its work is disputed: `seal` of each of its boundaries."""
    return tuple(seal(signer, base, index, boundary) for index, boundary in enumerate(digests))


def segments_root(sealed: Sequence[bytes]) -> bytes:
    """What the commitment calls `segments`: it stands for the whole list of sealed digests."""
    return root_digest("segments", sealed)


def first_difference(theirs: Sequence[bytes], mine: Sequence[bytes]) -> int:
    """The first segment that does not end where one's own replay does; the last if all boundaries agree.

    Args:
        theirs: the worker's sealed digests.
        mine: those of one's own replay, sealed under the worker's name; as many.
    """
    pairs = enumerate(zip(theirs, mine, strict=True))
    return next((index for index, (one, other) in pairs if one != other), len(mine))


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
