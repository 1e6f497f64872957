"""What this node's user wants registered, on the disk for good.

A registration names the round whose commitment dates it, so it is signed when the node commits. From a wish
and a round follows one registration, with one id: what a commitment names can be made again after a crash. If
the round closes without this node, or its branch is left, the next commitment names the same wish, signed for
its own round.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from dhtnode.store import Store
from rewards.data import Registration

_WISHES = "shards.wishes"
"""Fact of a store."""
ROUNDS_NAMED = 16
"""Of one wish, the last. A guess: more would matter only if so many rounds in a row became known late."""


class Wish(msgspec.Struct, frozen=True):
    """One shard."""

    shard: Registration
    """Its round is that in which the user said so."""
    named: tuple[int, ...] = ()
    """Rounds to which this node has committed, or was about to, naming it."""

    def at(self, round_no: int) -> Registration:
        """The registration that a round's commitment names."""
        return msgspec.structs.replace(self.shard, round=round_no)

    def became(self, shard: Registration) -> bool:
        """Whether a registration is this one, whatever its round."""
        return self.at(shard.round) == shard

    def is_like(self, shard: Registration) -> bool:
        """Whether it is about the same, whatever its round and salt."""
        return msgspec.structs.replace(self.at(shard.round), salt=shard.salt) == shard


class Wishes:
    """One node's.

    Args:
        store: the node's, used from the event loop's thread only.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        packed = store.fact(_WISHES)
        self._wishes = msgspec.msgpack.decode(packed, type=list[Wish]) if packed else []

    def add(self, wish: Wish) -> None:
        """The user wants this registered."""
        self._wishes.append(wish)
        self._keep()

    def waiting(self, registered: Iterable[Registration]) -> list[Wish]:
        """Those that are not among the node's own registrations, the oldest first."""
        own = list(registered)
        return [wish for wish in self._wishes if not any(map(wish.became, own))]

    def name(self, wish: Wish, round_no: int) -> None:
        """A commitment to a round is about to name a wish: on the disk once this returns."""
        if round_no in wish.named:
            return
        named = (*wish.named, round_no)[-ROUNDS_NAMED:]
        self._wishes[self._wishes.index(wish)] = Wish(wish.shard, named)
        self._keep()

    def _keep(self) -> None:
        self._store.set_fact(_WISHES, msgspec.msgpack.encode(self._wishes))
