"""Ledgers for a simulated world: each node's real standing, on a real store that survives its crashes.

Worlds without ledgers do not load this: it brings the whole shell of the real node with it.
"""

from __future__ import annotations

from pathlib import Path

from dhtnode.app.standing import Standing
from dhtnode.identity import Identity
from dhtnode.manifest import Terms
from dhtnode.store import Store
from rewards.book import Book
from rewards.heads import Heads
from rewards.ledger import rules_of
from tests.sim.model import SHAPE, SIZES, SWARM
from training.in_force import TermsInForce


class Ledgers:
    """Stores in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, peer_id: str) -> Store:
        return Store.open(self._folder / f"{peer_id}.db")

    def standing(self, store: Store, in_force: TermsInForce, identity: Identity) -> Standing:
        return Standing(*(store, in_force, SWARM, identity), parameters=SHAPE.params, sizes_K=SIZES)


def book(store: Store, terms: Terms) -> tuple[Book, Heads]:
    """A ledger as anybody reads it who has the store, and the chain it follows."""
    return Book(store, rules_of(terms, SHAPE.params)), Heads(store)
