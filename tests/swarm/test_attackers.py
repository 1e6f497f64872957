"""Attackers that come later, many at once: each is out for what it did, and none has a voice in it."""

from __future__ import annotations

from collections.abc import Iterable

from dhtnode.errors import Exit
from dhtnode.home import Home
from dhtnode.store import Store
from tests.adversary.attacks import ATTACKS
from tests.adversary.clocks import CLOCKS
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import Swarm
from tests.swarm.test_judging import cheating
from tests.swarm.test_votes import PROBATION, start_until_all_have_votes
from validation.cases import CASE, Case, open_case

HONEST = "abc"
JUDGE = "false-acquitter"
WORK = [*(ATTACKS.keys() - {"sign-flip"}), "dropped-samples", "copycat"]
"""Sign flip, label flip and fewer steps are in `test_judging`."""
CHARGES = (
    {JUDGE: {"acquittal", "audit"}}
    | {attack: {"work"} for attack in WORK}
    | {"equivocator": {"equivocation"}, "segment-accuser": {"accusation"}}
)
"""What they are out for. Who calls sound what it has not seen is guilty of either."""


def start(swarm: Swarm, kinds: Iterable[str]) -> dict[str, str]:
    """One cheat of each kind; their peer ids."""
    for kind in kinds:
        swarm.start(kind, command=cheating(kind))
    return {kind: swarm.reachable(kind).peer_id for kind in kinds}


def cases(swarm: Swarm, name: str) -> list[Case]:
    """What a node has put keys out for."""
    with Store.open_reader(Home(swarm.folder / name).store_path) as store:
        return [open_case(one.wire, swarm.manifest.swarm_id) for one in store.all_records(CASE)]


def test_three_with_votes_put_out_many(make_swarm: MakeSwarm) -> None:
    """The first judge comes first: it needs somebody to acquit. Who sends to some only is not out."""
    swarm = make_swarm(
        {"audit.segment": 2, "reputation.probation_rounds": PROBATION}, min_peers=len(HONEST), inner_steps="5"
    )
    start_until_all_have_votes(swarm, HONEST)
    peers = start(swarm, [JUDGE])
    swarm.until_each(
        HONEST,
        "has the judge in its roster",
        lambda name: (status := swarm.status(name)) and peers[JUDGE] in status.round.roster,
    )
    peers |= start(swarm, [kind for kind in CHARGES if kind != JUDGE])

    def is_out(kind: str) -> bool:
        statuses = [swarm.status(name) for name in HONEST]
        return all(status is not None and peers[kind] in status.audits.excluded for status in statuses)

    swarm.until_each(peers, "is out", is_out)
    swarm.until_members(*HONEST)
    for name in HONEST:
        assert set(swarm.reachable(name).audits.excluded) == set(peers.values()), "nobody else"
        for kind, peer in peers.items():
            charges = {case.charge for case in cases(swarm, name) if case.guilty == peer}
            assert charges, kind
            assert charges <= CHARGES[kind], kind
    for kind in peers:
        assert swarm.ended(kind) == Exit.FAILED

    begin = swarm.round_of("a")
    swarm.start("selective", command=cheating("selective-sender"))
    swarm.until_members(*HONEST, "selective")
    swarm.go_on(*HONEST, "selective")
    swarm.assert_identical(*HONEST, "selective")
    assert swarm.receipts("selective") == []
    assert all(swarm.receipts(name)[-1] > begin for name in HONEST)
    assert set(swarm.reachable("a").audits.excluded) == set(peers.values()), "a bad line looks just like that"


SKIPPED = 3
"""Audits that each honest node has seen the idle one draw and not do."""


def test_who_audits_nothing_is_seen_and_clocks_at_other_speeds_stop_nobody(make_swarm: MakeSwarm) -> None:
    """Any machine may be slow, or too busy to audit: nobody is out for that."""
    swarm = make_swarm({"audit.rate": 0.5}, min_peers=6, inner_steps="5")
    for name in HONEST:
        swarm.start(name)
    peers = start(swarm, ["idle-auditor", *CLOCKS])
    idle = peers["idle-auditor"]
    swarm.until_members(*HONEST, *peers)
    swarm.until_each(
        HONEST,
        "sees who audits nothing",
        lambda name: swarm.reachable(name).audits.skipped.get(idle, 0) >= SKIPPED,
    )
    swarm.go_on(*HONEST, *peers)
    for name in HONEST:
        status = swarm.reachable(name)
        assert not status.audits.excluded
        assert not status.rejected_by_peer
        skipped = status.audits.skipped
        assert skipped[idle] > sum(skipped.values()) / 2
    assert all(swarm.receipts(kind) for kind in CLOCKS), "their work is in time"
    slow, fast = (swarm.reachable(kind).uptime_s for kind in sorted(CLOCKS, key=CLOCKS.__getitem__))
    assert 2 * slow < fast, "of two that were started together"
    swarm.assert_identical()
