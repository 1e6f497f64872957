"""A home belongs to one swarm and one process, and says plainly when it can't be used."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dhtnode.errors import ConfigError, Exit
from dhtnode.files import replacing
from dhtnode.home import Home, find_home, homes_folder
from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, DataSection, Manifest, TaskSection, Terms

HOLDER = """
import sys
from pathlib import Path
from dhtnode.home import Home
with Home.open(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def manifest(name: str) -> Manifest:
    creator = Identity.from_seed(bytes(32))
    task, data = TaskSection(kind="digits"), DataSection(mode="private")
    return Manifest.create(
        Terms(format=FORMAT, name=name, creator=creator.peer_id, task=task, data=data), creator
    )


def test_a_new_home_is_for_its_owner_only(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "deep" / "home")
    identity = home.identity()
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.identity_path.stat().st_mode) == 0o600
    assert Home.open(home.root).identity().peer_id == identity.peer_id
    assert sorted(path.name for path in home.root.iterdir()) == ["checkpoints", "data", "identity.key"]


def test_a_home_can_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot write .*home: File exists; choose a writable") as caught:
        Home.open(tmp_path / "home")
    assert caught.value.exit_code == Exit.HOME


def test_a_home_on_a_read_only_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose a writable folder with --home") as caught:
        Home.open(Path("/proc/dhtnode-home"))
    assert caught.value.exit_code == Exit.HOME


def test_a_home_stays_with_its_swarm(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    home.claim(manifest("first"))
    home.claim(manifest("first"))
    with pytest.raises(ConfigError, match=r"belongs to swarm 'first' .* not to 'second' .*--home") as caught:
        home.claim(manifest("second"))
    assert caught.value.exit_code == Exit.HOME
    assert Manifest.load(home.manifest_path).terms.name == "first"


def test_one_process_at_a_time_until_it_dies(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        home = Home.open(tmp_path)
        with (
            pytest.raises(ConfigError, match=rf"in use by pid {holder.pid}; stop it or give another --home"),
            home.locked(),
        ):
            pytest.fail("two processes hold one home")
        holder.send_signal(signal.SIGKILL)
    with home.locked():
        assert home.lock_path.read_text() == str(os.getpid())


def write_until_the_disk_is_full(path: Path) -> None:
    with replacing(path) as draft:
        draft.write_text("half")
        Path("/dev/full").write_text("a device that is always full")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    with pytest.raises(ConfigError, match=r"no space left for .*state .*saved before is kept") as caught:
        write_until_the_disk_is_full(path)
    assert caught.value.exit_code == Exit.DISK
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with replacing(path) as draft:
        draft.write_text("new")
    assert path.read_text() == "new"


def test_status_finds_the_only_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="no node has run here"):
        find_home(None)
    Home.open(homes_folder() / "one").claim(manifest("one"))
    assert find_home(None).root == homes_folder() / "one"
    Home.open(homes_folder() / "two").claim(manifest("two"))
    with pytest.raises(ConfigError, match="several nodes here: name one with --home") as caught:
        find_home(None)
    assert caught.value.exit_code == Exit.USAGE
    with pytest.raises(ConfigError, match="no node has run in"):
        find_home(tmp_path / "three")
