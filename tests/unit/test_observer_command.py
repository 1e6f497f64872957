"""What `dhtnode-observer` refuses before it dials anybody: one line that names option and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dhtnode.cli.create import NewSwarm, write_swarm
from dhtnode.errors import ConfigError, Exit
from dhtnode.identity import Identity
from dhtnode.observer.command import observer

PEER = Identity.from_seed(bytes(32)).peer_id


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "swarm.toml"
    write_swarm(NewSwarm(task="digits", name="seen"), path, tmp_path / "creator", force=False)
    return path


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "names no bootstrap peer"),
        ({"peer": ["x"], "key": "12D3Koo"}, "is no peer id"),
        ({"peer": ["x"], "key": PEER, "watch": True}, "does not go with --watch"),
        ({"peer": ["x"], "key": PEER, "seconds": 3.0}, "does not go with --watch"),
        ({"peer": ["x"], "key": PEER, "rounds": 3}, "does not go with --watch"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    manifest: Path, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        observer(manifest, **options)
    assert refused.value.exit_code == Exit.USAGE
