"""The state on disk: a safetensors file that is whole or not there.

It takes the place of the previous one when it is on the disk, so that a crash or a full disk at any
moment leaves that as it was. Reading checks the digest: a file that any bit has changed in is never
trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dhtnode.errors import ConfigError, DhtnodeError, Exit
from dhtnode.files import replacing
from training.state import Shape, State

FORMAT = "1"


class DamagedCheckpointError(DhtnodeError):
    """The file is not what was written. The node takes the state from its peers instead."""


def save_checkpoint(path: Path, state: State, notes: Mapping[str, str] = MappingProxyType({})) -> None:
    """Replace the checkpoint at `path`, or leave it untouched.

    Args:
        path: of the file.
        state: what is in it.
        notes: written beside the state for whoever reads the file; the digest does not cover them.

    Raises:
        ConfigError: DISK (7) without space, HOME (5) where the folder can't be written.
    """
    tensors = {
        "weights": state.weights,
        "momentum": state.momentum,
        "squares": state.squares,
        "moments": state.moments,
    }
    metadata = {
        "format": FORMAT,
        "swarm_id": state.swarm_id.hex(),
        "round": str(state.round_no),
        "digest": state.digest.hex(),
        **notes,
    }
    with replacing(path) as draft:
        draft.write_bytes(save({name: tensor for name, tensor in tensors.items() if tensor.size}, metadata))


def read_notes(path: Path) -> dict[str, str]:
    """All that is written beside the state.

    Raises:
        DamagedCheckpointError: this is no checkpoint.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise DamagedCheckpointError(f"{path} is damaged or no checkpoint: {error}") from error


def load_checkpoint(path: Path, swarm_id: bytes, shape: Shape) -> State | None:
    """The state at `path`, or None if there is no file.

    Raises:
        ConfigError: HOME (5), the file belongs to another swarm or can't be read.
        DamagedCheckpointError: anything else that is wrong with it.
    """
    try:
        path.open("rb").close()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"cannot read the checkpoint {path}: {error.strerror}; check its permissions", Exit.HOME
        ) from error
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedCheckpointError(f"{path} is damaged: {error}") from error
    if metadata.get("format") != FORMAT or not metadata.get("round", "").isdecimal():
        raise DamagedCheckpointError(f"{path} is damaged: not a checkpoint of format {FORMAT}")
    if metadata.get("swarm_id") != swarm_id.hex():
        raise ConfigError(f"the checkpoint {path} belongs to another swarm; give another --home", Exit.HOME)
    parts = [tensors[name] for name in ("weights", "momentum", "squares", "moments") if name in tensors]
    try:
        values_S = np.concatenate([np.zeros(0, np.float32), *parts])
        state = State(swarm_id, int(metadata["round"]), shape, values_S)
    except ValueError as error:
        raise DamagedCheckpointError(f"{path} is damaged: {error}") from error
    if state.digest.hex() != metadata.get("digest"):
        raise DamagedCheckpointError(f"{path} is damaged: its content does not match its digest")
    return state
