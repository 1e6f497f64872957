"""A checkpoint is the last whole one, whatever happens while it is written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dhtnode.errors import ConfigError, Exit
from training.checkpoint import DamagedCheckpointError, load_checkpoint, save_checkpoint
from training.state import Shape, State

SWARM = b"s" * 32
SHAPES = [
    Shape(5_000, momentum=True),
    Shape(5_000, momentum=False),
    Shape(5_000, momentum=True, moments=2),
    Shape(5_000, momentum=True, scaling=True),
]


def state_of(shape: Shape = SHAPES[0], round_no: int = 3) -> State:
    values = np.random.default_rng(round_no).standard_normal(shape.elems).astype(np.float32)
    return State(SWARM, round_no, shape, values)


@pytest.mark.parametrize("shape", SHAPES)
def test_comes_back_to_the_bit(tmp_path: Path, shape: Shape) -> None:
    path = tmp_path / "checkpoint.safetensors"
    assert load_checkpoint(path, SWARM, shape) is None
    for round_no in (3, 4):
        save_checkpoint(path, state_of(shape, round_no))
        loaded = load_checkpoint(path, SWARM, shape)
        assert loaded is not None
        assert loaded.round_no == round_no
        assert loaded.digest == state_of(shape, round_no).digest
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_full_disk_leaves_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state_of())
    (tmp_path / f".{path.name}.{os.getpid()}.new").symlink_to("/dev/full")  # a device without space
    with pytest.raises(ConfigError, match=r"no space left for .*checkpoint\.safetensors") as caught:
        save_checkpoint(path, state_of(round_no=4))
    assert caught.value.exit_code == Exit.DISK
    loaded = load_checkpoint(path, SWARM, SHAPES[0])
    assert loaded is not None
    assert loaded.round_no == 3
    save_checkpoint(path, state_of(round_no=4))  # and with space it goes on


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*gone/checkpoint: No such file") as caught:
        save_checkpoint(tmp_path / "gone" / "checkpoint", state_of())
    assert caught.value.exit_code == Exit.HOME


@pytest.mark.parametrize("position", [3, 20, 200, -1])
def test_any_changed_byte_is_found(tmp_path: Path, position: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state_of())
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)
    with pytest.raises((DamagedCheckpointError, ConfigError)):
        load_checkpoint(path, SWARM, SHAPES[0])


@pytest.mark.parametrize("keep", [0, 7, 100, 20_000])
def test_a_cut_file_is_found(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state_of())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedCheckpointError, match="is damaged"):
        load_checkpoint(path, SWARM, SHAPES[0])


def test_another_swarms_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state_of())
    with pytest.raises(ConfigError, match="belongs to another swarm") as caught:
        load_checkpoint(path, b"t" * 32, SHAPES[0])
    assert caught.value.exit_code == Exit.HOME


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state_of())
    with pytest.raises(DamagedCheckpointError, match="can't hold"):
        load_checkpoint(path, SWARM, SHAPES[1])
