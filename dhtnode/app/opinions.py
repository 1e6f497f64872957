"""What the others think of this node: asked from them, each answer signed, for people to read.

Any member may ask any other about anybody. Answers are kept until the next time, and no member is
asked more often than every `PAUSE_S`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.identity import Identity, is_peer_id
from dhtnode.net.network import Network
from dhtnode.records import Signed, sign
from dhtnode.status import OfMePart
from validation.appraisal import Appraisal, lower_median, open_appraisal
from validation.validator import Validator

log = logging.getLogger(__name__)

ENDPOINT = "standing"
PAUSE_S = 30.0
MAX_OBSERVERS = 64
"""Members that are asked. Beyond it the middle one hardly moves; a guess."""
LOOK_S = 1.0
"""How often a node that is alone looks whether somebody has come."""
_LONGEST_ID = 64


class Opinions:
    """Asks, and answers.

    Args:
        network: started.
        validator: has the table that is answered from.
        identity: own.
        swarm_id: signature domain.
        blamed: told of peers that answer with what is no answer: peer, reason, detail.
    """

    def __init__(
        self,
        network: Network,
        validator: Validator,
        identity: Identity,
        swarm_id: bytes,
        blamed: Callable[[str, str, str], None],
    ) -> None:
        self._network = network
        self._validator = validator
        self._identity = identity
        self._swarm_id = swarm_id
        self._blamed = blamed
        self._answers: dict[str, Signed[Appraisal]] = {}

    def of_me(self) -> OfMePart:
        """What was answered last."""
        trusts = [answer.body.trust for answer in self._answers.values()]
        return OfMePart(median=lower_median(trusts), lowest=min(trusts, default=None), observers=len(trusts))

    async def serve(self) -> None:
        """Answer from now on."""
        await self._network.on_request(ENDPOINT, _LONGEST_ID, self._answer)

    async def keep_asking(self) -> None:
        """Ask for as long as the node runs."""
        while True:
            observers = self._observers()
            if observers:
                answers = await asyncio.gather(*map(self._ask, observers))
                self._answers = {answer.signer: answer for answer in answers if answer is not None}
            await asyncio.sleep(PAUSE_S if observers else LOOK_S)

    def _observers(self) -> list[str]:
        """Members that are connected, the same ones each time where there are too many."""
        certificate = self._validator.member.certificate
        members = set(certificate.head.members) if certificate else set()
        return sorted(members & self._network.connected_peers().keys())[:MAX_OBSERVERS]

    async def _ask(self, peer: str) -> Signed[Appraisal] | None:
        me = self._identity.peer_id
        try:
            reply = await self._network.request(
                peer, ENDPOINT, me.encode(), max_reply_bytes=Appraisal.MAX_BYTES
            )
            return open_appraisal(reply, self._swarm_id, peer, me)
        except TransportError as error:
            log.debug("%s was not asked: %s", peer, error)
        except RemoteProtocolError as error:
            self._blamed(error.peer, error.reason, error.detail)
        return None

    async def _answer(self, peer: str, request: bytes) -> bytes:
        about = request.decode(errors="replace")
        if not is_peer_id(about):
            raise RemoteProtocolError(peer, "bad-question", "asks about somebody who can't exist")
        table = self._validator.witness.table
        said = Appraisal(round=table.round_no, about=about, trust=table.trust(about, "work"))
        return sign(self._identity, self._swarm_id, said).wire
