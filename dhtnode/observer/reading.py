"""One reading of a swarm: dial members, take all that they show, and write one member's page from it.

Members that are found in the DHT are asked as well as those that the user names, so that no single one
decides what is seen. Each is asked in a task of its own; one that fails, or lies, holds up nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from dhtnode.errors import ConfigError, Exit, RemoteProtocolError, TransportError
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest
from dhtnode.observer.asking import Asking
from dhtnode.observer.chains import Chosen
from dhtnode.observer.client import Door, light_client
from dhtnode.observer.evidence import Evidence
from dhtnode.observer.folding import Folding, Model
from dhtnode.observer.page import Seen, page
from dhtnode.observer.view import printable
from dhtnode.presence import Presence
from dhtnode.records import Signed, open_record
from dhtnode.status import Status
from training.chain import Certificate
from validation.appraisal import Appraisal

MAX_ASKED = 16
"""Members that are asked. A guess: what fifteen hold back, the sixteenth may show."""
MAX_PRESENCES = 1024
PATIENCE_S = 300.0
"""For all that one member shows; what came until then counts. A guess: 600 pages, 150 MB."""
SIZE_TRIES = 5


@dataclass(frozen=True)
class Wish:
    """What the user wants to read."""

    manifest: Manifest
    doors: tuple[Door, ...]
    key: str
    """Whose page."""


def read_page(wish: Wish) -> Status:
    """Read a swarm and write the page of one key.

    Raises:
        ConfigError: NETWORK if no member answers; FAILED if none shows evidence that holds, or none of
            the key.
    """
    return trio.run(Reading(wish).run)


class Reading:
    """One run of it. Use `read_page`."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._swarm_id = wish.manifest.swarm_id
        self._evidence = Evidence(self._swarm_id)
        self._asked: set[str] = set()
        self._answered: set[str] = set()
        self._presences: dict[str, Signed[Presence]] = {}
        self._opinions: dict[str, Signed[Appraisal]] = {}
        self._lengths: dict[bytes, int] = {}
        """Of the states of heads, by the head's id."""
        self._faults: list[RemoteProtocolError] = []
        self._silence: dict[str, str] = {}
        """What a member has not answered last, in one line."""
        self._cut_short = ""

    async def run(self) -> Status:
        """Raises as `read_page`."""
        quic = any("/quic-v1/" in door.address for door in self._wish.doors)
        try:
            async with light_client(Identity.generate(), quic=quic) as client, trio.open_nursery() as nursery:

                def visit(door: Door) -> None:
                    if door.peer not in self._asked and len(self._asked) < MAX_ASKED:
                        self._asked.add(door.peer)
                        nursery.start_soon(self._visit, Asking(client, door, self._swarm_id), visit)

                for door in self._wish.doors:
                    visit(door)
        except TransportError as error:
            self._cut_short = str(error)
        if not self._answered:
            told = [self._cut_short, *self._silence.values(), *map(_told, self._faults)]
            why = printable(next(filter(None, told)))
            raise ConfigError(
                f"no member answers: {why}; check that it runs this swarm and that its port can be reached, "
                "or name another member with --peer",
                Exit.NETWORK,
            )
        return self._page()

    async def _visit(self, asking: Asking, visit: Callable[[Door], None]) -> None:
        """Ask one member everything: what it does not answer, or badly, leaves the rest as it is."""
        peer = asking.door.peer
        with trio.move_on_after(PATIENCE_S) as patience:
            certificate = await self._greet(asking)
            if certificate is None:
                return
            with self._heeding(peer):
                wanted = (self._wish.key, *certificate.head.members)
                self._meet(await asking.presences(), wanted)
                for door in filter(None, map(self._door, wanted)):
                    visit(door)
            with self._heeding(peer):
                if peer != self._wish.key:  # its own word on itself is not asked
                    self._opinions[peer] = await asking.opinion(self._wish.key)
            with self._heeding(peer):
                await self._measure(asking, certificate)
            with self._heeding(peer):
                await asking.evidence(self._evidence)
        if patience.cancelled_caught:
            self._silence[peer] = f"{peer} had not shown all it holds after {PATIENCE_S:g} s"

    async def _greet(self, asking: Asking) -> Certificate | None:
        """Dial a member; the head that it stands on, if it answers."""
        peer = asking.door.peer
        try:
            await asking.connect()
            certificate = await asking.head()
        except TransportError as error:
            self._silence[peer] = str(error)
        except RemoteProtocolError as error:
            self._faults.append(error)
        else:
            self._answered.add(peer)
            self._evidence.stand(peer, certificate)
            return certificate
        return None

    @contextmanager
    def _heeding(self, peer: str) -> Iterator[None]:
        try:
            yield
        except TransportError as error:
            self._silence[peer] = str(error)
        except RemoteProtocolError as error:
            self._faults.append(error)

    def _meet(self, entries: dict[str, bytes], wanted: Collection[str]) -> None:
        """Note who is present, those that are wanted first. Who keeps an entry is not to blame for it."""
        ordered = sorted(entries.items(), key=lambda entry: (entry[0] not in wanted, entry[0]))
        for peer, wire in ordered[:MAX_PRESENCES]:
            with self._heeding(peer):
                record = open_record(wire, self._swarm_id, {Presence.KIND: Presence}, peer)
                if record.signer != peer:
                    raise RemoteProtocolError(peer, "bad-presence", f"signed by {record.signer}")
                known = self._presences.get(peer)
                if known is None or known.body.made_at_s < record.body.made_at_s:
                    self._presences[peer] = record

    def _door(self, peer: str) -> Door | None:
        """A way to a member that this client can go, if one is known."""
        presence = self._presences.get(peer)
        for address in presence.body.addresses if presence else ():
            if "/tcp/" not in address:
                continue
            try:
                door = Door.parse(address)
            except ConfigError:
                continue
            if door.peer == peer:
                return door
        return None

    async def _measure(self, asking: Asking, certificate: Certificate) -> None:
        """How long the state of a member's head is. It holds three of them: while rounds close, they move on.

        Raises:
            TransportError: it does not show any.
        """
        for tries_left in reversed(range(SIZE_TRIES)):
            if certificate.id in self._lengths:
                return
            try:
                self._lengths[certificate.id] = await asking.state_bytes(certificate.head)
            except TransportError:
                if not tries_left:
                    raise
                certificate = await asking.head()

    def _page(self) -> Status:
        """Fold what was shown.

        Raises:
            ConfigError: see `read_page`.
        """
        wish, evidence = self._wish, self._evidence
        try:
            chosen = Chosen(evidence.heads, evidence.stands, {door.peer for door in wish.doors})
        except RemoteProtocolError as error:
            raise self._useless(_told(error)) from error
        lengths = {length for id_, length in self._lengths.items() if id_ in chosen.ids}
        model = Model.of_state(wish.manifest.terms, max(lengths, default=0))
        if model is None:
            raise self._useless("nobody shows how large the certified state is")
        folding = Folding(evidence, chosen, wish.manifest.terms, model)
        members = set(chosen.newest.head.members)
        if not folding.rounds and chosen.newest.head.number:
            raise self._useless("nobody shows all records of any round")
        if wish.key not in members and not folding.knows(wish.key):
            raise ConfigError(
                f"no round that members show names {wish.key}; 'dhtnode status' of a node shows its peer id",
                Exit.FAILED,
            )
        seen = Seen(
            at_s=time.time(),
            answered=frozenset(self._answered),
            presences=self._presences,
            opinions=[one for peer, one in sorted(self._opinions.items()) if peer in members],
            faults=[*self._faults, *chosen.faults.values()],
            notices=tuple(map(printable, self._notices(chosen))),
        )
        return page(wish.manifest, wish.key, evidence, chosen, folding, seen)

    def _useless(self, reason: str) -> ConfigError:
        told = [self._cut_short, *map(_told, self._faults), *self._silence.values()]
        first = next(filter(None, told), reason)
        more = "" if first == reason else f" ({first})"
        return ConfigError(
            f"where a member stands can't be told: {reason}{more}; look through others with --peer",
            Exit.FAILED,
        )

    def _notices(self, chosen: Chosen) -> Iterator[str]:
        if self._cut_short:
            yield f"not all was read: {self._cut_short}"
        yield from (f"no answer: {reason}" for reason in self._silence.values())
        for error in (*self._faults, *chosen.faults.values()):
            yield f"no honest peer sends this: {_told(error)}"
        for peer in chosen.elsewhere:
            head = self._evidence.stands[peer].head
            yield f"{peer} stands on another chain: round {head.number}, state {head.state.hex()[:16]}"
        if len(self._evidence.stands) == 1:
            yield "one member alone has shown this: what it holds back is missing here"


def _told(error: RemoteProtocolError) -> str:
    return f"{error.peer or 'nobody'}: {error.reason}: {error.detail}"
