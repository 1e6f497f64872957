"""torch without its compiler, which nothing here uses.

Optimizers and dispatch modes load `torch._dynamo` when they are first used, for no other purpose than
to be left out of compilation. With torch 2.13 that is 1.4 s of every start and 75 MB of every node.
Should a later torch keep its marker elsewhere, it is loaded again and all else stays as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def never_compiled(method: Callable[..., Any]) -> None:
    """Answer, once and for all, what `torch._compile._disable_dynamo` would ask of the compiler."""
    plain = inspect.unwrap(method)
    vars(plain)["__dynamo_disable"] = plain


def step(optimizer: Optimizer) -> None:
    """One step, as `optimizer.step()` takes it when nothing is compiled, differentiated or hooked."""
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


for method in (Optimizer.add_param_group, Optimizer.zero_grad):
    never_compiled(method)
