"""What a person reads about private work: no audits, and suspicion that says that it is none but that."""

from __future__ import annotations

import msgspec
from rich.console import Console

from dhtnode.cli.view import status_view
from dhtnode.status import PlausibilityPart, Status, SuspicionPart, SwarmPart

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


def test_private_work_shows_who_looks_odd() -> None:
    peers = {"honest": SuspicionPart(parts=9), "cheat": SuspicionPart(parts=8, length=5, twin=1)}
    text = text_of(PlausibilityPart(peers=peers))
    assert "cheat (length 5, twin 1 of 8) (no proof of anything)" in text
    assert "data unverified" in text
    assert "passed" not in text
    assert "honest" not in text


def test_a_rising_loss_is_said_in_words() -> None:
    assert "nobody; the held-out loss has been rising for rounds" in text_of(PlausibilityPart(rising=True))
