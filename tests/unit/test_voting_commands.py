"""`propose`, `vote`, `proposals` and `swarm show`: what is asked of the node, and what a person reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from dhtnode.amendments import Amendment, Setting
from dhtnode.control import Handler, control_server
from dhtnode.errors import ConfigError
from dhtnode.home import Home
from dhtnode.manifest import Manifest, terms_digest
from dhtnode.proposals import ProposalPart, Proposals
from dhtnode.records import sign
from dhtnode.store import Store, StoredRecord
from rewards.governance import Ballot
from rewards.heads import Heads
from rewards.stored import stored_terms
from tests.unit.commandline import Command, refusal
from tests.unit.parties import SWARM, certified, head_of, people, person, terms

OPEN = ProposalPart(
    id="3f" * 32,
    by=person(1).peer_id,
    round=640,
    changes={"inner.options.lr": "0.001", "round.rounds": "2000"},
    why="the loss [jumps]",
    state="open",
    effect=768,
    last=703,
    given=3_000_000,
    against=500_000,
    needed=4_000_000,
    total=6_000_000,
)
ADOPTED = msgspec.structs.replace(OPEN, id="ab" * 32, state="adopted", given=None, needed=None, total=None)


class Node:
    """A node that only answers on its socket."""

    def __init__(self, *proposals: ProposalPart) -> None:
        self.known = Proposals(round=650, own=1_500_000, proposals=proposals)
        self.asked: list[dict[str, str]] = []

    async def propose(self, **options: str) -> str:
        self.asked.append(options)
        return OPEN.id

    async def vote(self, **options: str) -> str:
        self.asked.append(options)
        if options["proposal"] == "00":
            raise ConfigError("no open proposal begins with '00'")
        return OPEN.id

    async def proposals(self) -> Proposals:
        return self.known

    @asynccontextmanager
    async def running(self, home: Home) -> AsyncIterator[None]:
        handlers: dict[str, Handler] = {
            "propose": self.propose,
            "vote": self.vote,
            "proposals": self.proposals,
        }
        async with control_server(home.control_path, handlers):
            yield


async def typed(dhtnode: Command, home: Home, node: Node, *words: str) -> list[str]:
    """What commands print while a node runs in their home."""
    async with node.running(home):
        return [(await asyncio.to_thread(dhtnode, words_, "--home home")).out for words_ in words]


async def test_a_proposal_reaches_the_node_as_typed(dhtnode: Command, home: Home) -> None:
    node = Node(OPEN)
    words = "propose inner.options.lr=0.001 round.rounds=2000 reduce.rule=mean --round 768 --why jumps"
    (out,) = await typed(dhtnode, home, node, words)
    changes = {"inner.options.lr": "0.001", "round.rounds": "2000", "reduce.rule": '"mean"'}
    assert json.loads(node.asked[0].pop("changes")) == changes
    assert node.asked == [{"effect": "768", "why": "jumps"}]
    assert "proposed: 3f3f3f3f3f3f, inner.options.lr = 0.001, round.rounds = 2000 from round 768 on" in out
    assert "'dhtnode vote 3f3f3f3f3f3f yes' in rounds up to 703" in out


async def test_a_vote_is_counted_back(dhtnode: Command, home: Home) -> None:
    node = Node(OPEN)
    (out,) = await typed(dhtnode, home, node, "vote 3f3f yes")
    assert node.asked == [{"proposal": "3f3f", "choice": "yes"}]
    assert "50.0% for, 8.3% against, 66.7% needed" in out


async def test_the_table_says_how_far_each_vote_is(dhtnode: Command, home: Home) -> None:
    blind = msgspec.structs.replace(OPEN, given=None, needed=None, total=None, fault="outer.size is no key")
    pages = await typed(dhtnode, home, Node(OPEN, ADOPTED), "proposals", "proposals --json")
    open_row, adopted_row = (line.split() for line in pages[0].splitlines()[1:3])
    assert open_row == ["3f" * 6, "open", "50.0%", "8.3%", "66.7%", "703", "768"]
    assert adopted_row == ["ab" * 6, "adopted", "768"]
    for words in ("1.500000 credits", "the loss [jumps]", "inner.options.lr = 0.001, round.rounds = 2000"):
        assert words in pages[0]
    assert json.loads(pages[1])["proposals"][1]["state"] == "adopted"
    (page,) = await typed(dhtnode, home, Node(blind), "proposals")
    assert page.splitlines()[1].split() == ["3f" * 6, "open", "703", "768"]
    assert "this dhtnode can't play by it: outer.size is no key" in page
    (page,) = await typed(dhtnode, home, Node(), "proposals")
    assert "the manifest holds as it was signed" in page


async def test_what_the_node_refuses_is_one_line(dhtnode: Command, home: Home) -> None:
    async with Node().running(home):
        refused = await asyncio.to_thread(dhtnode, "vote 00 no --home home")
    assert "no open proposal begins with '00'" in refusal(refused, 1)


@pytest.mark.parametrize("words", ["propose outer.lr=0.5", "vote 3f yes", "proposals"])
def test_without_a_node_there_is_nobody_to_sign(dhtnode: Command, home: Home, words: str) -> None:
    assert f"no node runs in {home.root}" in refusal(dhtnode(words, "--home home"), 1)


@pytest.mark.parametrize(
    "words",
    ["propose outer.lr", "propose outer.lr=1 outer.lr=2", "vote 3f maybe", "propose outer.lr=1 --round 0"],
)
def test_wrong_words_are_a_usage_error(dhtnode: Command, home: Home, words: str) -> None:
    assert dhtnode(words, "--home home").code == 2


# What is in force, from a home


@pytest.fixture
def amended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], Manifest]:
    """Makes a home whose node stands before a round, with an amendment that holds from round 9 on."""
    monkeypatch.setattr(Manifest, "swarm_id", SWARM)
    manifest = Manifest.create(msgspec.structs.replace(terms(), creator=person(0).peer_id), person(0))
    (tmp_path / "swarm.toml").write_text(manifest.dump())
    change = Setting(key="outer.lr", value="0.35")
    amendment = sign(person(0), SWARM, Amendment(round=1, effect=9, changes=(change,), why=""))
    ballot = sign(person(1), SWARM, Ballot(amendment=amendment.id, yes=True))

    def make(round_no: int) -> Manifest:
        home = Home.open(tmp_path / "home")
        home.claim(manifest)
        head = head_of(people(3), number=round_no, amendments=(amendment.id,))
        with Store.open(home.store_path) as store:
            for record in (amendment, ballot):
                stored = StoredRecord(record.id, record.body.KIND, 1, record.signer, record.wire)
                store.add_record(stored)
            Heads(store).adopt(certified(people(3), head))
        return manifest

    return make


@pytest.mark.parametrize(("round_no", "rate", "since"), [(8, 0.7, 0), (9, 0.35, 9)])
def test_swarm_show_tells_what_holds_now(
    dhtnode: Command, amended: Callable[[int], Manifest], round_no: int, rate: float, since: int
) -> None:
    manifest = amended(round_no)
    shown = json.loads(dhtnode("swarm show swarm.toml --home home --json").out)
    assert (shown["outer"]["lr"], shown["since_round"], len(shown["amendments"])) == (rate, since, 1)
    assert (shown["terms_digest"] == terms_digest(manifest.terms).hex()) is (since == 0)
    page = dhtnode("swarm show swarm.toml --home home").out
    assert ("since round 9" if since else "(the manifest's)") in page
    assert "(the manifest's)" in dhtnode("swarm show swarm.toml").out
    assert "no node of this swarm has run in" in refusal(dhtnode("swarm show swarm.toml --home none"), 5)


def test_why_explains_proposals_and_ballots(
    dhtnode: Command, amended: Callable[[int], Manifest], tmp_path: Path
) -> None:
    amended(9)
    with Store.open_reader(Home(tmp_path / "home").store_path) as store:
        ids = {kind: store.all_records(kind)[0].id.hex() for kind in (Amendment.KIND, Ballot.KIND)}
        assert stored_terms(store, Manifest.load(tmp_path / "swarm.toml")).since == 9
    page = dhtnode("why", ids["amendment"], "--home home").out
    assert "proposed outer.lr = 0.35 from round 9 on" in page
    assert "its signature is good" in page
    page = dhtnode("why", ids["ballot"], "--home home").out
    assert "voted yes" in page
    assert "a proposal" in page
