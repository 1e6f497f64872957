"""Old epochs become small: what nobody asks for any more goes, and what it came to stays.

When an epoch's books are closed (`validation.epochs`), neighbours compare it no longer. Then this node signs
a summary of its own verdicts in it, and forgets the records that the ledger's entries were made from, the
entries, and the heads before; the balances at that time stay. Others' verdicts wait for their signers'
summaries, which neighbours show like any evidence, or for the end of one more epoch.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from dhtnode.identity import Identity
from dhtnode.manifest import Terms
from dhtnode.records import Signed, open_record, sign
from dhtnode.store import Store, StoredRecord
from rewards.book import Book
from rewards.heads import HEAD, Heads
from training.messages import Commitment, Result
from validation.epochs import Summary, droppable, find_fault, fold
from validation.holdings import Holdings
from validation.messages import Verdict
from validation.voucher import Voucher

HISTORY_KEPT = 2**15
"""Rounds before the folded ones that people can still look up, in 12 MB. A guess."""
_FOLDED = "evidence.folded"
"""Fact of a store: the first round that is not folded. 8 bytes."""
_NEVER_HELD = "evidence.never_held"
"""Fact of a store: stretches of folded rounds whose records were never here, each with the round after it."""


class Folding:
    """One node's.

    Args:
        store: the node's, used from the event loop's thread only.
        terms: the swarm's.
        identity: own.
        swarm_id: signature domain.
        book: the ledger.
        heads: the followed chain.
    """

    def __init__(
        self, store: Store, terms: Terms, identity: Identity, swarm_id: bytes, book: Book, heads: Heads
    ) -> None:
        self._store = store
        self._identity = identity
        self._swarm_id = swarm_id
        self._book = book
        self._heads = heads
        self._open_rounds = terms.reputation.open_rounds
        self._epoch_rounds = terms.reward.epoch_rounds
        packed = store.fact(_NEVER_HELD)
        self._never_held: list[tuple[int, int]] = msgspec.msgpack.decode(
            packed or b"\x90", type=list[tuple[int, int]]
        )

    @property
    def since(self) -> int:
        """The first round that is not folded."""
        return int.from_bytes(self._store.fact(_FOLDED) or b"", "big")

    def never_held(self, round_no: int) -> bool:
        """Whether a folded round's records never were here: this node came later, or was away for long."""
        return any(first <= round_no < end for first, end in self._never_held)

    def fold(self, number: int, holdings: Holdings) -> bool:
        """Fold what lies before the holdings.

        Args:
            number: of the head that the node stands on.
            holdings: get the own summaries.

        Returns:
            Whether there was anything to fold.
        """
        since, done = holdings.since, self.since
        if since <= done:
            return False
        self._note_gaps(done, since)
        newest = since // self._open_rounds - 1
        for epoch in range(done // self._open_rounds, newest + 1):
            own = self._verdicts(epoch, self._identity.peer_id)
            if own:
                summary = sign(self._identity, self._swarm_id, fold(epoch, own, self._open_rounds))
                self._keep(summary, holdings)
        self._drop_verdicts(newest, number)
        self._store.forget_rounds_before(since, (Commitment.KIND, Result.KIND, Voucher.KIND))
        self._store.forget_history_before(since - HISTORY_KEPT)
        end = since // self._epoch_rounds * self._epoch_rounds
        if end and self._fold_ledger(end // self._epoch_rounds - 1):
            self._store.forget_rounds_before(end, (HEAD,))
            self._heads.forget_before(end)
        self._store.set_fact(_FOLDED, since.to_bytes(8, "big"))
        return True

    def take(self, summary: Signed[Summary], holdings: Holdings) -> str | None:
        """Keep a neighbour's summary, if it is of a member and of the epoch that was closed last.

        Returns:
            What is wrong with it, None if it is sound, known, or of no use here.
        """
        epoch = summary.body.epoch
        if (epoch + 1) * self._open_rounds != holdings.since or not self._is_member(summary.signer):
            return None
        known = self._store.records(Summary.KIND, epoch, summary.signer)
        if known:
            return None
        fault = find_fault(summary, self._verdicts(epoch, summary.signer), self._open_rounds)
        if fault is None:
            self._keep(summary, holdings)
        return fault

    def hold_again(self, holdings: Holdings) -> None:
        """After a restart: the summaries that neighbours still compare."""
        epoch = holdings.since // self._open_rounds - 1
        for stored in self._store.records(Summary.KIND, epoch) if epoch >= 0 else ():
            holdings.add(stored.id, holdings.since)

    def _note_gaps(self, done: int, since: int) -> None:
        """Remember which rounds are folded without ever having been here."""
        booked, followed = self._book.heads(), self._heads.followed
        held = sorted(round_no for round_no, head in followed.items() if head in booked)
        edges = pairwise((done - 1, *(round_no for round_no in held if done <= round_no < since), since))
        self._never_held += [(before + 1, after) for before, after in edges if before + 1 < after]
        self._store.set_fact(_NEVER_HELD, msgspec.msgpack.encode(self._never_held))

    def _keep(self, summary: Signed[Summary], holdings: Holdings) -> None:
        body = summary.body
        self._store.add_record(StoredRecord(summary.id, body.KIND, body.epoch, summary.signer, summary.wire))
        if (body.epoch + 1) * self._open_rounds == holdings.since:
            holdings.add(summary.id, holdings.since)  # for one epoch, as if it were about its first round

    def _is_member(self, peer: str) -> bool:
        """Whether a peer's work is known of a round that is not folded: a name alone is worth nothing."""
        return self._store.has_signed(Commitment.KIND, peer)

    def _verdicts(self, epoch: int, signer: str | None = None) -> list[Signed[Verdict]]:
        rounds = range(epoch * self._open_rounds, (epoch + 1) * self._open_rounds)
        return [
            open_record(stored.wire, self._swarm_id, {Verdict.KIND: Verdict}, self._identity.peer_id)
            for round_no in rounds
            for stored in self._store.records(Verdict.KIND, round_no, signer)
        ]

    def _drop_verdicts(self, newest: int, number: int) -> None:
        """Those that are covered by a summary, or have waited for one long enough."""
        for epoch in range(max(0, newest - 1), newest + 1):
            summaries = [
                open_record(stored.wire, self._swarm_id, {Summary.KIND: Summary}, self._identity.peer_id)
                for stored in self._store.records(Summary.KIND, epoch)
            ]
            held = self._verdicts(epoch)
            self._store.drop_records(droppable(held, summaries, number, self._open_rounds))

    def _fold_ledger(self, epoch: int) -> bool:
        """Whether an epoch's balances are here; then all entries up to its end are not needed any more."""
        followed = self._heads.followed
        self._book.ledger(followed, last_epoch=epoch)
        return self._book.fold_away(epoch, followed)
