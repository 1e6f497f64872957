"""What faults cost, as one node books it: the stake of who is guilty, and the bond of who answered for it.

Vouchers and cases come in any order, and perhaps before the rounds they are about. Each case, and each pair
of a voucher and a case that belong together, is an entry of the ledger as soon as its round has closed here.
"""

from __future__ import annotations

from dhtnode.app.archive import Archive
from dhtnode.app.balances import Balances
from dhtnode.records import Signed, open_record
from dhtnode.store import Store, StoredRecord
from rewards.entries import Entry
from rewards.evidence import bond_entry, case_entry
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
        self._unbooked: list[Case] = []
        """On rounds that have not closed here, or otherwise."""

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
        """A fault is proven. How many there can be is bounded by `validator.MAX_CASES`."""
        self._cases.setdefault(case.guilty, {})[case.id] = case
        self._unbooked.append(case)

    def forget_before(self, round_no: int) -> None:
        """Vouchers of earlier rounds have gone from the store."""
        self._vouchers = {id_: one for id_, one in self._vouchers.items() if one.body.round >= round_no}

    def entries(self, number: int) -> list[Entry]:
        """What can be booked now; of bonds also what was booked before.

        Who contradicts itself names any round. One far ahead would let all credits vest, so it has to wait.
        So has a case on a round that this node does not know, or that its chain has closed otherwise.

        Args:
            number: of the newest head.
        """
        ripe = [case for case in self._unbooked if self._is_known(case, number)]
        self._unbooked = [case for case in self._unbooked if not self._is_known(case, number)]
        return [*map(case_entry, ripe), *self._lost(number)]

    def _is_known(self, case: Case, number: int) -> bool:
        closed = self._heads.followed.get(case.round_no)
        return case.round_no < number and (case.certificate is None or case.certificate.id == closed)

    def _lost(self, number: int) -> list[Entry]:
        """One for each voucher and case that belong together."""
        open_rounds, found = self._in_force.manifest.reputation.open_rounds, []
        for voucher in self._vouchers.values():
            for case in self._cases.get(voucher.body.newcomer, {}).values():
                entry = bond_entry(voucher, case, open_rounds)
                if entry is None or entry.round >= number or not self._is_known(case, number):
                    continue
                if self.had_full_vote(voucher.signer, voucher.body.round):
                    found.append(entry)
        return found

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
