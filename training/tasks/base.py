"""What a task is: a model, and how to feed, judge and count it. Nothing here knows of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec
import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import Option

Batch = tuple[Tensor, ...]
O = TypeVar("O", bound=msgspec.Struct)  # noqa: E741


@dataclass(frozen=True, eq=False)
class Shard:
    """Data that one node trains on and judges by, in whatever form its task likes."""

    train: Any
    held_out: Any
    examples: int
    """How many training examples there are. A batch is a list of indices below it."""


@dataclass(frozen=True)
class Scores:
    """What evaluation found."""

    loss: float
    """Mean loss on held-out data, in the unit of the task's loss (nats for both built-in tasks)."""
    accuracy: float | None = None
    """Share of right answers, where a task has such."""
    examples: int = 0
    """How many held-out examples it rests on; 0 if the task does not say."""
    public: bool = False
    """Whether these are examples that everybody has, not a part of the node's own data."""


@runtime_checkable
class Task(Protocol):
    """One thing that can be trained. It is made as `Class(options)` from the manifest's options.

    All methods must depend on their arguments and the options alone: two nodes that ask the same
    have to get the same. Random layers (dropout) may draw from torch's global generator, which is
    seeded for each step; nothing else may.
    """

    unit: str
    """What work is counted in, for display: "tokens" or "samples"."""
    units_per_example: int
    """Units that one training example counts for."""

    def model(self) -> nn.Module:
        """A new model, initialised as usual. Swarms seed it (see training/genesis.py)."""

    def shard(self, content: bytes, held_out: float) -> Shard:
        """Read a data file's bytes; keep the share `held_out` of it for evaluation.

        Raises:
            ConfigError: with exit code DATA (4) if the task can't use them.
        """

    def batch(self, shard: Shard, indices: npt.NDArray[np.int64]) -> Batch:
        """The training examples with these indices, as CPU tensors."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The scalar to minimise: a mean over the batch."""

    def evaluate(self, model: nn.Module, shard: Shard) -> Scores:
        """Judge a model by held-out data. Called without gradients and in evaluation mode."""


@runtime_checkable
class Generates(Protocol):
    """A task whose model can show what it has learned."""

    def sample(self, model: nn.Module, prompt: str, length: int) -> str:
        """Continue a prompt. The same model, prompt and length give the same text."""


def read_options(struct: type[O], options: dict[str, Option]) -> O:
    """The manifest's task options as a msgspec struct with defaults, types and bounds.

    Raises:
        ConfigError: with exit code MANIFEST (3); names the key.
    """
    known = ", ".join(struct.__struct_fields__)
    for key in options:
        if key not in struct.__struct_fields__:
            raise ConfigError(
                f"task.options has an unknown key `{key}`; this task knows: {known}", Exit.MANIFEST
            )
    try:
        return msgspec.convert(options, struct, strict=True)
    except msgspec.ValidationError as error:
        what = str(error).replace(" - at `$.", " - at `task.options.")
        raise ConfigError(f"{what}; correct it and sign the manifest again", Exit.MANIFEST) from error
