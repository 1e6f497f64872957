"""The first state follows from the seed alone, whatever the processor can do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from training.codec import Vector
from training.flatten import Layout
from training.genesis import build_model
from training.tasks.text import Text

PROGRAM = """
import hashlib, torch
from training.flatten import Layout
from training.genesis import build_model
from training.tasks.text import Text
task = Text({"dim": 32, "layers": 1})
for model in (build_model(task.model, 5), task.model()):
    print(hashlib.sha256(Layout.of(model).read(model).tobytes()).hexdigest())
"""

PINNED = [
    0.57240677,
    -0.25831917,
    -0.45077622,
    0.41312045,
    0.4577397,
    -0.3476449,
    -0.2863416,
    0.29460394,
    -0.30207825,
    -2.920578,
    0.30667114,
    -1.367157,
]


def drawn(make: Callable[[], nn.Module], seed: int = 5) -> Vector:
    model = build_model(make, seed)
    return Layout.of(model).read(model)


def test_is_the_same_with_and_without_vector_instructions() -> None:
    found = []
    for capability in ("default", "avx2"):
        environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        found.append(run.stdout.splitlines()[0])
    assert found[0] == found[1]


def test_is_pinned() -> None:
    """A change here makes every node that updates start from another state than the others."""
    values = drawn(lambda: nn.Sequential(nn.Linear(3, 2), nn.Embedding(2, 2)))
    np.testing.assert_array_equal(values, np.array(PINNED, np.float32))


def test_follows_from_the_seed_and_leaves_torch_alone() -> None:
    task = Text({"dim": 16, "layers": 1})
    before = torch.random.get_rng_state()
    first = drawn(task.model)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(99)
    np.testing.assert_array_equal(first, drawn(task.model))
    assert (first != drawn(task.model, seed=6)).mean() > 0.9


def test_normal_numbers_are_normal() -> None:
    values = drawn(lambda: nn.Embedding(500, 400))
    assert abs(values.mean()) < 0.01
    assert values.std() == pytest.approx(1, abs=0.01)
    assert np.mean(np.abs(values) < 1) == pytest.approx(0.6827, abs=0.01)
    assert np.mean(np.abs(values) > 3) == pytest.approx(0.0027, abs=0.001)


def test_uniform_numbers_fill_the_range_that_torch_asks_for() -> None:
    values = drawn(lambda: nn.Linear(400, 500, bias=False))
    assert np.abs(values).max() == pytest.approx(1 / 20, rel=1e-3)  # torch: 1 / sqrt(fan in)
    assert values.std() == pytest.approx(1 / 20 / 3**0.5, rel=0.01)
    assert abs(values.mean()) < 1e-3


class Own(nn.Module):
    """Draws its values in the other ways that a model may."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(3, 4) * 0.02)
        self.b = nn.Parameter(torch.rand(5))
        self.c = nn.Parameter(torch.empty(6).uniform_(to=3.0))
        self.d = nn.Parameter(torch.empty(7).normal_(generator=torch.Generator().manual_seed(1)))
        self.e = nn.Parameter(torch.randperm(100).float())


def test_other_ways_to_draw_are_seeded_too() -> None:
    first = drawn(Own)
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, drawn(Own))
    module = build_model(Own, 5)
    assert isinstance(module, Own)
    assert 0 <= module.b.min() < module.b.max() < 1
    assert 1 < module.c.max() < 3
    expected = torch.empty(7).normal_(generator=torch.Generator().manual_seed(1))
    assert torch.equal(module.d.detach(), expected)
