"""A node's folder: its key, its swarm, its memory. One process uses it at a time.

identity.key     the Ed25519 key: who this node is (mode 0600)
swarm.toml       the manifest of the one swarm that this home belongs to
node.sqlite      records, votes, history (`dhtnode.store`)
checkpoints/     model states, safetensors
data/DIGEST      datasets of the swarm, named by their digest
control.sock     how `dhtnode status` asks the running node (mode 0600)
node.log         what the node said
lock             held by the running process; names its pid
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from dhtnode.errors import ConfigError, Exit
from dhtnode.files import disk_errors, replacing
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest


@dataclass(frozen=True)
class Home:
    """The paths of one home folder, and the rules of its use."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> Home:
        """Make the folder (mode 0700) where it is missing, and check that it can be written.

        Raises:
            ConfigError: exit code HOME (5) or DISK (7).
        """
        home = cls(root.expanduser().absolute())
        for folder in (home.root, home.checkpoints, home.data):
            with disk_errors(folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(home.root / "writable"):
            pass
        (home.root / "writable").unlink(missing_ok=True)
        return home

    @property
    def identity_path(self) -> Path:
        return self.root / "identity.key"

    @property
    def manifest_path(self) -> Path:
        return self.root / "swarm.toml"

    @property
    def store_path(self) -> Path:
        return self.root / "node.sqlite"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def control_path(self) -> Path:
        return self.root / "control.sock"

    @property
    def log_path(self) -> Path:
        return self.root / "node.log"

    @property
    def lock_path(self) -> Path:
        return self.root / "lock"

    def identity(self) -> Identity:
        """The node's key, made on first use."""
        return Identity.load_or_create(self.identity_path)

    def claim(self, manifest: Manifest) -> None:
        """Bind the home to a swarm, for good.

        Raises:
            ConfigError: exit code HOME (5), the home belongs to another swarm.
        """
        if self.manifest_path.exists():
            owner = Manifest.load(self.manifest_path)
            if owner.swarm_id != manifest.swarm_id:
                raise ConfigError(
                    f"home {self.root} belongs to swarm {_title(owner)}, not to {_title(manifest)}; "
                    f"give another --home, or remove {self.root} to leave that swarm for good",
                    Exit.HOME,
                )
            return
        with replacing(self.manifest_path) as draft:
            draft.write_text(manifest.dump(), encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home. The system frees it when the process ends, however it ends.

        Raises:
            ConfigError: exit code HOME (5), another process holds it.
        """
        with disk_errors(self.lock_path):
            handle = os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"home {self.root} is in use by {_holder(handle)}; stop it or give another --home",
                    Exit.HOME,
                ) from error
            except OSError as error:
                raise ConfigError(
                    f"cannot lock {self.lock_path}: {error.strerror}; choose a --home on a local disk",
                    Exit.HOME,
                ) from error
            with disk_errors(self.lock_path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(handle)


def homes_folder() -> Path:
    """Where homes lie that were not given with --home; each is named after its swarm."""
    return platformdirs.user_data_path("dhtnode")


def default_home(swarm_name: str) -> Path:
    """The home of a swarm's node where none was given."""
    return homes_folder() / swarm_name


def data_cache() -> Path:
    """Where `swarm new` keeps datasets so that nodes of this user find them (`DHTNODE_CACHE`)."""
    override = os.environ.get("DHTNODE_CACHE")
    return (Path(override) if override else platformdirs.user_cache_path("dhtnode")) / "data"


def find_home(given: Path | None) -> Home:
    """The home to read from: the given one, else the only one of this user.

    Raises:
        ConfigError: there is none, or more than one.
    """
    if given is not None:
        home = Home(given.expanduser().absolute())
        if not home.manifest_path.exists():
            raise ConfigError(
                f"no node has run in {home.root}; start one with 'dhtnode run swarm.toml --home {given}'",
                Exit.HOME,
            )
        return home
    found = sorted(path.parent for path in homes_folder().glob("*/swarm.toml"))
    if len(found) == 1:
        return Home(found[0])
    if found:
        names = ", ".join(str(path) for path in found)
        raise ConfigError(f"there are several nodes here: name one with --home ({names})", Exit.USAGE)
    raise ConfigError(
        f"no node has run here ({homes_folder()} holds no home); start one with 'dhtnode run swarm.toml', "
        "or name its folder with --home",
        Exit.HOME,
    )


def _holder(handle: int) -> str:
    pid = os.pread(handle, 20, 0).decode(errors="replace").strip()
    return f"pid {pid}" if pid.isdigit() else "another process"


def _title(manifest: Manifest) -> str:
    return f"'{manifest.terms.name}' ({manifest.swarm_id.hex()[:12]})"
