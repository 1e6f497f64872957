"""Members that spoil the ledger: nobody's balance follows from what they made up, and no node grows by it."""

from __future__ import annotations

import psutil

from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import Swarm
from tests.swarm.test_judging import cheating
from tests.swarm.test_standing import EPOCH, ledger

HONEST = "abc"
GROWTH = 50_000_000
"""Bytes that a node may take more than before the flood."""
ROUNDS = 12


def counted(swarm: Swarm, name: str, peer: str) -> set[str]:
    """Reasons for which a node has dropped what a peer sent."""
    status = swarm.status(name)
    return set(status.rejected_by_peer.get(peer, {})) if status else set()


def resident(swarm: Swarm, name: str) -> int:
    """Bytes of a node's processes, its daemon included."""
    process = psutil.Process(swarm.nodes[name].process.pid)
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


def test_forged_and_repeated_records_change_nobodys_balance(make_swarm: MakeSwarm) -> None:
    """A member repeats others' commitments, forges them, and shows forged rounds to who was away."""
    swarm = make_swarm({"reward.epoch_rounds": EPOCH, "audit.rate": 0.5}, min_peers=4, inner_steps="5")
    for name in HONEST:
        swarm.start(name)
    swarm.start("x", command=cheating("forger"))
    forger = swarm.reachable("x").peer_id
    swarm.until_each(
        HONEST, "has caught the forger", lambda name: "bad-signature" in counted(swarm, name, forger)
    )
    swarm.until_members(*HONEST, "x")
    swarm.go_on(*HONEST)
    swarm.kill("c")
    swarm.go_on("a", "b", rounds=EPOCH)
    swarm.until("x has all rounds", lambda: not swarm.reachable("x").rewards.missing_rounds)
    with swarm.halted("a", "b"):  # so c can ask nobody but x
        swarm.start("c", peer=swarm.reachable("x").addresses[0])
        swarm.until("c has refused forged rounds", lambda: "bad-round" in counted(swarm, "c", forger))
    there = swarm.go_on(*HONEST, rounds=3)
    epoch = there // EPOCH
    swarm.until_round((epoch + 1) * EPOCH, *HONEST)
    swarm.until(
        "the honest have one ledger", lambda: len({ledger(swarm, name, epoch)[0] for name in HONEST}) == 1
    )
    balances = [ledger(swarm, name, epoch)[1] for name in HONEST]
    assert balances[0] == balances[1] == balances[2]
    paid = [sum(balance.by_term) for balance in balances[0]]
    assert len(paid) == 4
    assert min(paid) > 0
    assert max(paid) < 1_000_000, "a thousand million tokens would be 170 times that"
    for name in HONEST:
        status = swarm.reachable(name)
        assert set(status.rejected_by_peer) == {forger}, "whose name was used is not blamed"
        assert not status.audits.excluded
    swarm.assert_identical(*HONEST)


def test_a_flood_of_useless_records_leaves_memory_as_it_was(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm(min_peers=4, inner_steps="5")
    for name in HONEST:
        swarm.start(name)
    swarm.start("x", command=cheating("flooder"))
    flooder = swarm.reachable("x").peer_id
    swarm.until_members(*HONEST, "x")
    swarm.go_on(*HONEST, rounds=ROUNDS)
    before = {name: resident(swarm, name) for name in HONEST}
    (swarm.folder / "x" / "flood").touch()
    swarm.until_each(HONEST, "is flooded", lambda name: "flood" in counted(swarm, name, flooder))
    swarm.go_on(*HONEST, rounds=ROUNDS)
    grown = {name: resident(swarm, name) - before[name] for name in HONEST}
    assert max(grown.values()) < GROWTH, grown
    swarm.assert_identical(*HONEST)
    for name in HONEST:
        assert "Traceback" not in swarm.nodes[name].output.read_text()
