"""Standing from outside: an observer's page, made of evidence alone, against the node's own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dhtnode.errors import Exit
from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.net.daemon import DaemonConfig
from dhtnode.net.network import Network, NetworkConfig
from dhtnode.net.streams import RefusedError
from dhtnode.records import canonical, sign
from dhtnode.store import Store
from rewards.book import PARAMETERS, Book
from rewards.disclosure import ENDPOINT, MAX_QUESTION_BYTES
from rewards.heads import HEAD
from rewards.ledger import rules_of
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import LOOPBACK, Swarm
from training.sync import MAX_SYNC_BYTES
from validation.appraisal import Appraisal, lower_median
from validation.messages import Verdict

OBSERVER = (sys.executable, "-P", "-m", "dhtnode.observer")
ROUNDS = 8
SETTINGS: dict[str, object] = {"reward.epoch_rounds": 4, "reward.vesting_rounds": 3, "audit.rate": 0.5}
NOBODY = Identity.from_seed(bytes(32)).peer_id

Page = dict[str, Any]


def observer(swarm: Swarm, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*OBSERVER, str(swarm.manifest_path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def doors(swarm: Swarm, names: str) -> list[str]:
    return [word for name in names for word in ("--peer", swarm.reachable(name).addresses[0])]


def page(swarm: Swarm, *options: str) -> Page:
    """As an outsider sees it."""
    done = observer(swarm, "--json", *options)
    assert done.returncode == Exit.OK, f"{done.stderr}\n{swarm.describe()}"
    document: Page = json.loads(done.stdout)
    return document


def own(swarm: Swarm, name: str) -> Page:
    """The node's own."""
    document: Page = json.loads(swarm.reachable(name).encode())
    return document


def facts(document: Page) -> Page:
    """What both can know, but for what others think: a node asks that every half minute."""
    audits, rounds = document["audits"], document["round"]
    return {
        **{name: document[name] for name in ("schema", "swarm", "terms", "alias", "peer_id")},
        **{name: document[name] for name in ("receipts", "rewards", "branch")},
        "audits": {name: audits[name] for name in ("of_me", "by_me", "excluded")},
        "round": {name: rounds[name] for name in ("number", "total", "state_digest", "roster", "votes")},
        "training": {name: document["training"][name] for name in ("task", "parameters")},
    }


def credit_changes(document: Page) -> list[Page]:
    return [part for part in document["why"] if part["change"].endswith("credits")]


def trust_of_others(swarm: Swarm, names: str, key: str) -> list[int]:
    """As the others' own tables have it."""
    tables = [own(swarm, name)["reputation"]["table"] for name in names]
    return [row["trust_ppm"] for table in tables for row in table if row["peer"] == key]


def held(swarm: Swarm, name: str) -> tuple[str, set[bytes]]:
    """Root of a node's entries, and the verdicts that it has."""
    with Store.open_reader(Home(swarm.folder / name).store_path) as store:
        parameters = int.from_bytes(store.fact(PARAMETERS) or b"", "big")
        root = Book(store, rules_of(swarm.manifest.terms, parameters)).root().hex()
        return root, {record.id for record in store.all_records(Verdict.KIND)}


def at_rest(swarm: Swarm, names: str) -> tuple[str, set[bytes]] | None:
    """What all nodes hold, once they hold the same."""
    first, *others = [held(swarm, name) for name in names]
    return first if all(other == first for other in others) else None


def both(swarm: Swarm, name: str, names: str, *through: str) -> tuple[Page, Page]:
    """A node's own page and an outsider's, read while nobody learned anything new."""
    while True:
        before = swarm.until("all hold the same", lambda: at_rest(swarm, names))
        mine = own(swarm, name)
        seen = page(swarm, *through, "--key", mine["peer_id"])
        if at_rest(swarm, names) == before:
            return mine, seen


def test_an_outsider_comes_to_the_same_page_as_the_node_itself(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm(SETTINGS, rounds=ROUNDS, min_peers=3, inner_steps="5")
    for name in "abc":
        swarm.start(name, "--stay")
    swarm.until_round(ROUNDS)
    for name in "ac":
        mine, seen = both(swarm, name, "abc", *doors(swarm, "abc"))
        assert facts(seen) == facts(mine)
        assert seen.keys() == mine.keys()
        assert credit_changes(seen)[: len(credit_changes(mine))] == credit_changes(mine)
        trust = trust_of_others(swarm, "abc", mine["peer_id"])
        of_me = {"median": lower_median(trust), "lowest": min(trust), "observers": 2}
        assert seen["reputation"]["of_me"] == of_me
        assert seen["outside"]["entries_root"] == held(swarm, name)[0]
        assert seen["training"]["utilisation"] is None
        assert seen["audits"]["of_me"]["passed"] > 0
        assert mine["rewards"]["vested"] > 0
    through_a = observer(swarm, *doors(swarm, "a"))
    assert through_a.returncode == Exit.OK
    assert own(swarm, "a")["peer_id"] in through_a.stdout
    assert "seen from outside" in through_a.stdout


# Members that lie


@asynccontextmanager
async def liar(swarm: Swarm, key: Path, certificate: bytes, evidence: list[bytes]) -> AsyncIterator[str]:
    """Somebody who stands on the swarm's true head and shows this evidence when asked again; its address."""
    me = Identity.load_or_create(key)
    asked = 0
    daemon = DaemonConfig(key, listen=(LOOPBACK,), relay=False, autonat=False, nat_port_map=False)
    network = await Network.start(NetworkConfig(swarm.manifest.swarm_id, daemon, check_instance=False))

    async def stands(_: str, __: bytes) -> bytes:
        return canonical({"certificate": certificate, "records": [], "since": 0, "root": bytes(32)})

    async def shows(_: str, __: bytes) -> bytes:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RefusedError("come again")
        return canonical({"records": evidence, "next": None})

    async def thinks(_: str, __: bytes) -> bytes:
        return sign(me, swarm.manifest.swarm_id, Appraisal(round=1, about=me.peer_id, trust=0)).wire

    try:
        await network.on_request("sync", MAX_SYNC_BYTES, stands)
        await network.on_request(ENDPOINT, MAX_QUESTION_BYTES, shows)
        await network.on_request("standing", 64, thinks)
        yield network.addresses()[0]
    finally:
        await network.stop()


async def test_who_shows_forged_or_fewer_records_is_named_and_changes_nothing(
    make_swarm: MakeSwarm, tmp_path: Path
) -> None:
    swarm = make_swarm(SETTINGS, rounds=4, min_peers=2, inner_steps="5")
    for name in "ab":
        swarm.start(name, "--stay")
    swarm.until_round(4)
    with Store.open_reader(Home(swarm.folder / "a").store_path) as store:
        certificate = store.records(HEAD, 4)[0].wire
        verdict = store.all_records(Verdict.KIND)[0].wire
    forged = verdict[:-1] + bytes([verdict[-1] ^ 1])
    async with (
        liar(swarm, tmp_path / "forger", certificate, [forged]) as forger,
        liar(swarm, tmp_path / "miser", certificate, []) as miser,
    ):
        through = ("--peer", forger, "--peer", miser, *doors(swarm, "ab"))
        mine, seen = await asyncio.to_thread(both, swarm, "b", "ab", *through)
        alone = await asyncio.to_thread(observer, swarm, "--peer", miser)
        unknown = await asyncio.to_thread(observer, swarm, *doors(swarm, "a"), "--key", NOBODY)
    assert facts(seen) == facts(mine)
    shown = {part["peer"]: part for part in seen["outside"]["shown"]}
    by_forger, by_miser = shown[forger.rpartition("/")[2]], shown[miser.rpartition("/")[2]]
    assert by_forger["fault"].startswith("bad-signature")
    assert any(forger.rpartition("/")[2] in notice for notice in seen["notices"])
    assert seen["rejected_by_peer"][by_forger["peer"]] == {"bad-signature": 1, "bad-appraisal": 1}
    assert (by_miser["lacking_rounds"], by_miser["fault"]) == (4, "")
    assert seen["reputation"]["of_me"]["observers"] == 1, "a's word, not the liars'"
    for done, why in ((alone, "where a member stands can't be told"), (unknown, f"names {NOBODY}")):
        assert done.returncode == Exit.FAILED
        assert done.stderr.count("\n") == 1
        assert why in done.stderr
