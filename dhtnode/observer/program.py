"""The observer at work: dial, listen, ask again and again, until it is done or told to stop."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import trio

from dhtnode.errors import ConfigError, Exit, RemoteProtocolError, TransportError
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest
from dhtnode.observer.client import Client, Door, light_client
from dhtnode.observer.directory import find_entries
from dhtnode.observer.sightings import Connected, Lost, Sighting, Started
from dhtnode.observer.watch import Watch
from dhtnode.presence import KEY
from training.sync import MAX_SYNC_BYTES

TOPIC, SYNC = "records", "sync"
"""The members' names for them; see `dhtnode.app`."""
ASK_S = 2.0
"""Pause between two questions to a member. Gossip is quicker; this fills its gaps."""
LOOKUP_S = 10.0
"""Shortest time between two looks into the DHT, about as often as members look."""
PATIENCE_S = 15.0
"""How long every member may be silent. A guess: one that restarts is back by then."""

Tell = Callable[[Sighting], None]


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    manifest: Manifest
    doors: tuple[Door, ...]
    seconds: float | None = None
    """Stop after this time."""
    rounds: int | None = None
    """Stop when this many rounds have closed."""


def observe(options: Options, tell: Tell) -> None:
    """Watch a swarm until the options say enough, its rounds are done, or a signal comes.

    Args:
        options: see there.
        tell: gets every sighting; the last one is the summary, whatever happens.

    Raises:
        ConfigError: exit code NETWORK if no member answers, FAILED if the time was too short for
            the rounds asked for.
    """
    trio.run(Observer(options, tell).run)


class Observer:
    """One run of it. Use `observe`."""

    def __init__(self, options: Options, tell: Tell) -> None:
        self._options = options
        self._tell = tell
        self._identity = Identity.generate()
        self._watch = Watch(options.manifest, self._identity)
        self._name = f"dhtnode/{options.manifest.swarm_id.hex()[:16]}"
        self._endpoints = f"/dhtnode/1/{options.manifest.swarm_id.hex()[:16]}"
        self._end = trio.Event()
        self._failure: ConfigError | None = None
        self._answered_s: dict[Door, float] = {}
        self._answers: dict[Door, bool] = {}

    async def run(self) -> None:
        """Raises as `observe`."""
        started_s = trio.current_time()
        self._introduce()
        try:
            await self._watch_swarm()
        except TransportError as error:
            self._failure = ConfigError(f"{error}; look through another member with --peer", Exit.NETWORK)
        self._tell(self._watch.summary(trio.current_time() - started_s))
        if self._failure is not None:
            raise self._failure

    async def _watch_swarm(self) -> None:
        """Until the end is set, or the time is up.

        Raises:
            TransportError: libp2p gave up.
        """
        quic = any("/quic-v1/" in door.address for door in self._options.doors)
        async with light_client(self._identity, quic=quic) as client, trio.open_nursery() as nursery:
            nursery.start_soon(self._heed_signals)
            nursery.start_soon(self._listen, client)
            for door in self._options.doors:
                nursery.start_soon(self._keep_asking, client, door)
            with trio.move_on_after(self._options.seconds or math.inf) as limit:
                await self._end.wait()
            nursery.cancel_scope.cancel()
        if limit.cancelled_caught and self._options.rounds is not None:
            self._failure = ConfigError(
                f"{self._watch.rounds} of {self._options.rounds} rounds closed in "
                f"{self._options.seconds:g} s; give it more --seconds",
                Exit.FAILED,
            )

    def _introduce(self) -> None:
        terms = self._options.manifest.terms
        self._tell(
            Started(
                swarm_id=self._options.manifest.swarm_id.hex(),
                name=terms.name,
                rounds=terms.round.rounds,
                observer=self._identity.peer_id,
            )
        )

    async def _heed_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                self._end.set()

    async def _listen(self, client: Client) -> None:
        async for author, data in client.messages(f"{self._endpoints}/{TOPIC}"):
            self._say(self._watch.on_gossip(author, data))

    async def _keep_asking(self, client: Client, door: Door) -> None:
        """Stay connected with a member and ask what it knows."""
        looked_s = -math.inf
        while True:
            try:
                await client.connect(door)
                self._answered_s.setdefault(door, trio.current_time())  # a node that starts gets time
                if trio.current_time() >= looked_s + LOOKUP_S:
                    looked_s = trio.current_time()
                    await self._look_up(client, door)
                await self._ask(client, door)
            except TransportError as error:
                self._on_silence(door, str(error))
            except RemoteProtocolError as error:
                self._say(self._watch.on_fault(error))
            await trio.sleep(ASK_S)

    async def _look_up(self, client: Client, door: Door) -> None:
        entries = await find_entries(client, door, f"{self._name}/{KEY}")
        self._say(self._watch.on_presence(entries))

    async def _ask(self, client: Client, door: Door) -> None:
        request = self._watch.sync_request()
        reply = await client.request(door, f"{self._endpoints}/{SYNC}", request, MAX_SYNC_BYTES)
        if not self._answers.get(door):
            self._answers[door] = True
            self._tell(Connected(peer=door.peer, address=door.address))
        self._answered_s[door] = trio.current_time()
        self._say(self._watch.on_sync(door.peer, reply))

    def _on_silence(self, door: Door, reason: str) -> None:
        """Try again later; give up when no member has answered for too long, or ever."""
        if self._answers.get(door) is not False:
            self._answers[door] = False
            self._tell(Lost(peer=door.peer, reason=reason))
        patience_s = trio.current_time() - PATIENCE_S
        if all(
            self._answers.get(other) is False and self._answered_s.get(other, -math.inf) <= patience_s
            for other in self._options.doors
        ):
            self._failure = ConfigError(
                f"no member answers: {reason}; check that it runs this swarm and that its port can be "
                "reached, or name another member with --peer",
                Exit.NETWORK,
            )
            self._end.set()

    def _say(self, sightings: Iterable[Sighting]) -> None:
        for sighting in sightings:
            self._tell(sighting)
        wanted = self._options.rounds
        if self._watch.finished or (wanted is not None and self._watch.rounds >= wanted):
            self._end.set()
