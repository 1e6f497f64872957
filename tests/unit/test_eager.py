"""Steps without torch's compiler: the same bits, and the compiler stays on the disk."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from training import eager

A_ROUND = """
import sys, torch
from training import eager
from training.genesis import build_model
model = build_model(lambda: torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 2)), 1)
optimizer = torch.optim.AdamW(model.parameters())
torch.autograd.backward(model(torch.arange(9)).sum())
torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
eager.step(optimizer)
optimizer.zero_grad()
print("torch._dynamo" in sys.modules)
"""


def test_a_local_round_does_not_load_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", A_ROUND], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AdamW", {"fused": True}),
        ("AdamW", {"foreach": True}),
        ("Adam", {"amsgrad": True}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("RMSprop", {}),
        ("Adafactor", {}),
        ("Rprop", {}),
    ],
)
def test_a_step_has_the_bits_of_the_optimizers_own(name: str, options: dict[str, Any]) -> None:
    weights = []
    for take in (eager.step, lambda optimizer: optimizer.step()):
        torch.manual_seed(3)
        model = nn.Linear(5, 3)
        optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1, **options)
        for _ in range(3):
            optimizer.zero_grad()
            torch.autograd.backward(model(torch.randn(7, 5)).square().mean())
            take(optimizer)
        weights.append(model.weight.detach().clone())
    assert torch.equal(*weights)
