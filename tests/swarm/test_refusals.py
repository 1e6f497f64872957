"""What a node can't work with: one line that names the thing and the remedy, an exit code, nothing lost."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dhtnode.cli.create import NewSwarm, write_swarm
from dhtnode.errors import Exit
from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import LIMIT_S, LOOPBACK, RUN, Swarm

Change = Callable[[str], str]


def refusal(command: Sequence[str], code: Exit) -> str:
    """The one line on stderr of a command that ends with this code by itself."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("dhtnode: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def line(swarm: Swarm, *options: str, home: Path | None = None, listen: str = LOOPBACK) -> list[str]:
    """The command line of a node that only complains."""
    place = home or swarm.folder / "a"
    run = [*RUN, "run", str(swarm.manifest_path), "--home", str(place), "--listen", listen]
    return [*run, "--log-level", "error", *options]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("slack =", "slakc ="), r"unknown key `slakc`.*sign again"),
        (lambda text: text.replace("slack = 2.0", 'slack = "2"'), r"Expected `float`.*round\.slack"),
        (lambda text: text.replace("slack = 2.0", "slack = 3.0"), "bad signature.*fresh copy"),
        (
            lambda text: text.replace(f"format = {FORMAT}", f"format = {FORMAT + 1}"),
            f"format {FORMAT + 1}, this node reads format {FORMAT}; update",
        ),
        (lambda text: text.replace("signature =", "sign ="), "has no signature"),
        (lambda text: text + "[", "is not TOML"),
    ],
    ids=["unknown-key", "wrong-type", "bad-signature", "other-version", "unsigned", "no-toml"],
)
def test_a_manifest_that_is_not_right(make_swarm: MakeSwarm, change: Change, words: str) -> None:
    swarm = make_swarm({"round.slack": 2.0})
    swarm.manifest_path.write_text(change(swarm.manifest_path.read_text()))
    said = refusal(line(swarm), Exit.MANIFEST)
    assert re.search(words, said)
    assert str(swarm.manifest_path) in said
    assert not (swarm.folder / "a").exists(), "nothing is made for a swarm that is none"


def test_a_dataset_that_is_not_the_swarms(make_swarm: MakeSwarm, tmp_path: Path) -> None:
    swarm = make_swarm()
    other, missing = tmp_path / "other.txt", tmp_path / "missing.txt"
    other.write_bytes(b"?" * swarm.manifest.terms.data.total_bytes)
    said = refusal(line(swarm, "--data", str(other)), Exit.DATA)
    assert re.search(rf"{other} is not the swarm's dataset: chunk 0 .*or none to fetch it from peers", said)
    assert re.search(
        rf"cannot read the data {missing}", refusal(line(swarm, "--data", str(missing)), Exit.DATA)
    )


def test_a_home_that_cannot_be_used(make_swarm: MakeSwarm, tmp_path: Path) -> None:
    swarm = make_swarm()
    place = tmp_path / "file"
    place.write_text("not a folder")
    said = refusal(line(swarm, home=place), Exit.HOME)
    assert re.search(rf"cannot write {place}.*choose a writable folder with --home", said)

    wish = NewSwarm(task="text", name="another")
    another = write_swarm(wish, tmp_path / "another.toml", tmp_path / "creator", force=False)
    taken = Home.open(tmp_path / "taken")
    taken.claim(another)
    said = refusal(line(swarm, home=taken.root), Exit.HOME)
    assert re.search(r"belongs to swarm 'another' .*give another --home", said)

    with Home.open(tmp_path / "held").locked():
        said = refusal(line(swarm, home=tmp_path / "held"), Exit.HOME)
    assert re.search(r"is in use by pid \d+; stop it or give another --home", said)

    spoilt = Home.open(tmp_path / "spoilt")
    spoilt.identity_path.write_bytes(b"no key")
    assert "restore it from a backup" in refusal(line(swarm, home=spoilt.root), Exit.HOME)


def test_a_port_in_use(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refusal(line(swarm, listen=f"/ip4/127.0.0.1/tcp/{port}"), Exit.NETWORK)
    assert re.search(rf"port {port} is in use .*choose another with --listen", said)


def test_a_peer_that_does_not_answer(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = f"/ip4/127.0.0.1/tcp/{port}/p2p/{Identity.generate().peer_id}"
    said = refusal(line(swarm, "--peer", gone), Exit.NETWORK)
    assert re.search(rf"no bootstrap peer answers, first {gone}: .*refused.*name another with --peer", said)
    said = refusal(line(swarm, "--peer", gone.partition("/p2p/")[0]), Exit.NETWORK)
    assert "append /p2p/ and the peer id" in said


def test_an_identity_that_runs_already(make_swarm: MakeSwarm) -> None:
    """Somebody copied a home. The one that runs goes on."""
    swarm = make_swarm()
    swarm.start("a")
    swarm.until_round(1)
    copy = Home.open(swarm.folder / "copy")
    shutil.copy(swarm.folder / "a" / "identity.key", copy.identity_path)
    peer = swarm.reachable("a").addresses[0]
    said = refusal(line(swarm, "--peer", peer, home=copy.root), Exit.NETWORK)
    assert re.search(r"12D3KooW\w+ is already running in this swarm; stop the other", said)
    swarm.go_on("a")


def test_training_that_diverges(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm({"inner.optimizer": "SGD", "inner.options.lr": 1e30, "inner.clip_norm": 0.0})
    assert re.search(r"(loss is|not finite).*lower inner.options.lr", refusal(line(swarm), Exit.FAILED))


def test_a_full_disk(make_swarm: MakeSwarm) -> None:
    """It ends with one line, and with space again it goes on as if nothing had happened."""
    swarm = make_swarm(rounds=12, inner_steps="1")
    home, saved = swarm.folder / "a", swarm.folder / "saved"
    home.mkdir()
    said = refusal(on_a_small_disk(home, saved, line(swarm, "--threads", "1")), Exit.DISK)
    assert re.search(r"no space left for \S+ .*what was saved before is kept", said)
    shutil.rmtree(home)
    saved.rename(home)
    before = set((home / "checkpoints").glob("*.safetensors"))
    assert before
    swarm.start("a")
    assert swarm.ended("a") == 0
    assert [done.state_digest for done in swarm.rounds("a").values()] == swarm.rehearsed("a")


def on_a_small_disk(home: Path, saved: Path, command: Sequence[str]) -> list[str]:
    """The command with a megabyte for the home; what is in it at the end is copied to `saved`.

    Where no file system can be mounted, every file is limited to 300 kB instead: a checkpoint, not more.
    """
    mount = f"mount -t tmpfs -o size=1000k tmpfs {home}"
    for space in (["unshare", "-m"], ["unshare", "-rm"]):
        if (
            shutil.which("unshare")
            and subprocess.run([*space, "sh", "-c", mount], check=False).returncode == 0
        ):
            break
    else:
        space, mount = [], "ulimit -S -f 600"
    run = f'{mount}; "$@"; code=$?; ulimit -S -f unlimited; cp -a {home} {saved}; exit $code'
    return [*space, "sh", "-c", run, "sh", *command]
