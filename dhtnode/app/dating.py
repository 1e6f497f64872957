"""How old a registration of data is, as far as this node can tell, and the books of those that count.

A registration names a round, and counts only if its signer's commitment to that round names it: so it was
there when the round was played, and is shown when that is certified. Who sees it can't be earlier any more.

A node that never held a round can't tell. Rounds that neighbours still show, it waits for; of those that
nobody shows any more, it believes the signer. A node that held a round which it has folded away has heard in
time what that dates, and takes nothing more in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from dhtnode.app.archive import Archive
from dhtnode.app.balances import Balances
from dhtnode.app.folding import Folding
from dhtnode.records import Signed
from rewards.data import Claim, Registration
from rewards.entries import ANY_HEAD
from rewards.evidence import is_dated, shard_entry
from rewards.heads import Heads


class Undated(Enum):
    """Why a registration does not count here."""

    UNKNOWN = "the round that it names is not known here"
    ABSENT = "its signer was not in the round that it names"
    UNNAMED = "its signer's commitment to the round that it names does not name it"


def _nobody_asks() -> None:
    pass


class Dating:
    """One node's.

    Args:
        heads: the followed chain.
        archive: what its rounds were made of.
        folding: knows what was folded away.
        balances: what the registrations count in.
    """

    def __init__(self, heads: Heads, archive: Archive, folding: Folding, balances: Balances) -> None:
        self.on_rounds: Callable[[], None] = _nobody_asks
        """Told when more rounds are known than before."""
        self.on_left: Callable[[], None] = _nobody_asks
        """Told when a branch was left: what its rounds have dated may not count any more."""
        self._heads = heads
        self._archive = archive
        self._folding = folding
        self._balances = balances

    def head_of(self, registration: Signed[Registration]) -> bytes | Undated:
        """The head of the round that dates a registration; ANY_HEAD if that is its signer's word alone."""
        round_no, signer = registration.body.round, registration.signer
        if round_no < self._folding.since:
            return ANY_HEAD if self._folding.never_held(round_no) else Undated.UNKNOWN
        head = self._heads.followed.get(round_no)
        if head is None:
            return Undated.UNKNOWN
        work = self._archive.commitment(head, signer)
        if work is None:
            return Undated.UNKNOWN if signer in self._archive.members(head) else Undated.ABSENT
        return head if is_dated(work, registration) else Undated.UNNAMED

    def is_certified(self, registration: Signed[Registration]) -> bool:
        """Whether this node holds the round that dates a registration, and need believe nobody."""
        return self.head_of(registration) not in (ANY_HEAD, *Undated)

    def registered(
        self, shards: Iterable[Signed[Registration]], new: Iterable[Signed[Registration]] = ()
    ) -> None:
        """These count; `new`: those of them that have to be booked."""
        heads = [(one, self.head_of(one)) for one in new]
        self._balances.registered(
            shards, [shard_entry(one, head) for one, head in heads if isinstance(head, bytes)]
        )

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What of the registrations counts."""
        return self._balances.claims
