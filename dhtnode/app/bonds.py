"""Members' bonds at one node: what stands behind a voucher, and which bonds are lost.

Vouchers and cases come in any order. Each pair of them that belongs together is an entry of the ledger as
soon as its round has closed here (`rewards.evidence.bond_entry`).
"""

from __future__ import annotations

from collections.abc import Iterator

from dhtnode.app.archive import Archive
from dhtnode.app.balances import Balances
from dhtnode.records import Signed, open_record
from dhtnode.store import Store, StoredRecord
from rewards.entries import Entry
from rewards.evidence import bond_entry
from rewards.heads import Heads
from training.in_force import TermsInForce
from training.messages import WHOLE
from validation.cases import Case
from validation.voucher import Backing, Voucher


class Bonds(Backing):
    """One node's.

    Args:
        store: the node's, used from the event loop's thread only.
        in_force: the swarm's terms.
        swarm_id: signature domain.
        me: own peer id.
        heads: the followed chain.
        archive: their votes.
        balances: what members have at stake.
    """

    def __init__(
        self,
        store: Store,
        in_force: TermsInForce,
        swarm_id: bytes,
        me: str,
        *,
        heads: Heads,
        archive: Archive,
        balances: Balances,
    ) -> None:
        self._store = store
        self._in_force = in_force
        self._swarm_id = swarm_id
        self._me = me
        self._heads = heads
        self._archive = archive
        self._balances = balances
        self._vouchers = {one.id: one for one in self.stored()}
        self._cases: dict[str, dict[bytes, Case]] = {}
        """By the guilty key."""

    def stored(self) -> list[Signed[Voucher]]:
        """All that were kept, also what the chain that is followed now knows nothing of."""
        kinds = {Voucher.KIND: Voucher}
        records = self._store.all_records(Voucher.KIND)
        return [open_record(one.wire, self._swarm_id, kinds, self._me) for one in records]

    def keep(self, voucher: Signed[Voucher]) -> None:
        """A member answers for a newcomer."""
        body = voucher.body
        self._store.add_record(StoredRecord(voucher.id, body.KIND, body.round, voucher.signer, voucher.wire))
        self._vouchers[voucher.id] = voucher

    def convicted(self, case: Case) -> None:
        """A fault is proven."""
        self._cases.setdefault(case.guilty, {})[case.id] = case

    def forget_before(self, round_no: int) -> None:
        """Vouchers of earlier rounds have gone from the store."""
        self._vouchers = {id_: one for id_, one in self._vouchers.items() if one.body.round >= round_no}

    def lost(self, number: int) -> Iterator[Entry]:
        """An entry for each voucher and case that belong together, of rounds that have closed here.

        Args:
            number: of the newest head.
        """
        open_rounds, followed = self._in_force.manifest.reputation.open_rounds, self._heads.followed
        for voucher in self._vouchers.values():
            for case in self._cases.get(voucher.body.newcomer, {}).values():
                entry = bond_entry(voucher, case, open_rounds)
                if entry is None or max(entry.round, case.round_no) >= number:
                    continue
                known = case.certificate is None or case.certificate.id == followed.get(case.round_no)
                if known and self.had_full_vote(voucher.signer, voucher.body.round):
                    yield entry

    # What vouchers ask

    def had_full_vote(self, member: str, round_no: int) -> bool:
        head = self._heads.followed.get(round_no - 1)
        return head is not None and self._archive.votes(head).get(member) == WHOLE

    def stake_micro(self, member: str) -> int | None:
        return self._balances.stake_of(member)

    def has_lost(self, member: str) -> bool:
        account = self._balances.member(member)
        return account is not None and bool(account.lost)

    def has_served(self, newcomer: str) -> bool:
        account = self._balances.member(newcomer)
        probation = self._in_force.now.reputation.probation_rounds
        return account is not None and account.rounds >= probation
