"""Writing files that survive: whole or not at all, and with an error that a person can act on."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dhtnode.errors import ConfigError, Exit

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BROKEN = {errno.EIO}

PRIVATE = 0o600
SHARED = 0o666
"""For files that others get to see; the user's umask is taken from it."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into one line about `path`.

    Raises:
        ConfigError: exit code DISK (7) for a full or failing disk, HOME (5) for the rest.
    """
    try:
        yield
    except OSError as error:
        raise refused(path, error) from error


def refused(path: Path, error: OSError) -> ConfigError:
    """The one line for an `OSError` on `path`."""
    if error.errno in _FULL:
        return disk_full(path)
    why = error.strerror or str(error)
    if error.errno in _BROKEN:
        return ConfigError(f"the disk refuses to write {path}: {why}; check the disk", Exit.DISK)
    return ConfigError(f"cannot write {path}: {why}; choose a writable folder with --home", Exit.HOME)


def disk_full(path: Path) -> ConfigError:
    """The one line for a disk that has no room for `path`."""
    free = ""
    with suppress(OSError):
        free = f" ({shutil.disk_usage(path.parent).free // 2**20} MiB free)"
    return ConfigError(
        f"no space left for {path}{free}; free some space and start again, what was saved before is kept",
        Exit.DISK,
    )


@contextmanager
def replacing(path: Path, mode: int = PRIVATE) -> Iterator[Path]:
    """A draft path that takes the place of `path` when the block has written it.

    The draft is on the disk before it is renamed, so a crash at any moment leaves the old file or
    the new one. When the block fails, the draft is removed and the old file stays.

    Raises:
        ConfigError: as `disk_errors`.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with disk_errors(path):
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode))
            yield draft
            _sync(draft)
            draft.replace(path)
            _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
