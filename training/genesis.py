"""The state before the first round: the same on every machine, from the manifest's seed alone.

torch's own random initialisation gives other bits on a processor with AVX2 than on one without. So
while a model is built, its calls for random numbers are answered from a Philox stream of integers:
uniform numbers by one multiply and one add, normal ones as the sum of twelve uniform ones (Irwin-Hall;
mean 0, variance 1, within 6 standard deviations), which takes no logarithm and no cosine. Models that
use torch's initialisers (all of torch.nn does) need nothing of their own for it. What a model draws
in another way still depends on the machine; a node whose genesis differs fetches the swarm's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dhtnode.digest import derive
from training.codec import Vector
from training.eager import never_compiled

aten = torch.ops.aten


def build_model(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The model that `make` makes, with random values that follow from the seed."""
    number = derive("genesis", seed)
    with torch.random.fork_rng(devices=[]), PortableRandom(number):
        torch.manual_seed(number % 2**63)  # for whatever is drawn in another way
        return make()


class PortableRandom(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers torch's calls for uniform and normal numbers from a stream of its own.

    A call that brings its own generator, or draws from another distribution, is left to torch.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stream = np.random.Philox(key=seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is None:
            if func is aten.normal_.default:
                return self._normal(*args)
            if func is aten.uniform_.default:
                return self._uniform(*args)
            if func is aten.randn.default:
                return self._normal(torch.empty(*args, **kwargs))
            if func is aten.rand.default:
                return self._uniform(torch.empty(*args, **kwargs))
        return func(*args, **kwargs)

    def _normal(self, tensor: Tensor, mean: float = 0, std: float = 1) -> Tensor:
        parts = self._raw(3 * tensor.numel()).view("<u2").reshape(-1, 12)
        sums = parts.sum(axis=1, dtype=np.int64) * 2 - 12 * 65_535
        return _fill(tensor, (sums / 2**17).astype(np.float32), std, mean)

    def _uniform(self, tensor: Tensor, low: float = 0, high: float = 1) -> Tensor:
        units = (self._raw(tensor.numel()) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return _fill(tensor, units, high - low, low)

    def _raw(self, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        return np.asarray(self._stream.random_raw(count), "<u8")


never_compiled(PortableRandom.__torch_dispatch__)


def _fill(tensor: Tensor, numbers: Vector, factor: float, offset: float) -> Tensor:
    values = np.add(np.multiply(numbers, np.float32(factor)), np.float32(offset))
    with torch.no_grad():
        return tensor.copy_(torch.from_numpy(values).view(tensor.shape))
