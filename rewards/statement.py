"""A member's account in the words of the status document: the same for its own node and for an outsider."""

from __future__ import annotations

from dhtnode.reward import PPM
from dhtnode.status import RewardsPart, WhyPart
from rewards.accounts import TERMS
from rewards.ledger import Ledger
from rewards.ownership import shares_ppm

WHY_ROUNDS = 16
"""Rounds whose changes of credits are listed."""


def account_of(ledger: Ledger, key: bytes, number: int, missing_rounds: int) -> RewardsPart:
    """What a member has, as of a head.

    Args:
        ledger: everything booked.
        key: the member's raw public key.
        number: of the newest head.
        missing_rounds: closed rounds that are not in the ledger.
    """
    balances = {one.key: one for one in ledger.balances(max(number, ledger.next_round))}
    shares = shares_ppm({one.key: one.vested for one in balances.values() if one.vested})
    mine = balances.get(key)
    return RewardsPart(
        by_term=dict(zip(TERMS, mine.by_term if mine else (0,) * len(TERMS), strict=True)),
        vested=mine.vested if mine else 0,
        stake=mine.stake if mine else 0,
        ownership_ppm=shares.get(key, 0),
        missing_rounds=missing_rounds,
    )


def changes_of(ledger: Ledger, number: int) -> list[WhyPart]:
    """The last changes of the watched member's credits, the newest first."""
    return [
        WhyPart(
            round=change.round,
            change=f"{change.amount / PPM:+,.6f} credits",
            cause=change.reason,
            record=change.record.hex(),
        )
        for change in reversed(ledger.changes)
        if change.round >= number - WHY_ROUNDS
    ]
