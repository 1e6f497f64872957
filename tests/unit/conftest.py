"""What unit tests share: the command line, and stores."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhtnode.cli import main
from dhtnode.home import Home
from dhtnode.manifest import Manifest
from dhtnode.store import Store
from tests.unit.commandline import Command, Outcome


@pytest.fixture
def dhtnode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line as the console script does, in an empty folder and with no homes yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("DHTNODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("DHTNODE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*lines: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["dhtnode", *" ".join(lines).split()])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else 0, printed.out, printed.err)

    return call


@pytest.fixture
def home(dhtnode: Command, tmp_path: Path) -> Home:
    """A home whose node has been in a swarm that it created itself."""
    dhtnode("swarm new --task text --name mine --home home")
    home = Home.open(tmp_path / "home")
    home.claim(Manifest.load(tmp_path / "swarm.toml"))
    return home


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Store]]:
    """Three nodes' stores."""
    opened = [Store.open(tmp_path / f"{number}.db") for number in range(3)]
    yield opened
    for store in opened:
        store.close()
