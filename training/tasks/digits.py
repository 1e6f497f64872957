"""Handwritten digits that stay at home: a small network on scikit-learn's 8 x 8 images.

Made for private mode: every node trains on its own .npz file of images x (0 to 16, shape N x 64) and
labels y (0 to 9), which nobody else sees. All are judged by the same public test images, every fifth
one of scikit-learn's digits, so that their losses can be compared. `public_split` gives both sides.

# B = batch
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import Option
from training.data import Array, unpack_arrays
from training.tasks.base import Batch, Scores, Shard, read_options

PIXELS = 64
BRIGHTEST = 16
LABELS = 10


class DigitsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes; the default gives 9,034 parameters."""

    hidden: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 64
    """Width of the two hidden layers."""


class Digits:
    """Task `digits`."""

    unit = "samples"
    units_per_example = 1

    def __init__(self, options: dict[str, Option]) -> None:
        self.options = read_options(DigitsOptions, options)

    def model(self) -> nn.Module:
        hidden = self.options.hidden
        return nn.Sequential(
            nn.Linear(PIXELS, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, LABELS),
        )

    def shard(self, content: bytes, held_out: float) -> Shard:
        """All of the file is for training; `held_out` is not used, see the top of this file."""
        images, labels = unpack_arrays(content)
        _check(images, labels)
        _, test = public_split()
        return Shard(_tensors(images, labels), _tensors(*test), examples=len(labels))

    def batch(self, shard: Shard, indices: npt.NDArray[np.int64]) -> Batch:
        pick = torch.from_numpy(indices)
        images, labels = shard.train
        return images[pick], labels[pick]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        images, labels_B = batch
        return nn.functional.cross_entropy(model(images), labels_B)

    def evaluate(self, model: nn.Module, shard: Shard) -> Scores:
        device = next(model.parameters()).device
        images, labels_B = (tensor.to(device) for tensor in shard.held_out)
        logits = model(images)
        right = (logits.argmax(dim=1) == labels_B).float().mean()
        loss = float(nn.functional.cross_entropy(logits, labels_B))
        return Scores(loss, float(right), examples=len(labels_B), public=True)


def public_split() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(images, labels) of scikit-learn's digits to train on, and those that all are judged by."""
    from sklearn.datasets import load_digits  # slow and large: only who trains on digits pays for it

    images, labels = load_digits(return_X_y=True)
    test = np.arange(len(labels)) % 5 == 4
    return (images[~test], labels[~test]), (images[test], labels[test])


def _check(images: Array, labels: Array) -> None:
    typed = np.issubdtype(images.dtype, np.number) and np.issubdtype(labels.dtype, np.integer)
    shaped = images.shape[1:] == (PIXELS,)
    if not (typed and shaped and _within(images, BRIGHTEST) and _within(labels, LABELS - 1)):
        raise ConfigError(
            f"the data has x of {images.dtype} {images.shape} and y of {labels.dtype}; digits needs x of "
            f"shape (N, {PIXELS}) from 0 to {BRIGHTEST} and integer y from 0 to {LABELS - 1}",
            Exit.DATA,
        )


def _within(values: Array, most: int) -> bool:
    numbers = values.astype(np.float64)
    return bool(((numbers >= 0) & (numbers <= most)).all())


def _tensors(images: Array, labels: Array) -> tuple[Tensor, Tensor]:
    scaled = images.astype(np.float32) / BRIGHTEST
    return torch.from_numpy(scaled), torch.from_numpy(labels.astype(np.int64))
