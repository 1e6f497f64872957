"""One round, followed from the records alone: who is in, and how it closed.

The same agreement core as in a node, without a voice. The electors of the last head certify a
roster, and the electors that it names certify the next head: a certificate that comes out of
here is bound to the head before it by every vote in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed
from training.agreement import Agreement, Instance
from training.chain import Certificate, open_certificate
from training.closing import concerns
from training.messages import Commitment, Head, Roster, decode_value
from training.pool import RecordPool
from training.roster import ordered, voters

Blame = Callable[[RemoteProtocolError], None]


class FollowedRound:
    """The round that follows a head.

    Args:
        head: what it starts from.
        pool: its records, also those that came before the head was known.
        identity: own key, of no member: nothing is ever signed with it.
        swarm_id: signature domain.
        blame: told what records show to be wrong.
    """

    def __init__(
        self, head: Head, pool: RecordPool, identity: Identity, swarm_id: bytes, blame: Blame
    ) -> None:
        self.pool = pool
        self.outcome: Certificate | None = None
        self._head = head
        self._identity = identity
        self._swarm_id = swarm_id
        self._blame = blame
        self._close: Agreement | None = None
        self._roster = self._agreement(Instance(head.number, head.id, "roster"), head.electors, "leader")
        self._advance()

    def on_record(self, record: Signed[Body]) -> None:
        """Take in a record that the pool has just kept."""
        self._feed(self._roster, record)
        if self._close is not None:
            self._feed(self._close, record)
        self._advance()

    def _agreement(self, instance: Instance, electors: tuple[str, ...], purpose: str) -> Agreement:
        """An agreement that has heard all that is in the pool."""
        head = self._head
        agreement = Agreement(
            instance,
            ordered(electors, head.state, head.number, purpose),
            self._identity,
            self._swarm_id,
            deadline_s=math.inf,  # patience is for those who have a voice
            patience_s=math.inf,
        )
        for record in self.pool.all():
            self._feed(agreement, record)
        return agreement

    def _feed(self, agreement: Agreement, record: Signed[Body]) -> None:
        if concerns(record, agreement.instance.step):
            try:
                agreement.on_record(record)
            except RemoteProtocolError as error:
                self._blame(error)

    def _advance(self) -> None:
        decision = self._roster.decision
        known = self._close.instance.roster if self._close else None
        if decision is not None and decision.digest != known:
            electors = self._electors()
            if electors:
                instance = Instance(self._head.number, self._head.id, "close", decision.digest)
                self._close = self._agreement(instance, electors, "close-leader")
        if self.outcome is None and self._close is not None and self._close.decision is not None:
            self.outcome = self._certificate(self._close)

    def _electors(self) -> tuple[str, ...]:
        """Electors of the certified roster; nobody while it or a commitment of it is missing."""
        if self._roster.decision is None:
            return ()
        try:
            roster = decode_value(self._roster.decision.value, Roster)
        except ValueError:
            return ()
        found = [self.pool.get(id_, Commitment) for id_ in roster.commitments]
        signers = tuple(commitment.signer for commitment in found if commitment is not None)
        complete = len(signers) == len(found) == len(roster.votes)
        return voters(signers, roster.votes) if complete else ()

    def _certificate(self, close: Agreement) -> Certificate | None:
        """The decided head with its votes, checked like one that a stranger shows us."""
        if close.decision is None:
            return None
        try:
            head = decode_value(close.decision.value, Head)
            wire = Certificate(head, close.decision.votes).wire
            return open_certificate(wire, self._swarm_id, sender="")
        except (ValueError, RemoteProtocolError):
            return None
