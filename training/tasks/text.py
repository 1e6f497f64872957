"""Language modelling on bytes: a small GPT that needs no tokenizer and no download.

Pre-norm transformer decoder (GPT-2) with rotary positions (Su et al., arXiv:2104.09864), RMSNorm,
no biases and an untied head. Measured on the built-in text, 300 steps of batch 8 x 64, AdamW 3e-3,
held-out nats: learned positions, LayerNorm and biases 2.18; with rotary positions 1.72; as here 1.71;
the head tied to the embedding 1.88; GPT-2's small initial weights (std 0.02) 1.97. So it keeps
torch's own initialisation.

# B = batch, T = positions, C = model width, H = heads, D = C / H
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
from training.tasks.base import Batch, Scores, Shard, read_options

VOCABULARY = 256
TEMPERATURE = 0.7
"""Sharper than 1: a barely trained model shows words instead of noise. Taste, nothing depends on it."""

Size = Annotated[int, msgspec.Meta(ge=1, le=65_536)]


class TextOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes; the defaults give 853,120 parameters, 43 ms a step of batch 8 on one core."""

    dim: Size = 128
    layers: Size = 4
    heads: Size = 4
    context: Size = 64
    """Bytes that the model looks back on, and that one training example predicts."""
    eval_windows: Size = 64
    """Stretches of `context` bytes that evaluation looks at, evenly spaced over the held-out text."""


class Text:
    """Task `text`."""

    unit = "tokens"

    def __init__(self, options: dict[str, Option]) -> None:
        self.options = read_options(TextOptions, options)
        if self.options.dim % (2 * self.options.heads):
            raise ConfigError(
                f"task.options.dim {self.options.dim} is no multiple of 2 x task.options.heads "
                f"{self.options.heads}; correct one of them",
                Exit.MANIFEST,
            )
        self.units_per_example = self.options.context

    def model(self) -> GPT:
        return GPT(self.options)

    def shard(self, content: bytes, held_out: float) -> Shard:
        text = np.frombuffer(content, np.uint8)
        cut = len(text) - int(len(text) * held_out)
        train, rest = text[:cut], text[cut:]
        need = self.options.context + 1
        if len(train) < need or len(rest) < need:
            raise ConfigError(
                f"the text has {len(train)} bytes to train on and {len(rest)} held out; each needs "
                f"{need} or more: use a longer text or a smaller task.options.context",
                Exit.DATA,
            )
        return Shard(train, rest, examples=len(train) - self.options.context)

    def batch(self, shard: Shard, indices: npt.NDArray[np.int64]) -> Batch:
        return (self._windows(shard.train, indices),)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        (tokens_BT,) = batch
        logits = model(tokens_BT[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens_BT[:, 1:].flatten())

    def evaluate(self, model: nn.Module, shard: Shard) -> Scores:
        last = len(shard.held_out) - self.options.context - 1
        count = min(self.options.eval_windows, last + 1)
        starts = np.arange(count) * last // max(1, count - 1)
        device = next(model.parameters()).device
        losses = [
            float(self.loss(model, (self._windows(shard.held_out, group).to(device),))) * len(group)
            for group in np.array_split(starts, -(-count // 16))
        ]
        return Scores(loss=sum(losses) / count, examples=count)

    def sample(self, model: nn.Module, prompt: str, length: int) -> str:
        """Continue a prompt by `length` bytes. The same model and prompt give the same text."""
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(0)
        tokens = list(prompt.encode()) or [ord("\n")]
        with torch.inference_mode():
            for _ in range(length):
                window = torch.tensor([tokens[-self.options.context :]], device=device)
                logits = model(window)[0, -1].float().cpu() / TEMPERATURE
                tokens.append(int(torch.multinomial(logits.softmax(0), 1, generator=generator)))
        return bytes(tokens).decode(errors="replace")

    def _windows(self, text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> Tensor:
        """tokens_BT of context + 1 positions."""
        offsets = starts[:, None] + np.arange(self.options.context + 1)
        return torch.from_numpy(text[offsets].astype(np.int64))


class GPT(nn.Module):
    """Maps tokens_BT (int64) to logits of shape (B, T, 256)."""

    def __init__(self, options: TextOptions) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, options.dim)
        self.blocks = nn.ModuleList(Block(options.dim, options.heads) for _ in range(options.layers))
        self.norm = nn.RMSNorm(options.dim)
        self.head = nn.Linear(options.dim, VOCABULARY, bias=False)
        half = options.dim // options.heads // 2
        angles = torch.arange(options.context)[:, None] * 10_000 ** (-torch.arange(half) / half)
        self.register_buffer("cos_TD", angles.cos(), persistent=False)
        self.register_buffer("sin_TD", angles.sin(), persistent=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTC = self.embed(tokens_BT)
        length = tokens_BT.shape[1]
        rotation = (self.get_buffer("cos_TD")[:length], self.get_buffer("sin_TD")[:length])
        for block in self.blocks:
            x_BTC = block(x_BTC, rotation)
        logits: Tensor = self.head(self.norm(x_BTC))
        return logits


class Block(nn.Module):
    """Attention and a feed-forward part, each added to what comes in."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.RMSNorm(dim)
        self.norm_2 = nn.RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.up = nn.Linear(dim, 4 * dim, bias=False)
        self.down = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x_BTC: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        x_BTC = x_BTC + self.out(self._attend(self.norm_1(x_BTC), rotation))
        y_BTC: Tensor = self.down(nn.functional.gelu(self.up(self.norm_2(x_BTC))))
        return x_BTC + y_BTC

    def _attend(self, x_BTC: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        split = self.qkv(x_BTC).unflatten(-1, (3, self.heads, -1))
        q_BHTD, k_BHTD, v_BHTD = split.permute(2, 0, 3, 1, 4)
        mixed_BHTD = nn.functional.scaled_dot_product_attention(
            rotate(q_BHTD, rotation), rotate(k_BHTD, rotation), v_BHTD, is_causal=True
        )
        return mixed_BHTD.transpose(1, 2).flatten(2)


def rotate(x_BHTD: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of features by an angle that grows with the position."""
    cos_TD, sin_TD = rotation
    a, b = x_BHTD.chunk(2, dim=-1)
    return torch.cat([a * cos_TD - b * sin_TD, a * sin_TD + b * cos_TD], dim=-1)
