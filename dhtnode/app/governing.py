"""Votes on the manifest's constants at one node: what it holds, what it says, and what it tells its user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import msgspec

from dhtnode.amendments import Amendment, Setting, amend, changes_fault
from dhtnode.app.bulletin import Bulletin
from dhtnode.errors import ConfigError, Exit
from dhtnode.identity import Identity
from dhtnode.manifest import terms_digest
from dhtnode.proposals import ProposalPart, Proposals, State
from dhtnode.records import Body, Signed
from dhtnode.status import TermsPart
from rewards.entries import raw_key
from rewards.governance import GOVERNANCE, Assembly, Ballot, Vested, weights
from training.in_force import TermsInForce
from training.messages import Head


class Governing:
    """One node's side of all votes; a board of the bulletin.

    Args:
        identity: own.
        in_force: the terms, round by round.
        vested: see `governance.Assembly`.
        head: that the node stands on, None before it has one.
    """

    kinds: Mapping[str, type[Body]] = GOVERNANCE

    def __init__(
        self, identity: Identity, in_force: TermsInForce, vested: Vested, head: Callable[[], Head | None]
    ) -> None:
        self.assembly = Assembly(in_force, vested)
        self._identity = identity
        self._in_force = in_force
        self._vested = vested
        self._head = head
        self._told: tuple[bytes, ...] = ()
        """Amendments of which the operator has heard."""

    def restore(self, bulletin: Bulletin) -> None:
        """Know all amendments of before a restart, so that the newest head's are there."""
        for record in bulletin.stored(Amendment.KIND):
            self.assembly.keep(cast("Signed[Amendment]", record))

    def stood(self, bulletin: Bulletin) -> None:
        """The node stands on its first head since it was started: now ballots can be weighed."""
        for record in bulletin.stored(Ballot.KIND):
            self.assembly.add(record, self._head())
        self._told = self._in_force.adopted

    # A board of the bulletin

    def take(self, record: Signed[Body], head: Head | None) -> bool:
        return self.assembly.add(record, head or self._head())

    def records(self) -> Mapping[bytes, bytes]:
        return self.assembly.records(self._head())

    # What the user says

    async def propose(self, bulletin: Bulletin, changes: dict[str, str], effect: int | None, why: str) -> str:
        """Propose new values.

        Args:
            bulletin: where it is said.
            changes: JSON by key.
            effect: the first round under them; None for the first epoch's that leaves a whole one to vote.
            why: for the others to read.

        Returns:
            The proposal's id in hex.

        Raises:
            ConfigError: FAILED (1); it can't be adopted, and why.
        """
        head = self._stands()
        epoch_rounds = self._in_force.manifest.reward.epoch_rounds
        if effect is None:
            effect = -(-(head.number + 2 * epoch_rounds) // epoch_rounds) * epoch_rounds
        try:
            settings = tuple(Setting(key=key, value=value) for key, value in changes.items())
            body = msgspec.convert(
                msgspec.to_builtins(Amendment(round=head.number, effect=effect, changes=settings, why=why)),
                Amendment,
            )
            amended = amend(self._in_force.now, settings)
            self._in_force.check(amended)
        except (msgspec.ValidationError, ValueError) as error:
            raise ConfigError(f"this can't be adopted: {error}", Exit.FAILED) from error
        if terms_digest(amended) == terms_digest(self._in_force.now):
            raise ConfigError("these values hold already", Exit.FAILED)
        if effect >= self._in_force.now.round.rounds:
            raise ConfigError(
                f"the swarm ends before round {effect}: round.rounds is {self._in_force.now.round.rounds}",
                Exit.FAILED,
            )
        record = await bulletin.say(body)
        if record is None:
            raise ConfigError(
                f"nobody would take it in: --round has to be {head.number + epoch_rounds + 1} or later, and "
                "this node a member of the round, or an owner, with fewer than four open proposals",
                Exit.FAILED,
            )
        return record.id.hex()

    async def vote(self, bulletin: Bulletin, proposal: str, yes: bool) -> str:
        """Sign a ballot. Returns the proposal's id in hex.

        Raises:
            ConfigError: FAILED (1); no such open vote, or this key has said yes.
        """
        amendment = self._named(proposal)
        me = self._identity.peer_id
        said = {one.body.yes for one in self.assembly.ballots(amendment.id) if one.signer == me}
        if amendment.signer == me or True in said:
            raise ConfigError("this node is for it already, and can't take that back", Exit.FAILED)
        record = await bulletin.say(Ballot(amendment=amendment.id, yes=yes))
        if record is None:
            known = "it has said so already" if yes in said else "it is in no round and owns nothing"
            raise ConfigError(f"this node's vote does not count: {known}", Exit.FAILED)
        return amendment.id.hex()

    def _named(self, prefix: str) -> Signed[Amendment]:
        """The open proposal whose id begins so."""
        found = [one for one in self.assembly.open(self._stands()) if one.id.hex().startswith(prefix.lower())]
        if len(found) != 1 or not prefix:
            what = "several open proposals begin" if found else "no open proposal begins"
            raise ConfigError(f"{what} with '{prefix}'; 'dhtnode proposals' lists them", Exit.FAILED)
        return found[0]

    def _stands(self) -> Head:
        head = self._head()
        if head is None:
            raise ConfigError(
                "the node has not joined yet; try again when 'dhtnode status' has a round", Exit.FAILED
            )
        return head

    # What the user sees

    def proposals(self) -> Proposals:
        """All votes that run, and what the followed chain has adopted.

        Raises:
            ConfigError: the node stands on no head yet.
        """
        head = self._stands()
        adopted = [self.assembly.amendment(id_) for id_ in head.amendments]
        listed = [*(one for one in adopted if one is not None), *self.assembly.open(head)]
        vested = self._vested(head.number)
        own = None
        if vested is not None:
            own = weights(vested, self._in_force.now.reward).get(raw_key(self._identity.peer_id), 0)
        return Proposals(round=head.number, own=own, proposals=tuple(self._part(one, head) for one in listed))

    def _part(self, amendment: Signed[Amendment], head: Head) -> ProposalPart:
        body, tally = amendment.body, None
        state: State = "in force" if body.effect <= head.number else "adopted"
        if amendment.id not in head.amendments:
            state, tally = "open", self.assembly.tally(amendment, head)
        others = (amendment.id,) if state == "open" else ()
        return ProposalPart(
            id=amendment.id.hex(),
            by=amendment.signer,
            round=body.round,
            changes={change.key: change.value for change in body.changes},
            why=body.why,
            state=state,
            effect=body.effect,
            last=body.effect - self._in_force.manifest.reward.epoch_rounds - 1,
            given=tally.given if tally else None,
            against=tally.against if tally else None,
            needed=tally.needed if tally else None,
            total=tally.total if tally else None,
            fault=changes_fault(body.changes) or self._in_force.fault((*head.amendments, *others)),
        )

    def terms(self) -> TermsPart:
        """What the node plays by."""
        in_force, head = self._in_force, self._head()
        return TermsPart(
            digest=terms_digest(in_force.now).hex(),
            since_round=in_force.since,
            amendments=tuple(id_.hex() for id_ in in_force.adopted),
            next_round=in_force.next_change(head.number) if head is not None else None,
        )

    def news(self, head: Head) -> list[str]:
        """What the operator should know of a new head: what was adopted, and what holds from now on."""
        told = []
        for id_ in head.amendments:
            amendment = self.assembly.amendment(id_)
            if amendment is None:
                continue
            effect, short = amendment.body.effect, id_.hex()[:12]
            what = ", ".join(f"{change.key} = {change.value}" for change in amendment.body.changes)
            if id_ not in self._told:
                told.append(f"adopted: from round {effect} on, {what} (amendment {short})")
            if effect == head.number:
                told.append(f"from this round on, {what} (amendment {short})")
        fault = self._in_force.fault(head.amendments)
        self._told = head.amendments
        if told and fault:
            told.append(f"this dhtnode can't follow, update it in time: {fault}")
        return told

    async def fetch(self, bulletin: Bulletin, peers: Sequence[str], head: Head) -> None:
        """Get the amendments that a head names from whoever has them."""
        for peer in peers:
            if self._in_force.missing(head.amendments):
                await bulletin.ask(peer, head)
