"""One round, followed from the records alone: who is in, and how it closed.

The same agreement core as in a node, without a voice: the members of the last head certify a
roster, the signers of its commitments certify the next head. So a certificate that comes out of
here is bound to the head before it by every vote in between.
"""

from __future__ import annotations

import math

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed
from training.agreement import Agreement, Instance
from training.chain import Certificate, open_certificate
from training.closing import concerns
from training.messages import Commitment, Head, Roster, decode_value
from training.pool import RecordPool
from training.roster import ordered


class FollowedRound:
    """The round that follows a head.

    Args:
        head: what it starts from.
        pool: its records, also those that came before we knew the head.
        identity: own key; never a member's, so nothing is ever signed with it.
        swarm_id: signature domain.
    """

    def __init__(self, head: Head, pool: RecordPool, identity: Identity, swarm_id: bytes) -> None:
        self.outcome: Certificate | None = None
        self._head = head
        self._pool = pool
        self._identity = identity
        self._swarm_id = swarm_id
        self._roster = self._agreement("roster", head.members, "leader")
        self._close: Agreement | None = None

    def start(self) -> list[RemoteProtocolError]:
        """Take in what the pool held before; what is wrong with it is returned."""
        faults = self._replay(lambda record: self._roster.on_record(record), "roster")
        return faults + self._advance()

    def on_record(self, record: Signed[Body]) -> list[RemoteProtocolError]:
        """Take in a record that the pool has just kept.

        Returns:
            What it showed to be wrong, with this record or with earlier ones.
        """
        try:
            if concerns(record, "roster"):
                self._roster.on_record(record)
            elif concerns(record, "close") and self._close is not None:
                self._close.on_record(record)
        except RemoteProtocolError as error:
            return [error]
        return self._advance()
