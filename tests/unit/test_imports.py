"""Imports run one way, and the protocol is pure: read from the source, so nothing can hide."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ["dhtnode", "training", "validation", "rewards"]
"""Each room may import itself and those before it."""
COMPOSITION = ("dhtnode/app/", "dhtnode/cli/", "dhtnode/observer/")
"""Look upward; nobody imports them."""
GUIDED = [*ROOMS, "dhtnode/net", *(folder.rstrip("/") for folder in COMPOSITION)]
"""Packages whose docstring is a guide to their files."""
COMPOSED = tuple(folder.replace("/", ".").rstrip(".") for folder in COMPOSITION)
OUTSIDE_WORLD = {
    "asyncio", "datetime", "hivemind", "libp2p", "logging", "os", "random", "secrets", "select",
    "selectors", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time",
    "trio", "uvloop",
}  # fmt: skip
SHELL = {
    "training/data.py", "training/inner.py", "training/checkpoint.py", "training/exchange.py",
    "training/library.py", "training/worker.py", "training/tasks/", "validation/profile.py",
    "validation/exhibits.py", "validation/reopening.py", "rewards/book.py", "rewards/heads.py",
    "rewards/stored.py",
}  # fmt: skip
"""Files of these rooms that may touch files, clocks and devices; all others are the protocol."""

FILES = sorted(path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
PURE = ("training/", "validation/", "rewards/")
PROTOCOL = [name for name in FILES if name.startswith(PURE) and not name.startswith(tuple(SHELL))]


def imports(name: str) -> set[str]:
    """Absolute names of all modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import hides its room"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def is_composition(name: str) -> bool:
    return name.startswith(COMPOSITION)


@pytest.mark.parametrize("name", FILES)
def test_imports_run_one_way(name: str) -> None:
    room = name.split("/")[0]
    above = ROOMS[ROOMS.index(room) + 1 :]
    upward = {module for module in imports(name) if module.split(".")[0] in above}
    assert is_composition(name) or upward == set()
    composition = {module for module in imports(name) if module.startswith(COMPOSED)}
    assert is_composition(name) or composition == set()
    observer = {module for module in imports(name) if module.startswith("dhtnode.observer")}
    assert name.startswith("dhtnode/observer/") or observer == set()


@pytest.mark.parametrize("name", PROTOCOL)
def test_the_protocol_knows_no_outside_world(name: str) -> None:
    modules = {module.split(".")[0] for module in imports(name)}
    assert modules & OUTSIDE_WORLD == set()
    assert not {module for module in imports(name) if module.startswith(("dhtnode.net", "dhtnode.store"))}


@pytest.mark.parametrize("name", FILES)
def test_only_the_network_adapters_know_hivemind(name: str) -> None:
    modules = {module.split(".")[0] for module in imports(name)}
    assert "hivemind" not in modules or name.startswith("dhtnode/net/")
    assert "libp2p" not in modules or name.startswith("dhtnode/observer/")  # both in one process do not load


@pytest.mark.parametrize("package", GUIDED)
def test_a_package_is_a_guide_to_its_files(package: str) -> None:
    files = {path.name for path in (ROOT / package).glob("*.py")} - {"__init__.py", "__main__.py"}
    guide = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    named = set(re.findall(r"(?<![\w/])\w+\.py\b", guide))
    assert named == files


def test_the_package_itself_imports_nothing() -> None:
    assert imports("dhtnode/__init__.py") == set()


def test_there_is_something_to_check() -> None:
    assert {"training/agreement.py", "training/messages.py", "training/reduce.py"} <= set(PROTOCOL)
    assert {"dhtnode/identity.py", "training/messages.py"} <= set(FILES)
