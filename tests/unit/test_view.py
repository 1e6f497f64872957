"""What a person reads: private work has suspicion and no audits, an outsider's page only what it can know."""

from __future__ import annotations

import msgspec
from rich.console import Console

from dhtnode.cli.view import status_view
from dhtnode.reward import PPM
from dhtnode.status import (
    AccountPart,
    OutsidePart,
    PlausibilityPart,
    ReceiptsPart,
    ShownPart,
    Status,
    SuspicionPart,
    SwarmPart,
)

STATUS = Status(running=True, saved_at_s=1.0, version="0", swarm=SwarmPart(id="00", name="s"), peer_id="p")


def text_of(plausibility: PlausibilityPart | None) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(status_view(msgspec.structs.replace(STATUS, plausibility=plausibility)))
    return captured.get()


def test_work_that_can_be_replayed_shows_audits() -> None:
    text = text_of(None)
    assert "by this node 0 passed" in text
    assert "unverified" not in text
    assert "looks odd" not in text


def test_a_node_has_a_name_to_say_and_its_share_of_the_work() -> None:
    receipts = ReceiptsPart(rounds=3, tokens=300, share_ppm=125_000)
    console = Console(width=160)
    with console.capture() as captured:
        console.print(
            status_view(msgspec.structs.replace(STATUS, alias="calm-amber-otter", receipts=receipts))
        )
    text = captured.get()
    assert "calm-amber-otter" in text
    assert "3 rounds, 300 tokens, 12.5% of the swarm's" in text


def test_private_work_shows_who_looks_odd() -> None:
    peers = {"honest": SuspicionPart(parts=9), "cheat": SuspicionPart(parts=8, length=5, twin=1)}
    text = text_of(PlausibilityPart(peers=peers))
    assert "cheat (length 5, twin 1 of 8) (no proof of anything)" in text
    assert "data unverified" in text
    assert "passed" not in text
    assert "honest" not in text


def test_a_rising_loss_is_said_in_words() -> None:
    assert "nobody; the held-out loss has been rising for rounds" in text_of(PlausibilityPart(rising=True))


def test_an_outsider_s_page_leaves_out_what_only_the_node_knows() -> None:
    outside = OutsidePart(
        shown=(ShownPart(peer="liar", round=3, records=7, lacking_rounds=2, fault="bad-signature: vote"),),
        accounts=(AccountPart(peer="member", vested=1_500_000, stake=0, ownership_ppm=PPM),),
        entries_root="ab" * 32,
    )
    console = Console(width=160)
    with console.capture() as captured:
        console.print(status_view(msgspec.structs.replace(STATUS, running=False, outside=outside)))
    text = captured.get()
    assert "seen from outside, through 1 members; it has not answered" in text
    assert "bad-signature: vote" in text
    assert "abababababababab" in text
    assert "100.00%" in text
    for inside in ("tokens/s", "traffic", "home"):
        assert inside not in text
