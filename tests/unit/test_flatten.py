"""A module becomes one vector and comes back, whatever its tensors are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from training.flatten import Layout


class Mixed(nn.Module):
    """Tied weights, half precision, buffers that count, and one that is no state."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 4, bias=False)
        self.embed = nn.Embedding(4, 3)
        self.embed.weight = self.head.weight
        self.narrow = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("mask", torch.ones(5), persistent=False)


def test_each_tensor_counts_once_and_in_the_order_of_names() -> None:
    layout = Layout.of(Mixed())
    assert [entry.name for entry in layout.entries] == [
        "embed.weight",
        "narrow",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.weight",
    ]
    assert [entry.start for entry in layout.entries] == [0, 12, 14, 17, 20, 23]
    assert layout.elems == 26


def test_write_then_read_gives_the_vector_back() -> None:
    module = Mixed()
    layout = Layout.of(module)
    theta_P = np.arange(layout.elems, dtype=np.float32)
    layout.write(module, theta_P)
    np.testing.assert_array_equal(layout.read(module), theta_P)
    assert module.head.weight[1, 2].item() == 5.0
    assert module.embed.weight is module.head.weight


def test_narrow_types_are_rounded_to_what_they_hold() -> None:
    module = Mixed()
    layout = Layout.of(module)
    layout.write(module, np.full(layout.elems, 1 / 3, np.float32))
    assert layout.read(module)[12] == torch.tensor(1 / 3, dtype=torch.bfloat16).float().item()


def test_counters_start_each_round_as_they_were() -> None:
    module = Mixed()
    layout = Layout.of(module)
    theta_P = layout.read(module)
    module.norm(torch.randn(8, 3))
    assert module.norm.num_batches_tracked == 1
    layout.write(module, theta_P)
    assert module.norm.num_batches_tracked == 0
    np.testing.assert_array_equal(layout.read(module), theta_P)


def test_what_was_read_does_not_follow_the_model() -> None:
    module = nn.Linear(2, 2)
    layout = Layout.of(module)
    theta_P = layout.read(module)
    kept = theta_P.copy()
    with torch.no_grad():
        module.weight.add_(1)
    np.testing.assert_array_equal(theta_P, kept)


def test_refuses_a_vector_of_another_length() -> None:
    module = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="model of 6 elements"):
        Layout.of(module).write(module, np.zeros(7, np.float32))
