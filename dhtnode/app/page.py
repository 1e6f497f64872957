"""What a contributor sees of ledger and table: its account, trust both ways, and why they changed."""

from __future__ import annotations

from dhtnode.app.balances import Balances
from dhtnode.app.opinions import Opinions
from dhtnode.app.vouching import voucher_part
from dhtnode.reward import PPM
from dhtnode.status import OfMePart, ReputationPart, RewardsPart, TrustPart, WhyPart
from training.in_force import TermsInForce
from training.messages import WHOLE
from validation.reputation import Reputation
from validation.validator import Validator
from validation.voting import proposed

WHY_KEPT = 20


class Page:
    """One node's.

    Args:
        in_force: the swarm's terms.
        peer_id: own.
        balances: what the ledger comes to.
    """

    def __init__(self, in_force: TermsInForce, peer_id: str, balances: Balances) -> None:
        self._in_force = in_force
        self._me = peer_id
        self._balances = balances

    def rewards(self) -> RewardsPart:
        """The node's own account."""
        return self._balances.account

    def why(self, table: Reputation) -> tuple[WhyPart, ...]:
        """The last changes of own credits, and of trust in this node as its own table has it.

        Losses are few, and not pushed out by what is earned in every round.
        """
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
        both = sorted([*self._balances.changes, *trust], key=lambda part: -part.round)
        losses_first = sorted(both, key=lambda part: not part.change.startswith("-"))
        return tuple(sorted(losses_first[:WHY_KEPT], key=lambda part: -part.round))

    def reputation(self, validator: Validator, opinions: Opinions | None) -> ReputationPart:
        """Trust, in both directions."""
        table, terms = validator.witness.table, self._in_force.now
        can_replay = terms.data.mode == "shared" and terms.audit.rate > 0
        open_rounds = terms.reputation.open_rounds
        vouchers = [voucher_part(one, open_rounds) for one in validator.vouchers.open]
        answers = {one.newcomer: one for one in vouchers}
        rows = []
        for peer, (trust, *_), bans, _ in table.table():
            opinion = table.opinion(peer)
            if peer == self._me or opinion is None:
                continue
            row = TrustPart(
                peer=peer,
                trust_ppm=trust,
                vote=proposed(0, opinion, terms.reputation) / WHOLE,
                audit_rate=validator.rates.of("work", peer) if can_replay else 0.0,
                bans=bans,
                banned_until=opinion.banned_until or None,
                vouched_by=answers[peer].by if peer in answers else None,
            )
            rows.append(row)
        of_me = opinions.of_me() if opinions else OfMePart()
        return ReputationPart(of_me=of_me, table=tuple(rows), vouchers=tuple(vouchers))
