"""A task of one's own, from start to end: is a tumour benign? (scikit-learn's breast cancer data)

    python docs/examples/tumour.py tumour.csv      writes the data: 569 rows, 30 numbers and a label

The class below is all that a swarm needs. See docs/tasks.md for what each method may do.
"""

from __future__ import annotations

import io
import sys

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from training.tasks import Batch, Scores, Shard, read_options

FEATURES = 30


class Options(msgspec.Struct, frozen=True, kw_only=True):
    hidden: int = 16


class Tumour:
    unit = "samples"
    units_per_example = 1

    def __init__(self, options: dict[str, object]) -> None:
        self.options = read_options(Options, options)

    def model(self) -> nn.Module:
        hidden = self.options.hidden
        return nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def shard(self, content: bytes, held_out: float) -> Shard:
        rows = np.loadtxt(io.BytesIO(content), delimiter=",", skiprows=1, dtype=np.float32)
        x, y = torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, -1]).long()
        x = (x - x.mean(dim=0)) / x.std(dim=0)
        cut = len(y) - int(len(y) * held_out)
        return Shard(train=(x[:cut], y[:cut]), held_out=(x[cut:], y[cut:]), examples=cut)

    def batch(self, shard: Shard, indices: np.ndarray) -> Batch:
        x, y = shard.train
        return x[indices], y[indices]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(model(x), y)

    def evaluate(self, model: nn.Module, shard: Shard) -> Scores:
        device = next(model.parameters()).device
        x, y = (tensor.to(device) for tensor in shard.held_out)
        right = (model(x).argmax(dim=1) == y).float().mean()
        return Scores(loss=float(self.loss(model, (x, y))), accuracy=float(right), examples=len(y))


def write_data(path: str) -> None:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = ",".join(name.replace(" ", "_") for name in [*data.feature_names, "benign"])
    np.savetxt(path, np.c_[data.data, data.target], delimiter=",", header=names, comments="", fmt="%.6g")


if __name__ == "__main__":
    write_data(sys.argv[1])
