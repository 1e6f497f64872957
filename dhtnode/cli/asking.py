"""Asking the running node to sign or to tell something: without it, one clear line."""

from __future__ import annotations

from dhtnode.control import NotRunningError, ask
from dhtnode.errors import ConfigError, Exit
from dhtnode.home import Home

PATIENCE_S = 60.0
"""A large shard takes seconds to be sketched."""


def ask_node(home: Home, command: str, **options: str) -> bytes:
    """The answer of the node that runs in a home, as JSON.

    Raises:
        ConfigError: FAILED (1); no node runs there, or it refuses.
    """
    try:
        return ask(home.control_path, command, PATIENCE_S, options)
    except NotRunningError as error:
        raise ConfigError(
            f"no node runs in {home.root}: start it with 'dhtnode run', it signs and hears the others",
            Exit.FAILED,
        ) from error
