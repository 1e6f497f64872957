"""A newcomer that finds no proof of work is let in by real nodes once a member has vouched for it.

What it does there is that member's risk.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dhtnode.errors import Exit
from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.reward import PPM
from dhtnode.status import Status, WhyPart
from dhtnode.store import Store
from rewards.accounts import Account
from rewards.book import PARAMETERS, Book
from rewards.entries import Kind, raw_key, unpacked
from rewards.heads import Heads
from rewards.ledger import rules_of
from tests.swarm.conftest import MakeSwarm
from tests.swarm.harness import RUN, Swarm
from tests.swarm.test_votes import vote

PENNILESS = (sys.executable, "-P", str(Path(__file__).with_name("penniless.py")))
EARLY = "abc"
PROBATION = 10
"""Rounds. Four members audit two of three rounds of a newcomer: it comes through ten once in 10^5 runs."""
BOND_MICRO = 2
SOON = {
    "reputation.probation_rounds": PROBATION,
    "reputation.half_vote_percent": 48,
    "reputation.full_vote_percent": 50,
    "reputation.entry_bits": 10,
    "reputation.voucher_micro": BOND_MICRO,
    "audit.rate": 0.5,
}
"""Whole votes after a few rounds, and bonds that little work is worth."""


def asked(swarm: Swarm, *words: str, node: str = "a") -> subprocess.CompletedProcess[str]:
    home = ["--home", str(swarm.folder / node)]
    return subprocess.run([*RUN, *words, *home], capture_output=True, text=True, check=False)


def reason(swarm: Swarm, name: str) -> str:
    status = swarm.status(name)
    return status.round.reason if status else ""


def account(swarm: Swarm, name: str, of: str) -> Account:
    """A member's, by the entries in a node's own store."""
    with Store.open_reader(Home(swarm.folder / name).store_path) as store:
        parameters = int.from_bytes(store.fact(PARAMETERS) or b"", "big")
        book = Book(store, rules_of(swarm.manifest.terms, parameters))
        return book.ledger(Heads(store).followed).account(raw_key(of))


def bonds(swarm: Swarm, name: str) -> set[bytes]:
    """The entries of a node that say that a bond was lost."""
    with Store.open_reader(Home(swarm.folder / name).store_path) as store:
        packed = store.entries(bytes(8), b"\xff" * 8)
        return {entry.packed for entry in unpacked(packed) if entry.kind == Kind.BOND}


def change_by(status: Status | None, record: str) -> WhyPart | None:
    """What a record has changed, by a node's own status."""
    return next((part for part in (status.why if status else ()) if part.record.startswith(record)), None)


def test_a_newcomer_is_let_in_by_a_members_word(make_swarm: MakeSwarm) -> None:
    swarm = make_swarm(SOON, min_peers=len(EARLY), inner_steps="5")
    for name in EARLY:
        swarm.start(name)
    answering = swarm.reachable("a").peer_id
    swarm.start("d", command=PENNILESS)
    late = swarm.reachable("d").peer_id
    swarm.until_each(EARLY, "sees a whole vote", lambda name: vote(swarm.status(name), answering) == 1)
    assert all(late not in swarm.reachable(name).round.roster for name in EARLY)
    swarm.until("d looks for a proof of work", lambda: "finding its proof of work" in reason(swarm, "d"))

    refused = asked(swarm, "vouch", late, "--bond", "1000000")
    assert refused.returncode == Exit.FAILED
    assert "its stake does not cover 1,000,000.000000 credits" in refused.stderr
    given = asked(swarm, "vouch", late)
    assert given.returncode == 0, given
    assert f"vouched for {late} with 0.000002 credits" in given.stdout
    swarm.until_members(*EARLY, "d")
    swarm.until("d looks no more", lambda: "proof of work" not in reason(swarm, "d"))
    record = given.stdout.split("record ")[1].split()[0]
    assert f"{answering} answered for {late}" in asked(swarm, "why", record, node="b").stdout
    again = asked(swarm, "vouch", late, node="b")
    assert again.returncode == Exit.FAILED
    assert f"{answering} answers for it already" in again.stderr or "needs nobody's word" in again.stderr

    swarm.until_each(EARLY, "sees a vote for d", lambda name: vote(swarm.status(name), late))
    swarm.until_each(
        EARLY,
        "sees that d has served its probation",
        lambda name: (status := swarm.status(name)) and not status.reputation.vouchers,
    )
    for name in "abcd":
        assert not swarm.reachable(name).rejected

    # The same member answers for another one, which cheats

    swarm.start("e", command=(*PENNILESS, "label-flip"))
    false = swarm.reachable("e").peer_id
    swarm.until("e looks for a proof of work", lambda: "finding its proof of work" in reason(swarm, "e"))
    assert not any(account(swarm, name, answering).stake.burned for name in "abcd")
    given = asked(swarm, "vouch", false)
    assert given.returncode == 0, given
    record = given.stdout.split("record ")[1].split()[0]
    lost = swarm.until("a says why it has lost a bond", lambda: change_by(swarm.status("a"), record))
    assert lost.change == f"-{BOND_MICRO / PPM:.6f} credits"
    assert lost.cause == f"it answered for a newcomer that was found false in round {lost.round}"
    swarm.until_each(
        "abcd",
        "puts the newcomer out",
        lambda name: (status := swarm.status(name)) and false in status.audits.excluded,
    )
    swarm.until_members(*"abcd")
    swarm.until_each("abcd", "has burned the bond", lambda name: bonds(swarm, name))
    swarm.until("all have the same", lambda: len({frozenset(bonds(swarm, name)) for name in "abcd"}) == 1)
    for name in "abcd":
        burned = {
            one: account(swarm, name, swarm.reachable(one).peer_id).stake.burned for one in (*EARLY, "d")
        }
        assert burned == {"a": BOND_MICRO, "b": 0, "c": 0, "d": 0}
        assert account(swarm, name, answering).lost == {raw_key(false)}
    shown = asked(swarm, "why", record, node="d").stdout
    assert f"{answering} answered for {false}" in shown
    assert "a bond of 2 micro-credits for a newcomer that was found false" in shown
    assert set(swarm.reachable("a").audits.excluded) == {false}, "who answered is no cheat"
    again = asked(swarm, "vouch", Identity.from_seed(bytes(32)).peer_id)
    assert again.returncode == Exit.FAILED
    assert "it has answered for a newcomer that was found false, and may vouch no more" in again.stderr
    swarm.go_on(*"abcd")
    swarm.assert_identical(*"abcd")
