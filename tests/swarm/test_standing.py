"""Standing in real processes: one ledger everywhere, a status that explains itself, exports for others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dhtnode.errors import Exit
from dhtnode.home import Home
from dhtnode.store import Store
from rewards.accounts import Balance
from rewards.book import PARAMETERS, Book
from rewards.heads import Heads
from rewards.ledger import rules_of
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import RUN, Swarm

EPOCH = 4
NAMES = "abc"


def dhtnode(swarm: Swarm, *words: str, node: str | None = "a") -> subprocess.CompletedProcess[str]:
    home = ["--home", str(swarm.folder / node)] if node else []
    return subprocess.run([*RUN, *words, *home], capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stderr


def ledger(swarm: Swarm, name: str, epoch: int = 0) -> tuple[bytes, list[Balance]]:
    """Root of the entries up to the end of an epoch, and all balances then, from a node's own store."""
    with Store.open_reader(Home(swarm.folder / name).store_path) as store:
        parameters = int.from_bytes(store.fact(PARAMETERS) or b"", "big")
        book = Book(store, rules_of(swarm.manifest.terms, parameters))
        folded = book.ledger(Heads(store).followed, last_epoch=epoch)
        return book.root(epoch), folded.balances((epoch + 1) * EPOCH)


def damaged(file: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    document = json.loads(file.read_text())
    change(document)
    other = file.with_name("damaged.json")
    other.write_text(json.dumps(document))
    return other


def test_everybody_has_the_same_ledger_and_can_explain_it(make_swarm: MakeSwarm, tmp_path: Path) -> None:
    signers = [Home.open(tmp_path / name).identity().peer_id for name in "ab"]
    swarm = make_swarm(
        {
            "reward.epoch_rounds": EPOCH,
            "reward.vesting_rounds": 2,
            "audit.rate": 0.5,
            "reward.export_keys": json.dumps(signers),
            "reward.export_quorum": 2,
        },
        min_peers=3,
        inner_steps="5",
    )
    for name in "ab":
        (tmp_path / name).rename(swarm.folder / name)
    for name in NAMES:
        swarm.start(name)
    swarm.until_round(2 * EPOCH, *NAMES)
    swarm.until(
        "all nodes hold the same entries of the first epoch",
        lambda: len({ledger(swarm, name)[0] for name in NAMES}) == 1,
    )
    balances = {name: ledger(swarm, name)[1] for name in NAMES}
    assert balances["a"] == balances["b"] == balances["c"]
    assert len(balances["a"]) == len(NAMES)

    # The contributor's page

    swarm.until("b is told what the others think of it", lambda: _observers(swarm, "b") == len(NAMES) - 1)
    status = swarm.reachable("b")
    assert status.rewards.vested > 0
    assert status.rewards.stake > 0
    assert status.rewards.missing_rounds == 0
    assert 0 < status.rewards.ownership_ppm < 1_000_000
    of_me = status.reputation.of_me
    assert of_me.median is not None
    assert of_me.lowest is not None
    assert 200_000 < of_me.lowest <= of_me.median
    others = {swarm.reachable(name).peer_id for name in "ac"}
    assert {row.peer for row in status.reputation.table} == others
    page = said(dhtnode(swarm, "status", node="b"))
    assert "trust in me" in page
    assert "credits" in page
    listed = json.loads(said(dhtnode(swarm, "peers", "--sort", "trust", "--json", node="b")))
    assert {row["peer"] for row in listed} == others

    # Each change has a record; of each kind of change one is looked at, and is good

    assert all(part.record for part in status.why)
    assert any("work" in part.cause for part in status.why)
    for record in {part.cause.rpartition(": ")[2]: part.record for part in status.why}.values():
        assert "signature" in said(dhtnode(swarm, "why", record, node="b"))
    assert "no record" in said(dhtnode(swarm, "why", "00" * 16, node="b"), Exit.USAGE)

    # An epoch as a file, signed by two nodes that have each folded the ledger, checked by a third party

    file = tmp_path / "epoch.json"
    export = ("ledger", "export", "--format", "json", "--epoch", "0", "--out", str(file), "--sign")
    verify = ("ledger", "verify", str(file), str(swarm.manifest_path))
    said(dhtnode(swarm, *export, node="a"))
    assert "1 good signature" in said(dhtnode(swarm, *verify, node=None), Exit.FAILED)
    said(dhtnode(swarm, *export, node="b"))
    assert "2 of its 2 keys" in said(dhtnode(swarm, *verify, node=None))
    richer = damaged(file, lambda document: document["lines"][0].update(vested=10**12))
    refused = dhtnode(swarm, "ledger", "verify", str(richer), str(swarm.manifest_path), node=None)
    assert len(said(refused, Exit.FAILED).splitlines()) == 1

    # All of it without a running node

    swarm.stop()
    assert ledger(swarm, "b") == ledger(swarm, "a")
    offline = json.loads(said(dhtnode(swarm, "status", "--json", node="b")))
    assert offline["running"] is False
    assert offline["rewards"]["vested"] > 0
    assert offline["reputation"]["of_me"]["observers"] == len(NAMES) - 1
    assert offline["why"]

    # A share as a file, by one node, checked by whoever trusts another: who is behind has a round
    # that both have kept. A checkpoint has the shares as its node knew them then, maybe without a verdict.

    for _ in range(3):
        shown = _borne_out(swarm, "a", "b") or _borne_out(swarm, "b", "a")
        if shown:
            break
        for name in NAMES:
            swarm.start(name)
        swarm.go_on(*NAMES)
        swarm.stop()
    peers = [Home(swarm.folder / name).identity().peer_id for name in "ab"]
    assert any(f"{peer} owns" in shown for peer in peers), shown


def test_who_comes_back_after_a_kill_books_what_it_has_missed(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm({"reward.epoch_rounds": EPOCH, "audit.rate": 0.5}, min_peers=2, inner_steps="5")
    for name in NAMES:
        swarm.start(name)
    swarm.until_members(*NAMES)
    swarm.go_on(*NAMES)
    before = swarm.reachable("c")
    swarm.kill("c")
    swarm.go_on("a", "b", rounds=EPOCH)
    swarm.start("c")
    swarm.until_members(*NAMES)
    there = swarm.go_on(*NAMES, rounds=3)
    swarm.until_round((there // EPOCH + 1) * EPOCH, *NAMES)
    swarm.until(
        "all nodes have the same ledger, rounds in which c was dead included",
        lambda: len({ledger(swarm, name, there // EPOCH)[0] for name in NAMES}) == 1,
    )
    balances = {name: ledger(swarm, name, there // EPOCH)[1] for name in NAMES}
    assert balances["a"] == balances["b"] == balances["c"]
    after = swarm.reachable("c")
    assert after.rewards.by_term["compute"] > before.rewards.by_term["compute"], "what it had, and more"
    assert after.rewards.missing_rounds == 0
    assert {row.peer for row in before.reputation.table} <= {row.peer for row in after.reputation.table}
    assert not any(swarm.reachable(name).rejected for name in NAMES)


def _observers(swarm: Swarm, name: str) -> int:
    status = swarm.status(name)
    return status.reputation.of_me.observers if status else 0


def _borne_out(swarm: Swarm, prover: str, trusted: str) -> str:
    """What is said of one node's share under a checkpoint of another; empty if that has none of its round."""
    share = str(swarm.folder / f"{prover}.share")
    assert said(dhtnode(swarm, "ledger", "prove", "--out", share, node=prover))
    for checkpoint in Home(swarm.folder / trusted).checkpoints.glob("*.safetensors"):
        verify = ("ledger", "verify", share, str(swarm.manifest_path), "--checkpoint", str(checkpoint))
        done = dhtnode(swarm, *verify, node=None)
        if done.returncode == Exit.OK:
            return done.stdout
    return ""
