"""How far apart honest work on this node's device and on others' may be: asked only where they differ.

In a swarm whose members all name one device profile nobody needs a tolerance, and no canary is run. The
first time that work of another profile has to be judged, this node runs its canary and asks the members
for theirs; endpoint `canary` answers with the signed record of the node that is asked.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection

from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.identity import Identity
from dhtnode.manifest import Terms
from dhtnode.net.network import Network
from dhtnode.net.streams import RefusedError
from dhtnode.records import Signed, open_record, sign
from training.outer import DivergedError
from training.worker import Worker
from validation.canary import Canary, Tolerances, run_canary

log = logging.getLogger(__name__)

CANARY = "canary"
PATIENCE_S = 120.0
"""Who is asked may have to run it first."""
AGAIN_S = 10.0
"""Pause before members that did not answer are asked once more: who has not heard of a roster yet refuses
those who are new in it. A guess."""


class Canaries:
    """One node's canary, and what it has learned from others'.

    Args:
        identity: own key.
        swarm_id: signature domain.
        device: own profile.
        terms: of the swarm.
        network: started.
        worker: runs the canary beside training.
        members: whose canaries count: of the newest roster.
        spawn: runs something beside the node's loop.
    """

    def __init__(
        self,
        identity: Identity,
        swarm_id: bytes,
        device: str,
        terms: Terms,
        network: Network,
        worker: Worker,
        members: Callable[[], Collection[str]],
        spawn: Callable[..., object],
    ) -> None:
        self._identity = identity
        self._swarm_id = swarm_id
        self._device = device
        self._codec = terms.wire.codec
        self._network = network
        self._worker = worker
        self._members = members
        self._spawn = spawn
        self._own: Signed[Canary] | None = None
        self._running = asyncio.Lock()
        self._tolerances: Tolerances | None = None
        self._known: set[str] = set()
        self._learning = False
        self._asked_s = -math.inf

    async def serve(self) -> None:
        """Show the own canary to whoever asks, from now on."""
        await self._network.on_request(CANARY, 0, self._answer)

    def eps_ppm(self, device: str) -> int | None:
        """Tolerance towards a device in ppm; None if it is not known yet, or can't be told from a cheat."""
        known = self._tolerances.eps_ppm(device) if self._tolerances else None
        due = not self._learning and time.monotonic() - self._asked_s >= AGAIN_S
        if known is None and due and set(self._members()) - self._known:
            self._learning = True
            self._spawn(self._learn())
        return known

    async def _learn(self) -> None:
        try:
            await self._ask_all()
        finally:
            self._learning, self._asked_s = False, time.monotonic()

    async def _ask_all(self) -> None:
        own = await self._canary()
        if own is None:
            return
        self._tolerances = self._tolerances or Tolerances(own.body.sketches, self._codec)
        me = self._identity.peer_id
        await asyncio.gather(*(self._ask(peer) for peer in self._members() if peer not in {me, *self._known}))

    async def _ask(self, peer: str) -> None:
        try:
            wire = await self._network.request(
                peer, CANARY, max_reply_bytes=Canary.MAX_BYTES, timeout_s=PATIENCE_S
            )
            record = self._opened(wire, peer)
        except TransportError as error:
            log.debug("no canary from %s: %s", peer, error)
        except RemoteProtocolError as error:
            self._network.streams.on_misbehaviour(error.peer, error.reason)
        else:
            self._known.add(peer)
            if self._tolerances is not None:
                self._tolerances.learn(record)

    def _opened(self, wire: bytes, peer: str) -> Signed[Canary]:
        record: Signed[Canary] = open_record(wire, self._swarm_id, {Canary.KIND: Canary}, peer)
        if record.signer != peer:
            raise RemoteProtocolError(peer, "bad-canary", "another's")
        return record

    async def _answer(self, peer: str, _: bytes) -> bytes:
        if peer not in self._members():
            raise RefusedError("for members only")
        own = await self._canary()
        if own is None:
            raise RefusedError("this node has none")
        return own.wire

    async def _canary(self) -> Signed[Canary] | None:
        async with self._running:
            if self._own is None:
                try:
                    sketches = await self._worker.aside(run_canary)
                except DivergedError as error:
                    log.warning("the canary leads to nothing: %s", error)
                    return None
                self._own = sign(
                    self._identity, self._swarm_id, Canary(device=self._device, sketches=sketches)
                )
        return self._own
