"""From the manifest's `task.kind` to a task: a built-in one, or a class in a file of your own.

A file of your own is code that runs on each member's machine with that member's rights. It is never
fetched from peers: each member has to put it beside swarm.toml on purpose, and it must be the very
file that the manifest names by digest.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import Option, TaskSection
from training.tasks.base import Task
from training.tasks.digits import Digits
from training.tasks.text import Text

BUILT_IN: dict[str, Callable[[dict[str, Option]], Task]] = {"text": Text, "digits": Digits}


def load_task(section: TaskSection, folder: Path) -> Task:
    """The manifest's task; `folder` is where `FILE.py` is looked for, the manifest's own.

    Raises:
        ConfigError: with exit code MANIFEST (3): unknown kind, file missing or changed, code that
            does not run, a class that is no task, or wrong options.
    """
    if section.kind in BUILT_IN:
        return BUILT_IN[section.kind](section.options)
    file_name, colon, class_name = section.kind.rpartition(":")
    named = file_name.endswith(".py") and Path(file_name).name == file_name
    if not (colon and named and class_name.isidentifier()):
        raise _refused(
            f"task.kind `{section.kind}` is unknown",
            f"use {', '.join(BUILT_IN)} or FILE.py:Class, without a folder",
        )
    path = folder / file_name
    code = read_code(path)
    if hashlib.sha256(code).hexdigest() != section.code_digest:
        raise _refused(
            f"{path} is not the code that the swarm was made with", "ask the creator for the same file"
        )
    return _make(_run(path, code), class_name, path, section.options)


def read_code(path: Path) -> bytes:
    """The bytes of a task's file. `task.code_digest` is their plain SHA-256.

    Raises:
        ConfigError: with exit code MANIFEST (3) if they can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refused(
            f"cannot read the task {path}: {error.strerror}", "put it beside swarm.toml"
        ) from error


def _run(path: Path, code: bytes) -> ModuleType:
    """Run exactly the bytes whose digest was checked, as a module of their own."""
    module = ModuleType(f"dhtnode_task_{hashlib.sha256(code).hexdigest()[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and msgspec look their class's module up
    try:
        exec(compile(code, str(path), "exec"), module.__dict__)  # noqa: S102  the user's own task
    except Exception as error:
        del sys.modules[module.__name__]
        raise _failed(path, error) from error
    return module


def _make(module: ModuleType, class_name: str, path: Path, options: dict[str, Option]) -> Task:
    made = getattr(module, class_name, None)
    if not isinstance(made, type):
        raise _refused(f"{path} has no class {class_name}", "correct task.kind")
    try:
        task = made(options)
    except ConfigError:
        raise
    except Exception as error:
        raise _failed(path, error) from error
    missing = [name for name in _members() if not hasattr(task, name)]
    if missing:
        raise _refused(f"{class_name} in {path} lacks {', '.join(missing)}", "see docs/tasks.md")
    assert isinstance(task, Task)  # noqa: S101  just shown
    return task


def _members() -> list[str]:
    return ["unit", "units_per_example", "model", "shard", "batch", "loss", "evaluate"]


def _failed(path: Path, error: Exception) -> ConfigError:
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
    where = f"{path}:{line}" if line else str(path)
    first = str(error).splitlines()[0] if str(error) else ""
    return _refused(f"{where} does not run: {type(error).__name__}: {first}", "mend it on the creator's side")


def _refused(what: str, remedy: str) -> ConfigError:
    return ConfigError(f"{what}; {remedy}", Exit.MANIFEST)
