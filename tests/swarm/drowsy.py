"""A model that is slow without work: its rounds take time, and leave the processor to the nodes."""

from __future__ import annotations

import time

from torch import Tensor, nn

from training.tasks.base import Batch
from training.tasks.text import Text

STEP_S = 0.02


class Drowsy(Text):
    """Task `text`, each of whose steps takes at least STEP_S."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        time.sleep(STEP_S)
        return super().loss(model, batch)
