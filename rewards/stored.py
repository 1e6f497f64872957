"""The terms in force, and the ledger's rules, from a home's store: for readers that no node answers."""

from __future__ import annotations

from dhtnode.amendments import Amendment
from dhtnode.manifest import Manifest
from dhtnode.records import open_record
from dhtnode.store import Store
from rewards.data import Registration, register, training_chunks
from rewards.heads import newest_head
from rewards.ledger import Rules, rules_in_force
from training.in_force import TermsInForce


def stored_terms(store: Store, manifest: Manifest) -> TermsInForce:
    """What the node of this store plays by, or played by when it ended.

    Raises:
        RemoteProtocolError: the store is another swarm's, or damaged.
    """
    in_force = TermsInForce(manifest.terms)
    head = newest_head(store)
    if head is None:
        return in_force
    for stored in store.all_records(Amendment.KIND):
        in_force.learn(open_record(stored.wire, manifest.swarm_id, {Amendment.KIND: Amendment}))
    in_force.stand_on(head.amendments, head.number)
    return in_force


def stored_rules(store: Store, manifest: Manifest, round_no: int, parameters: int) -> Rules:
    """By which the rounds before one are booked: with amendments, and with all shards that are registered.

    Raises:
        RemoteProtocolError: the store is another swarm's, or damaged.
    """
    kinds = {Registration.KIND: Registration}
    shards = [open_record(one.wire, manifest.swarm_id, kinds) for one in store.all_records(Registration.KIND)]
    chunks = training_chunks(manifest.terms.data)
    return rules_in_force(
        stored_terms(store, manifest),
        round_no - 1,
        parameters,
        registry_of=lambda section: register(shards, chunks, section),
    )
