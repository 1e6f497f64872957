"""What is said between neighbours: gossip as it comes, and questions that fill its gaps.

Gossip delivers at most once. So each node asks a neighbour about once a second what it lacks, and at once
where somebody seems to know more. Bytes are checked here; what they say is for the core.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import cast

from dhtnode.app.effects import TOPIC
from dhtnode.app.gaps import Gaps
from dhtnode.app.lookout import Lookout
from dhtnode.driver import Driver
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.net.network import Network
from dhtnode.quota import Quota
from dhtnode.records import Signed, open_record
from training.chain import open_certificate
from training.events import HeadOffered, Heard, RecordArrived
from training.messages import KINDS
from training.sync import MAX_SYNC_BYTES, Held, open_sync_reply
from validation.evaluation import Evaluation
from validation.events import NodeEffect, NodeEvent
from validation.messages import SPOKEN
from validation.validator import Validator

log = logging.getLogger(__name__)

SYNC = "sync"
SYNC_S = 1.0
"""Mean pause between questions to a neighbour. Gossip loses little; this repairs it within seconds."""
DEAF_SYNC_S = 0.2
"""The same while gossip can't be heard yet."""

Blamed = Callable[[str, str, str], None]


class Talk:
    """One node's.

    Args:
        network: started.
        validator: the core; its rounds are what neighbours ask for.
        driver: where events go.
        swarm_id: signature domain.
        blamed: told of a peer, a reason and a detail.
        gaps: asks a neighbour whose evidence differs.
        lookout: hears evaluations, in private mode.
    """

    def __init__(
        self,
        network: Network,
        validator: Validator,
        driver: Callable[[], Driver[NodeEvent, NodeEffect]],
        swarm_id: bytes,
        blamed: Blamed,
        gaps: Gaps,
        lookout: Lookout | None,
    ) -> None:
        self.listens = False
        """Whether gossip is heard."""
        self._network = network
        self._validator = validator
        self._driver = driver
        self._swarm_id = swarm_id
        self._blamed = blamed
        self._gaps = gaps
        self._lookout = lookout
        self._quota = Quota()

    async def serve(self) -> None:
        """Answer neighbours from now on."""
        await self._network.on_request(SYNC, MAX_SYNC_BYTES, self._answer)
        await self._gaps.serve()

    async def listen(self, pause_s: float = 0.0) -> None:
        """Hear the others' gossip: after a restart only when they may take this node back."""
        await asyncio.sleep(pause_s)
        await self._network.subscribe(TOPIC, self._on_gossip)
        self.listens = True

    async def keep_asking(self) -> None:
        """Ask a neighbour now and then, for ever."""
        while True:
            pause_s = SYNC_S if self.listens else DEAF_SYNC_S
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  spreads load, no secret
            peers = sorted(self._network.connected_peers())
            if peers:
                self.ask(random.choice(peers))  # noqa: S311

    def ask(self, peer: str) -> None:
        """Exchange records and heads with a peer soon."""
        self._driver().spawn(self.exchange(peer))

    async def exchange(self, peer: str) -> None:
        """Tell a neighbour what we hold and take in what we lack."""
        post = self._driver().post
        try:
            request = self._validator.sync_request()
            wire = await self._network.request(peer, SYNC, request, max_reply_bytes=MAX_SYNC_BYTES)
            reply = open_sync_reply(wire, peer)
            post(Heard(peer))
            for record in reply.records:
                post(RecordArrived(open_record(record, self._swarm_id, KINDS, peer), peer))
            if reply.certificate is not None:
                post(HeadOffered(open_certificate(reply.certificate, self._swarm_id, peer)))
            await self._gaps.fill(peer, Held(reply.since, reply.root))
        except TransportError as error:
            log.debug("no exchange with %s: %s", peer, error)
        except RemoteProtocolError as error:
            self._blamed(error.peer, error.reason, error.detail)

    async def _answer(self, peer: str, request: bytes) -> bytes:
        driver = self._driver()
        driver.post(Heard(peer))
        reply, effects = self._validator.on_sync_request(request, peer, driver.now_s())
        driver.perform_all(effects)
        return reply

    def _on_gossip(self, author: str, data: bytes) -> None:
        driver = self._driver()
        if author == self._network.peer_id:
            return
        if not self._quota.admit(author, driver.now_s()):
            self._blamed(author, "flood", "")
            return
        try:
            record = open_record(data, self._swarm_id, SPOKEN, author)
        except RemoteProtocolError as error:
            self._blamed(error.peer, error.reason, error.detail)
            return
        if not isinstance(record.body, Evaluation):
            driver.post(RecordArrived(record, author))
        elif self._lookout is not None:
            self._lookout.hear(cast("Signed[Evaluation]", record))
