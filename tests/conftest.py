"""What all tiers share: coroutines run on the event loop that the node uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import uvloop

if TYPE_CHECKING:
    from tests.swarm.lab import Lab


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


hypothesis.settings.register_profile("dhtnode", deadline=None)  # a slow machine is no failure
hypothesis.settings.load_profile("dhtnode")


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors, but for what hivemind does at its import."""
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    from tests.swarm.lab import Lab  # only here: it takes seconds and no other tier needs it

    lab = Lab(tmp_path)
    yield lab
    await lab.stop()
