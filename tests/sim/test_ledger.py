"""A simulated swarm's records become one ledger: what the real cores sign is what the ledger reads."""

from __future__ import annotations

import random
from typing import cast

import pytest

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed
from rewards.entries import Entry, EntrySet, raw_key
from rewards.evidence import (
    ClosedRound,
    case_entry,
    close_round,
    followed_chain,
    round_entries,
    verdict_entry,
)
from rewards.ledger import Ledger, rules_of
from rewards.ownership import ownership, verify
from rewards.snapshot import balances_digest
from tests.adversary.attacks import RightNorm
from tests.sim.model import SIZES, SWARM, WIRE
from tests.sim.seeds import seeds
from tests.sim.witness import Witness
from tests.sim.world import World
from training.chain import Certificate
from training.codec import chunk_bytes
from training.messages import Commitment, Result
from training.state import State
from validation.cases import Case
from validation.messages import Verdict

ROUNDS = 20
SEEDS = seeds(2)
BYTES_K = [chunk_bytes(elems, WIRE) for elems in SIZES]


class Archive(Witness):
    """A witness that keeps what it hears."""

    def __init__(self, swarm_id: bytes, dishonest: set[str]) -> None:
        super().__init__(swarm_id, dishonest)
        self.certificates: dict[bytes, Certificate] = {}
        self.commitments: dict[tuple[bytes, str], Signed[Commitment]] = {}
        self.results: dict[bytes, Signed[Result]] = {}
        self.verdicts_heard: dict[bytes, Signed[Verdict]] = {}
        self.all_cases: dict[bytes, Case] = {}

    def said(self, record: Signed[Body]) -> None:
        super().said(record)
        if isinstance(record.body, Commitment):
            one = cast("Signed[Commitment]", record)
            self.commitments[one.body.base, one.signer] = one
        elif isinstance(record.body, Result):
            self.results[record.id] = cast("Signed[Result]", record)

    def judged(self, verdict: Signed[Verdict]) -> None:
        super().judged(verdict)
        self.verdicts_heard[verdict.id] = verdict

    def convicted(self, case: Case) -> None:
        super().convicted(case)
        self.all_cases[case.id] = case

    def adopted(self, peer: str, life: int, certificate: Certificate, state: State) -> None:
        super().adopted(peer, life, certificate, state)
        self.certificates[certificate.id] = certificate

    def rounds(self, newest: bytes) -> dict[bytes, ClosedRound]:
        """All rounds of the chain that ends with a head, by their own heads."""
        followed = followed_chain(self.heads, newest)
        return {id_: self._closed(id_) for id_ in followed.values()}

    def _closed(self, id_: bytes) -> ClosedRound:
        head = self.heads[id_]
        commitments = [self.commitments[head.parent, peer] for peer in head.members]
        return close_round(self.certificates[id_], commitments, [self.results[one] for one in head.results])


def played(seed: int, loss: float = 0.0, cheats: bool = False) -> tuple[World, Archive, str | None]:
    """A swarm of five that has played all its rounds; with a cheat among them, from round 8 on."""
    world = World(seed, 5, ROUNDS)
    archive = Archive(SWARM, world.dishonest)
    world.witness = archive
    world.weather.loss = loss
    world.start()
    honest, liar = world.nodes, None
    if cheats:
        world.run_until(lambda: world.all_at(8), 200)
        liar = world.lie(1)
        liar.cheat = RightNorm()
        honest = [node for node in world.nodes if node is not liar]
    world.run_until(lambda: world.all_at(ROUNDS, honest), 2_000)
    return world, archive, liar.peer_id if liar else None


def entries(archive: Archive, rounds: dict[bytes, ClosedRound], world: World) -> list[bytes]:
    lines = [line for closed in rounds.values() for line in round_entries(closed, BYTES_K)]
    lines += paid_verdicts(archive, rounds)
    lines += map(case_entry, archive.all_cases.values())
    return [line.packed for line in lines]


def paid_verdicts(archive: Archive, rounds: dict[bytes, ClosedRound]) -> list[Entry]:
    """Of those that nodes took in; what earns nothing lacks a ticket of its own, and is the smaller part."""
    heard, paid, refused = archive.verdicts_heard, [], []
    for verdict in heard.values():
        closed = rounds.get(verdict.body.base)
        if closed is None or verdict.body.about == "reduction":
            continue
        target = closed.by_id.get(verdict.body.target) or heard[verdict.body.target]
        try:
            paid.append(verdict_entry(closed, verdict, target))
        except RemoteProtocolError as error:
            refused.append(error.detail)
    assert all("no ticket" in detail for detail in refused)
    assert len(refused) < len(paid)
    return paid


def newest(world: World) -> bytes:
    node = next(node for node in world.nodes if node.peer_id not in world.dishonest)
    assert node.head is not None
    return node.head.id


def ledger_of(packed: list[bytes], archive: Archive, world: World) -> Ledger:
    ledger = Ledger(rules_of(world.terms, parameters=10**9))
    followed = followed_chain(archive.heads, newest(world))
    ledger.fold(EntrySet(world.terms.reward.epoch_rounds, packed).packed, followed)
    return ledger


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_every_round_that_was_played_is_booked(seed: int, loss: float) -> None:
    world, archive, _ = played(seed, loss)
    rounds = archive.rounds(newest(world))
    assert sorted(closed.number for closed in rounds.values()) == list(range(ROUNDS))
    ledger = ledger_of(entries(archive, rounds, world), archive, world)
    assert set(ledger.accounts) <= {raw_key(peer) for peer in world.peers}
    for closed in rounds.values():
        accepted = {raw_key(closed.by_id[id_].signer) for id_ in closed.certificate.head.accepted}
        assert all(ledger.account(key).by_term[0] > 0 for key in accepted)
    assert sum(account.by_term[2] for account in ledger.accounts.values()) > 0, "nobody audited anybody"


@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_that_heard_different_parts_agree_once_they_have_merged(seed: int) -> None:
    world, archive, _ = played(seed, loss=0.1)
    packed = entries(archive, archive.rounds(newest(world)), world)
    chance = random.Random(seed)  # noqa: S311  repeatable
    halves = [EntrySet(64, chance.sample(packed, k=len(packed) * 2 // 3)) for _ in range(4)]
    one = halves[0].merged(halves[1]).merged(halves[2]).merged(halves[3])
    other = halves[3].merged(halves[1]).merged(halves[0]).merged(halves[2])
    assert one.root == other.root
    assert len({half.root for half in halves}) == 4, "they did hear different parts"
    ledgers = [ledger_of(list(some), archive, world) for some in (one, other)]
    assert balances_digest(ledgers[0]) == balances_digest(ledgers[1])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cheat_that_is_put_out_loses_its_stake(seed: int) -> None:
    world, archive, liar = played(seed, cheats=True)
    assert liar in archive.cases
    ledger = ledger_of(entries(archive, archive.rounds(newest(world)), world), archive, world)
    balances = {
        balance.key: balance for balance in ledger.balances(ROUNDS + world.terms.reward.vesting_rounds)
    }
    cheat = balances.pop(raw_key(liar))
    assert cheat.burned > 0
    assert cheat.vested == cheat.stake == 0
    assert cheat.forfeited > 0, "the false round itself"
    assert all(balance.burned == balance.forfeited == 0 for balance in balances.values())
    table = ownership([cheat, *balances.values()], SWARM, 100, newest(world))
    assert {row.key for row in table.rows} == set(balances)
    for key in balances:
        proof = table.prove(key)
        assert proof is not None
        assert verify(proof, table.root)
