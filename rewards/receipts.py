"""What a member gets for its work: a receipt that anyone can check, from signed records alone.

A receipt is a member's own commitment (what it did, signed by itself) and the certificate of the
round that took it in (signed by a majority of the round's roster), which names the commitment.
Nobody issues it: every node holds the same two records after the round, and a receipt of any
node's work can be put together by any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Signed, canonical, open_record, parse_canonical
from training.chain import MAX_CERTIFICATE_BYTES, Certificate, open_certificate
from training.messages import Commitment

MAX_RECEIPT_BYTES = MAX_CERTIFICATE_BYTES + Commitment.MAX_BYTES + 64


@dataclass(frozen=True)
class Receipt:
    """Proof that a member's work is part of a certified state."""

    commitment: Signed[Commitment]
    certificate: Certificate

    @property
    def worker(self) -> str:
        return self.commitment.signer

    @property
    def tokens(self) -> int:
        """Tokens (or samples) that the worker is credited with."""
        return self.commitment.body.tokens

    @property
    def unverified_data(self) -> bool:
        """Whether nobody but the worker can tell that the data exist and that the work was done on them.

        The worker signed this mark, and the round's majority took in no commitment whose mark differs from
        the manifest: so it holds for a reader who has nothing but the receipt.
        """
        return self.commitment.body.private

    @property
    def wire(self) -> bytes:
        return canonical([self.commitment.wire, self.certificate.wire])


def receipts_of(certificate: Certificate, commitments: tuple[Signed[Commitment], ...]) -> list[Receipt]:
    """The receipts of a closed round, one for each accepted commitment."""
    accepted = set(certificate.head.accepted)
    return [Receipt(commitment, certificate) for commitment in commitments if commitment.id in accepted]


def open_receipt(wire: bytes, swarm_id: bytes, sender: str = "") -> Receipt:
    """Check a receipt, with nothing but the swarm id.

    Raises:
        RemoteProtocolError: reason `bad-receipt`, or that of the record in it that is wrong.
    """
    try:
        value: Any = parse_canonical(wire, MAX_RECEIPT_BYTES)
        commitment_wire, certificate_wire = msgspec.convert(
            value, tuple[bytes, bytes], builtin_types=(bytes,)
        )
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-receipt", str(error)[:200]) from error
    commitment = open_record(commitment_wire, swarm_id, {Commitment.KIND: Commitment}, sender)
    certificate = open_certificate(certificate_wire, swarm_id, sender)
    head = certificate.head
    if commitment.id not in head.accepted or commitment.body.base != head.parent:
        raise RemoteProtocolError(sender, "bad-receipt", "the round did not accept this commitment")
    return Receipt(commitment, certificate)
