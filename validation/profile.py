"""Whose work can be replayed bit by bit: machines that name the same device profile.

The same instructions on the same kind of processor give the same bits; another number of threads,
another build of torch, another precision of products or another processor may round or sum in another
way. So all of these are in the name. What a name can't know (libraries that pick their instructions by
themselves, settings in the environment) shows in the bits of a short calculation, and these are in it, too.

On a GPU sums run in any order, so its name has no such bits and nobody expects equal ones.
"""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dhtnode.digest import digest

MAX_LENGTH = 80


def device_profile(device: str) -> str:
    """The profile of this process, for commitments: at most 80 characters, the processor's name last.

    Args:
        device: `cpu` or `cuda`.
    """
    if device == "cpu":
        level = torch.backends.cpu.get_cpu_capability()
        parts = [f"x{torch.get_num_threads()}", level, torch.__version__, probe(), processor()]
    else:
        parts = [torch.__version__, torch.cuda.get_device_name()]
    return " ".join("-".join(part.split()) for part in [f"{device}/{precision(device)}", *parts])[:MAX_LENGTH]


def precision(device: str) -> str:
    """How products are rounded: `fp32`, or what the process has been told to use instead."""
    if torch.is_autocast_enabled(device):
        return str(torch.get_autocast_dtype(device)).removeprefix("torch.")
    if device == "cuda":
        products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        return {
            (False, False): "fp32",
            (True, True): "tf32",
            (True, False): "tf32-products",
            (False, True): "tf32-convolutions",
        }[products, convolutions]
    chosen = torch.get_float32_matmul_precision()
    return "fp32" if chosen == "highest" else f"fp32-{chosen}"


def probe() -> str:
    """Eight hexadecimal digits of the bits that a small model's operations give here, some milliseconds."""
    values = np.asarray(np.random.Philox(key=0).random_raw(2**15), np.uint64) >> np.uint64(40)
    x = torch.from_numpy(values.astype(np.float32) * np.float32(2.0**-22) - 2).view(256, 128)
    with torch.no_grad():
        heads = x.view(4, 4, 64, 32)
        found: list[Tensor] = [
            x @ x.T,
            functional.linear(x[:7], x[:100]),
            functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True),
            functional.rms_norm(x, (128,)),
            functional.layer_norm(x, (128,)),
            functional.gelu(x),
            functional.conv2d(heads[:, :3], heads[0, :3, :5, :5].reshape(1, 3, 5, 5)),
            torch.log_softmax(x, 1),
            torch.sin(x),
            x.sum(0),
            x.square().sum(),
        ]
    return digest("probe", *(tensor.float().numpy().tobytes() for tensor in found)).hex()[:8]


def processor() -> str:
    """Name of this machine's processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
