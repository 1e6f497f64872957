"""`dhtnode vouch`: what reaches the node, and what a person reads of vouchers afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from dhtnode.cli.view import status_view, trust_table
from dhtnode.control import control_server
from dhtnode.errors import ConfigError
from dhtnode.home import Home
from dhtnode.manifest import Manifest
from dhtnode.status import ReputationPart, Status, SwarmPart, TrustPart, VoucherPart
from dhtnode.store import Store
from tests.unit.commandline import Command, refusal
from tests.unit.parties import SWARM, person
from tests.unit.test_bonds import ANSWERING, HISTORY, NEWCOMER, TERMS, Node, false_in, voucher

ME, OTHER = person(1).peer_id, person(2).peer_id
MADE = VoucherPart(id="3f" * 32, newcomer=OTHER, by=ME, bond=2_500_000, round=7, until=519)
STATUS = Status(
    running=True,
    saved_at_s=1.0,
    version="0",
    swarm=SwarmPart(id="00", name="s"),
    peer_id=ME,
    reputation=ReputationPart(
        table=(TrustPart(peer=OTHER, trust_ppm=200_000, vote=0.0, audit_rate=1.0, vouched_by=ME),),
        vouchers=(MADE,),
    ),
)


class Listening:
    """A node that only answers on its socket."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    async def vouch(self, **options: str) -> VoucherPart:
        self.asked.append(options)
        if options["newcomer"] == ME:
            raise ConfigError("that is this node's own key; ask another member to answer for it")
        return MADE

    @asynccontextmanager
    async def running(self, home: Home) -> AsyncIterator[None]:
        async with control_server(home.control_path, {"vouch": self.vouch}):
            yield


@pytest.mark.parametrize(("typed", "micro"), [("", ""), ("--bond 2.5", "2500000"), ("--bond 1e-6", "1")])
async def test_a_voucher_reaches_the_node_as_typed(
    dhtnode: Command, home: Home, typed: str, micro: str
) -> None:
    node = Listening()
    async with node.running(home):
        page = await asyncio.to_thread(dhtnode, f"vouch {OTHER} {typed} --home home")
    assert node.asked == [{"newcomer": OTHER, "bond": micro}]
    assert f"vouched for {OTHER} with 2.500000 credits, record 3f3f3f3f3f3f" in page.out
    assert "no proof of work up to round 518" in page.out
    assert "may vouch no more" in page.out


async def test_what_the_node_refuses_is_one_line(dhtnode: Command, home: Home) -> None:
    async with Listening().running(home):
        refused = await asyncio.to_thread(dhtnode, f"vouch {ME} --home home")
    assert "ask another member to answer for it" in refusal(refused, 1)


def test_without_a_node_there_is_nobody_to_sign(dhtnode: Command, home: Home) -> None:
    assert "start it with 'dhtnode run'" in refusal(dhtnode(f"vouch {OTHER} --home home"), 1)


@pytest.mark.parametrize("bond", ["some", "0", "-1", "0.0000001", "nan", "inf", "1e30"])
def test_a_bond_is_a_number_of_credits(dhtnode: Command, home: Home, bond: str) -> None:
    assert "for example 1.5" in refusal(dhtnode(f"vouch {OTHER} --bond={bond} --home home"), 2)


def page_of(status: Status) -> str:
    console = Console(width=240)
    with console.capture() as captured:
        console.print(status_view(status))
    return captured.get()


def test_both_sides_see_the_voucher_in_their_status() -> None:
    assert f"this node answers for {OTHER} with 2.500000 credits" in page_of(STATUS)
    theirs = msgspec.structs.replace(STATUS, peer_id=OTHER)
    assert f"{ME} answers for this node with 2.500000 credits" in page_of(theirs)
    nobodys = msgspec.structs.replace(STATUS, peer_id=person(3).peer_id)
    assert "answers for" not in page_of(nobodys)


def test_peers_names_who_answers_for_whom() -> None:
    table = trust_table(STATUS, STATUS.reputation.table, wide=True)
    assert [column.header for column in table.columns][-1] == "vouched by"
    without = [msgspec.structs.replace(row, vouched_by=None) for row in STATUS.reputation.table]
    assert "vouched by" not in [column.header for column in trust_table(STATUS, without, wide=True).columns]


def test_why_explains_a_voucher_and_what_became_of_it(
    dhtnode: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Manifest, "swarm_id", SWARM)
    home = Home.open(tmp_path / "home")
    home.claim(Manifest.create(msgspec.structs.replace(TERMS, creator=person(0).peer_id), person(0)))
    with Store.open(home.store_path) as store:
        Node(store).go(*HISTORY[:6]).hear(voucher(), false_in(4))
    page = dhtnode("why", voucher().id.hex(), "--home home").out
    assert f"{ANSWERING.peer_id} answered for {NEWCOMER.peer_id} with 7 micro-credits" in page
    assert "its signature is good" in page
    assert "round 4, a bond of 7 micro-credits for a newcomer that was found false" in page
