"""What the booked entries come to, by the terms of each round: accounts, shares, and what votes weigh.

All is worked out when somebody asks, from the ledger's last snapshot, and kept until something is booked.
What lies before the rounds that are folded away can't be told any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from dhtnode.records import Signed
from dhtnode.status import RewardsPart, WhyPart
from dhtnode.store import Store
from rewards.accounts import Account, Balance
from rewards.book import Book, FoldedAwayError
from rewards.data import Claim, Registration, register, training_chunks
from rewards.entries import Entry, Kind, raw_key
from rewards.heads import Heads
from rewards.ledger import Rules, rules_in_force
from rewards.ownership import noted, ownership
from rewards.statement import WHY_ROUNDS, account_of, changes_of
from training.chain import Certificate
from training.in_force import TermsInForce

log = logging.getLogger(__name__)


class Balances:
    """One node's.

    Args:
        store: the node's, used from the event loop's thread only.
        in_force: the swarm's terms, round by round.
        swarm_id: it is in each row of the table of shares.
        parameters: of the model.
        peer_id: own.
        heads: the followed chain.
    """

    def __init__(
        self,
        store: Store,
        in_force: TermsInForce,
        swarm_id: bytes,
        parameters: int,
        peer_id: str,
        heads: Heads,
    ) -> None:
        self.number = 0
        """Of the newest head."""
        self.booked: set[int] = set()
        """Rounds that have entries."""
        self._store = store
        self._in_force = in_force
        self._swarm_id = swarm_id
        self._parameters = parameters
        self._key = raw_key(peer_id)
        self._heads = heads
        self._shards: tuple[Signed[Registration], ...] = ()
        self._sums: tuple[RewardsPart, list[WhyPart], list[Balance], Mapping[bytes, Account]] | None = None
        """Until something is booked."""
        self._vested: dict[int, Mapping[bytes, int] | None] = {}
        """The same, by round."""
        self._amended: tuple[tuple[bytes, ...], tuple[int, ...]] = (), ()
        """What the rules are made of: what was adopted, and the rounds in which it has changed something."""
        self.book = Book(store, self._made_rules())
        self.look_again()

    # What changes them

    def stand_on(self, number: int) -> None:
        """The newest head has this number."""
        self.number = number
        amended = self._amended
        self._amended = self._in_force.adopted, self._in_force.changes(number - 1)
        if self._amended != amended:
            self.book.rules = self._made_rules()
        self.turn()

    def registered(self, shards: Iterable[Signed[Registration]], new: Sequence[Entry]) -> None:
        """These are registered; `new`: the entries of those that may not be booked yet."""
        self._shards = tuple(shards)
        self.book.rules = self._made_rules()
        if new:
            self.book.add(entry.packed for entry in new)
            self.book.work_out_again(min(entry.round for entry in new))
        self.turn()

    def look_again(self) -> None:
        """Entries have gone: what is booked is what is left."""
        self.booked = self._store.entry_rounds(Kind.REDUCTION)
        self.turn()

    def turn(self) -> None:
        """Something was booked: the sums are not what they were."""
        self._sums = None
        self._vested.clear()

    def _made_rules(self) -> Rules:
        """By the terms of all rounds that have closed, with all shards that are registered."""
        chunks = training_chunks(self._in_force.manifest.data)
        return rules_in_force(
            self._in_force,
            self.number - 1,
            self._parameters,
            registry_of=lambda section: register(self._shards, chunks, section),
        )

    # What they are

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What of the registrations counts."""
        return self.book.rules.registry.claims

    @property
    def account(self) -> RewardsPart:
        """The node's own."""
        return self._summed()[0]

    @property
    def changes(self) -> list[WhyPart]:
        """Of the own account, in the last rounds."""
        return self._summed()[1]

    def vested_before(self, round_no: int) -> Mapping[bytes, int] | None:
        """By raw key, what everybody had vested when the last whole epoch before a round ended.

        None while this node has not got the records of all rounds up to there, or has folded later ones away.
        """
        epoch_rounds = self._in_force.manifest.reward.epoch_rounds
        round_no -= round_no % epoch_rounds
        if round_no not in self._vested:
            self._vested[round_no] = self._fold_vested(round_no, round_no // epoch_rounds - 1)
        return self._vested[round_no]

    def _fold_vested(self, round_no: int, last_epoch: int) -> Mapping[bytes, int] | None:
        followed = self._heads.followed
        if self.book.missing(followed, self.booked, round_no):
            return None
        try:
            balances = self.book.ledger(followed, last_epoch=last_epoch).balances(round_no)
        except FoldedAwayError:
            return None
        return {balance.key: balance.vested for balance in balances if balance.vested}

    def notes(self, certificate: Certificate) -> dict[str, str]:
        """The table of shares before a round, to be written beside the state of its head.

        Empty while nothing has vested, or while this node's ledger lacks rounds.
        """
        account, _, balances, _ = self._summed()
        if account.missing_rounds or certificate.head.number != self.number:
            return {}
        return noted(ownership(balances, self._swarm_id, self.number, certificate.id))

    def member(self, peer: str) -> Account | None:
        """Anybody's account as of the last round that was booked."""
        return self._summed()[3].get(raw_key(peer))

    def stake_of(self, peer: str) -> int | None:
        """What anybody has at stake, in micro-credits; None while the ledger lacks rounds."""
        account, _, balances, _ = self._summed()
        if account.missing_rounds:
            return None
        key = raw_key(peer)
        return next((balance.stake for balance in balances if balance.key == key), 0)

    def _summed(self) -> tuple[RewardsPart, list[WhyPart], list[Balance], Mapping[bytes, Account]]:
        """The own account, its changes, all balances, and all accounts."""
        if self._sums is None:
            followed = self._heads.followed
            since = max(self.book.first_round, self.number - WHY_ROUNDS)
            try:
                ledger = self.book.ledger(followed, (self._key, since))
            except FoldedAwayError as error:  # the chain was left at a round that is not here any more
                log.warning("no balances: %s", error)
                return RewardsPart(missing_rounds=self.number), [], [], {}
            missing = self.book.missing(followed, self.booked, self.number)
            account = account_of(ledger, self._key, self.number, missing)
            balances = ledger.balances(max(self.number, ledger.next_round))
            self._sums = account, changes_of(ledger, self.number), balances, ledger.accounts
        return self._sums
