"""Whose work can be replayed bit by bit: machines that name the same device profile.

The same instructions on the same kind of processor give the same bits; another number of threads,
another build of torch or another processor may sum in another order. So all of these are in the name.
"""

from __future__ import annotations

import platform
from pathlib import Path

import torch

MAX_LENGTH = 80


def device_profile(device: str) -> str:
    """The profile of this process, for commitments: at most 80 characters.

    Args:
        device: `cpu` or `cuda`.
    """
    if device == "cpu":
        level = torch.backends.cpu.get_cpu_capability()
        parts = ["cpu/fp32", f"x{torch.get_num_threads()}", level, torch.__version__, processor()]
    else:
        parts = [f"{device}/fp32", torch.__version__, torch.cuda.get_device_name()]
    return " ".join("-".join(part.split()) for part in parts)[:MAX_LENGTH]


def processor() -> str:
    """Name of this machine's processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
