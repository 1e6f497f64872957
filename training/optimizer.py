"""The inner optimizer by its name in the manifest, and its moments where the swarm averages them.

Each round starts from shared state only: a private optimizer state could not be replayed. Moments
are reset, or they are averaged over the members like the weights and are part of the shared state.

Second moments travel as square roots: their blocks span half the orders of magnitude, and no root is
sent below one code of its block. A second moment that quantisation made zero would turn the next
step into a division by almost nothing.

# P = floating-point elements of the model, M = moments of the optimizer (Adam has 2)
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import InnerSection, WireSection
from training import eager
from training.codec import CODECS, BlockCodec, Vector
from training.flatten import Layout

_MOMENTS = {"exp_avg": False, "momentum_buffer": False, "exp_avg_sq": True, "square_avg": True}
"""Moments that can be averaged, and whether they are means of squares."""


def make_optimizer(inner: InnerSection, model: nn.Module) -> torch.optim.Optimizer:
    """A fresh optimizer over the parameters that are trained.

    Raises:
        ConfigError: MANIFEST (3); no such class, one that can't be used here, or wrong options.
    """
    found = getattr(torch.optim, inner.optimizer, None)
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise _refused(f"inner.optimizer `{inner.optimizer}` is no class of torch.optim")
    closure = inspect.signature(found.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise _refused(f"inner.optimizer `{inner.optimizer}` needs a closure, which rounds do not have")
    options: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in inner.options.items()
    }
    known = inspect.signature(found).parameters
    for key in options:
        if key not in known or key == "params":
            raise _refused(f"inner.options has an unknown key `{key}` for {inner.optimizer}")
    try:
        return found([p for p in model.parameters() if p.requires_grad], **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _refused(f"inner.options do not suit {inner.optimizer}: {error}") from error


def moment_names(inner: InnerSection) -> tuple[str, ...]:
    """The moments that are part of the shared state, in the order of their vectors; M names.

    Raises:
        ConfigError: MANIFEST (3); averaged moments are asked of an optimizer that keeps others.
    """
    if inner.moments == "reset":
        return ()
    probe = nn.Linear(2, 2, bias=False)
    optimizer = make_optimizer(inner, probe)
    prime(optimizer)
    kept = optimizer.state[probe.weight]
    names = sorted(name for name, value in kept.items() if _like(value, probe.weight))
    if not names or any(name not in _MOMENTS for name in names):
        raise _refused(
            f"inner.moments can't be `averaged` with {inner.optimizer}, which keeps {names or 'none'}"
        )
    return tuple(names)


def load_moments(
    optimizer: torch.optim.Optimizer, model: nn.Module, layout: Layout, moments_MP: Vector, step: int
) -> None:
    """Set a fresh optimizer's moments and its step counter from shared state.

    The model's weights may change in the last bit: write them afterwards.
    """
    prime(optimizer)
    names = _names_of(optimizer)
    for name, parameter, part in _slots(names, model, layout):
        kept = optimizer.state[parameter]
        values = torch.from_numpy(np.array(moments_MP[part])).view_as(parameter)
        kept[name].copy_(values.square() if _MOMENTS[name] else values)
        if isinstance(kept.get("step"), Tensor):
            kept["step"].fill_(step)
        elif "step" in kept:
            kept["step"] = step


def read_moments(
    optimizer: torch.optim.Optimizer, model: nn.Module, layout: Layout, names: tuple[str, ...]
) -> Vector:
    """moments_MP as they travel: second moments as square roots. Zero where nothing is trained."""
    moments_MP = np.zeros(len(names) * layout.elems, np.float32)
    for name, parameter, part in _slots(names, model, layout):
        if parameter in optimizer.state:
            values = optimizer.state[parameter][name].detach().float()
            flat = (values.sqrt() if _MOMENTS[name] else values).reshape(-1)
            moments_MP[part] = flat.cpu().numpy()
    return moments_MP


def lift_roots(update_U: Vector, params: int, names: tuple[str, ...], wire: WireSection) -> None:
    """Raise, in place, roots of second moments that `wire` would round to zero to one code.

    Args:
        update_U: pseudo-gradient and moments as they will be encoded, U = params * (1 + M).
        params: P.
        names: of the moments.
        wire: the manifest's section.
    """
    codec = CODECS[wire.codec]
    if not isinstance(codec, BlockCodec):
        return
    starts = np.arange(0, update_U.size, wire.block_elems)
    smallest = np.maximum.reduceat(np.abs(update_U), starts) / np.float32(codec.levels)
    floor = np.repeat(smallest, wire.block_elems)[: update_U.size]
    for index, name in enumerate(names):
        if _MOMENTS[name]:
            part = slice((1 + index) * params, (2 + index) * params)
            np.maximum(update_U[part], floor[part], out=update_U[part])


def prime(optimizer: torch.optim.Optimizer) -> None:
    """Let the optimizer make its own state: one step with no gradient and no learning rate."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    eager.step(optimizer)
    optimizer.zero_grad()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def divisors_of(model: nn.Module, layout: Layout, divisor_P: Vector) -> list[tuple[nn.Parameter, Tensor]]:
    """Each trained parameter with its part of a divisor, on its device and in its type."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return [
        (
            parameter,
            torch.from_numpy(np.array(divisor_P[entry.start : entry.stop])).view(entry.shape).to(parameter),
        )
        for entry in layout.entries
        if (parameter := parameters.get(entry.name)) is not None and parameter.requires_grad
    ]


def _names_of(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    parameter = optimizer.param_groups[0]["params"][0]
    kept = optimizer.state[parameter]
    return tuple(sorted(name for name, value in kept.items() if name in _MOMENTS and _like(value, parameter)))


def _slots(names: tuple[str, ...], model: nn.Module, layout: Layout) -> list[tuple[str, nn.Parameter, slice]]:
    """Each moment of each trained parameter, and its place in moments_MP."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return [
        (
            name,
            parameters[entry.name],
            slice(index * layout.elems + entry.start, index * layout.elems + entry.stop),
        )
        for index, name in enumerate(names)
        for entry in layout.entries
        if entry.name in parameters and parameters[entry.name].requires_grad
    ]


def _like(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape


def _refused(what: str) -> ConfigError:
    return ConfigError(f"{what}; correct it and sign the manifest again", Exit.MANIFEST)
