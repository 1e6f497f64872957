"""Peers that keep no rule: what they send is dropped and counted, and the others go on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dhtnode.home import data_cache
from dhtnode.identity import Identity
from tests.adversary.rubbish import REFUSED
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import Swarm
from tests.swarm.test_judging import cheating

HERE = Path(__file__).parent


@contextmanager
def stranger(swarm: Swarm, door: str) -> Iterator[tuple[str, str]]:
    """Runs stranger.py inside the block. Yields its peer id and address."""
    key, log = swarm.folder / "stranger.key", swarm.folder / "stranger.log"
    peer_id = Identity.load_or_create(key).peer_id
    command = [sys.executable, "-P", str(HERE / "stranger.py"), str(key), str(swarm.manifest_path), door]
    where = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}  # it is no node, so it is not forked with them
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=where) as process,
    ):
        try:
            address = swarm.until("the stranger is up", lambda: log.read_text().partition("\n")[0])
            assert address.startswith("/"), log.read_text()
            yield peer_id, address
            assert process.poll() is None, log.read_text()
        finally:
            process.kill()


def counted(swarm: Swarm, peer_id: str, names: str = "abc") -> set[str]:
    """Reasons for which some of these nodes have dropped what the peer sent."""
    statuses = [swarm.reachable(name) for name in names]
    return {reason for status in statuses for reason in status.rejected_by_peer.get(peer_id, {})}


def assert_unharmed(swarm: Swarm) -> None:
    """The honest nodes go on together, and nothing of it was an error of theirs."""
    swarm.go_on(*"abc")
    swarm.assert_identical(*"abc")
    for name in "abc":
        assert "Traceback" not in swarm.nodes[name].output.read_text()


def test_a_stranger_that_sends_rubbish_everywhere(make_swarm: MakeSwarm, tmp_path: Path) -> None:
    """And a newcomer that knows nobody else: it gets what it needs from the others all the same."""
    text = tmp_path / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 5000)
    swarm = make_swarm(min_peers=3, inner_steps="40", data=text)
    for name in "abc":
        swarm.start(name)
    swarm.until_round(2)
    shutil.rmtree(data_cache())
    expected = REFUSED | {"bad-part", "bad-round", "oversized-request"}
    with stranger(swarm, swarm.reachable("a").addresses[0]) as (peer_id, address):
        swarm.until(f"the stranger is caught at {expected}", lambda: counted(swarm, peer_id) >= expected)
        swarm.start("d", peer=address)
        swarm.until_round(swarm.go_on(*"abc"), "d")
    assert_unharmed(swarm)
    swarm.assert_identical(*"abcd")
    assert counted(swarm, peer_id) == expected
    # Whether it was asked for chunks at all is chance: test_net_chunks.py has what happens then.
    fetched = swarm.folder / "d" / "data" / str(swarm.manifest.terms.data.digest)
    assert fetched.read_bytes() == text.read_bytes()
    assert {peer for name in "abcd" for peer in swarm.reachable(name).rejected_by_peer} == {peer_id}


def test_a_member_that_cheats(make_swarm: MakeSwarm) -> None:
    """Scales that are no numbers, bytes it did not commit to, too few or none, too much weight; and one that
    tells new leaders of votes for nothing.

    Nobody audits here: what reaches arithmetic is checked without it, and the mole has to stay.
    """
    swarm = make_swarm({"audit.rate": 0}, min_peers=5)
    for name in "abc":
        swarm.start(name, "--log-level", "debug")
    mole = swarm.start("mole", command=cheating("mole"))
    swarm.start("liar", command=cheating("false-promiser"))
    peer_id, liar = (swarm.reachable(name).peer_id for name in ("mole", "liar"))
    expected = {"bad-part", "bad-result", "bad-commitment"}
    swarm.until(f"the mole is caught at {expected}", lambda: counted(swarm, peer_id) >= expected)
    told = {
        "scale is NaN or infinite",
        "is not what it committed to",
        "something else than its tokens",
        "nobody has the result of part",
    }
    log = swarm.nodes["a"].output
    swarm.until(f"a says {told}", lambda: all(words in log.read_text() for words in told))
    swarm.until("the liar is caught", lambda: counted(swarm, liar))
    assert mole.process.poll() is None, mole.output.read_text()
    assert_unharmed(swarm)
    assert counted(swarm, peer_id) == expected
    assert counted(swarm, liar) == {"bad-promise"}
    rounds = swarm.rounds("a").values()
    assert {4, 5} <= {done.members for done in rounds}, "its offences are left out, its honest work is not"
