"""What a contributor sees of ledger and table: its account, trust both ways, and why they changed."""

from __future__ import annotations

import logging
from collections.abc import Container

from dhtnode.app.opinions import Opinions
from dhtnode.manifest import Terms
from dhtnode.reward import PPM
from dhtnode.status import OfMePart, ReputationPart, RewardsPart, TrustPart, WhyPart
from rewards.book import Book, FoldedAwayError
from rewards.entries import raw_key
from rewards.heads import Heads
from rewards.statement import WHY_ROUNDS, account_of, changes_of
from training.messages import WHOLE
from validation.reputation import Reputation
from validation.validator import Validator
from validation.voting import proposed

log = logging.getLogger(__name__)

WHY_KEPT = 20


class Page:
    """One node's.

    Args:
        terms: the swarm's.
        peer_id: own.
        book: the ledger.
        heads: the followed chain.
    """

    def __init__(self, terms: Terms, peer_id: str, book: Book, heads: Heads) -> None:
        self._terms = terms
        self._me = peer_id
        self._book = book
        self._heads = heads
        self._account: tuple[RewardsPart, list[WhyPart]] | None = None
        """Until something is booked."""

    def turn(self) -> None:
        """Something was booked: the account is not what it was."""
        self._account = None

    def rewards(self, number: int, booked: Container[int]) -> RewardsPart:
        """The node's own account when the newest head has this number, and these rounds have entries."""
        return self._fold(number, booked)[0]

    def why(self, table: Reputation, number: int, booked: Container[int]) -> tuple[WhyPart, ...]:
        """The last changes of own credits, and of trust in this node as its own table has it."""
        trust = [
            WhyPart(
                round=change.round_no,
                change=f"{change.delta_micro / PPM:+.6f} trust",
                cause=change.cause,
                record=change.record.hex(),
            )
            for change in table.why(self._me)
            if change.context == "work"
        ]
        both = sorted([*self._fold(number, booked)[1], *trust], key=lambda part: -part.round)
        return tuple(both[:WHY_KEPT])

    def reputation(self, validator: Validator, opinions: Opinions | None) -> ReputationPart:
        """Trust, in both directions."""
        table, section = validator.witness.table, self._terms.reputation
        can_replay = self._terms.data.mode == "shared" and self._terms.audit.rate > 0
        rows = []
        for peer, (trust, *_), bans, _ in table.table():
            opinion = table.opinion(peer)
            if peer == self._me or opinion is None:
                continue
            row = TrustPart(
                peer=peer,
                trust_ppm=trust,
                vote=proposed(0, opinion, section) / WHOLE,
                audit_rate=validator.rates.of("work", peer) if can_replay else 0.0,
                bans=bans,
                banned_until=opinion.banned_until or None,
            )
            rows.append(row)
        of_me = opinions.of_me() if opinions else OfMePart()
        return ReputationPart(of_me=of_me, table=tuple(rows))

    def _fold(self, number: int, booked: Container[int]) -> tuple[RewardsPart, list[WhyPart]]:
        """Done again when something was booked, from the last snapshot."""
        if self._account is None:
            key, followed = raw_key(self._me), self._heads.followed
            since = max(self._book.first_round, number - WHY_ROUNDS)
            try:
                ledger = self._book.ledger(followed, (key, since))
            except FoldedAwayError as error:  # the chain was left at a round that is not here any more
                log.warning("no balances: %s", error)
                return RewardsPart(missing_rounds=number), []
            missing = self._book.missing(followed, booked, number)
            self._account = account_of(ledger, key, number, missing), changes_of(ledger, number)
        return self._account
