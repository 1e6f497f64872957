"""A model as one vector: what is averaged, digested and sent knows no layers.

# P = floating-point elements of the model
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from training.codec import Vector


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies in the vector."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Layout:
    """The floating-point parameters and persistent buffers of a module, sorted by name.

    A tensor that a module holds under several names (tied weights) counts once, under the first of
    them. Integer and boolean buffers, such as BatchNorm's counter, can't be averaged: `write` puts
    back the values they had when the layout was made, so that a round starts the same everywhere.
    """

    entries: tuple[Entry, ...]
    fixed: dict[str, Tensor]

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """The layout of a module. Two modules of the same code and options have the same."""
        entries: list[Entry] = []
        fixed: dict[str, Tensor] = {}
        start = 0
        for name, tensor in distinct(module):
            if tensor.is_floating_point():
                entries.append(Entry(name, tuple(tensor.shape), start, start + tensor.numel()))
                start += tensor.numel()
            else:
                fixed[name] = tensor.detach().clone().cpu()
        return cls(tuple(entries), fixed)

    @cached_property
    def elems(self) -> int:
        """P, the length of the vector."""
        return self.entries[-1].stop if self.entries else 0

    def read(self, module: nn.Module) -> Vector:
        """theta_P: a float32 copy of the module's values. Wider types are rounded."""
        theta_P = np.empty(self.elems, np.float32)
        tensors = dict(distinct(module))
        for entry in self.entries:
            flat = tensors[entry.name].detach().reshape(-1).to("cpu", torch.float32)
            theta_P[entry.start : entry.stop] = flat.numpy()
        return theta_P

    def write(self, module: nn.Module, theta_P: Vector) -> None:
        """Set the module's values, rounded to its own types, on whatever device they are.

        Raises:
            ValueError: the vector does not have P elements.
        """
        if theta_P.shape != (self.elems,):
            raise ValueError(f"a vector of shape {theta_P.shape} for a model of {self.elems} elements")
        tensors = dict(distinct(module))
        with torch.no_grad():
            for entry in self.entries:
                values = np.array(theta_P[entry.start : entry.stop])
                tensors[entry.name].copy_(torch.from_numpy(values).view(entry.shape))
            for name, tensor in self.fixed.items():
                tensors[name].copy_(tensor)


def distinct(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Each tensor of the state dict once, sorted by name."""
    seen: set[int] = set()
    distinct: list[tuple[str, Tensor]] = []
    for name, tensor in sorted(module.state_dict(keep_vars=True).items()):
        if isinstance(tensor, Tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            distinct.append((name, tensor))
    return distinct
