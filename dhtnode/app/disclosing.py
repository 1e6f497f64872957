"""Shows the records behind the ledger to anybody who asks: nothing of it is secret, all of it is signed.

Whoever wants to know where a member stands need not be one. So that a crowd of readers costs the node
little, each of them and all together have a quota; who asks for more is told to come again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dhtnode.amendments import Amendment
from dhtnode.net.network import Network
from dhtnode.net.streams import RefusedError
from dhtnode.quota import Quota
from dhtnode.store import Store
from rewards.data import Registration
from rewards.disclosure import ENDPOINT, MAX_QUESTION_BYTES, open_question, page
from rewards.heads import HEAD
from training.chain import Certificate
from training.messages import Commitment, Result
from validation.cases import CASE
from validation.messages import Verdict
from validation.voucher import Voucher

KINDS = (
    *(HEAD, CASE),
    *(kind.KIND for kind in (Commitment, Result, Verdict, Voucher, Amendment, Registration)),
)
READER_PER_S, READER_BURST = 2.0, 64.0
"""Pages: with 256 KiB each at most 4 Mbit/s to one reader, after the first 16 MiB. Guesses."""
ALL_PER_S, ALL_BURST = 8.0, 256.0
"""The same for all readers: their keys cost nothing. Guesses."""


class Disclosing:
    """Answers from the node's store.

    Args:
        network: started.
        store: the node's, used from the event loop's thread only.
        newest: the head that the node stands on.
    """

    def __init__(self, network: Network, store: Store, newest: Callable[[], Certificate | None]) -> None:
        self._network = network
        self._store = store
        self._newest = newest
        self._reader = Quota(READER_PER_S, READER_BURST)
        self._all = Quota(ALL_PER_S, ALL_BURST)

    async def serve(self) -> None:
        """Answer from now on."""
        await self._network.on_request(ENDPOINT, MAX_QUESTION_BYTES, self._answer)

    async def _answer(self, peer: str, request: bytes) -> bytes:
        asked = open_question(request, peer)
        now_s = time.monotonic()
        if not (self._reader.admit(peer, now_s) and self._all.admit("", now_s)):
            raise RefusedError("asked for too much at once; come again in a second")
        newest = self._newest()
        return page(asked, self._held, newest.head.number if newest else 0)

    def _held(self, round_no: int) -> dict[bytes, bytes]:
        """Records of a round by id."""
        return {record.id: record.wire for kind in KINDS for record in self._store.records(kind, round_no)}
