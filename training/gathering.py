"""First half of a round: who is in. Commitments are collected and a roster is agreed on.

The leader waits for everybody it expects (the members of the head, and newcomers that have said
they are ready), or until the learned deadline, and in any case for a majority of the electors.
Electors vote for a list of commitments that they have seen themselves, and for what each counts.

Votes are opinions, and a swarm needs one; so is whether an amendment to the manifest has the votes that
it needs, while ledgers differ. What stayed as it was in the certified head is never refused.
In view 0 the leader may propose what it thinks, if most electors think so, too; in later views it
leaves all as it was. So a difference of opinion costs one view and never the round. Two consecutive
electorates share a majority of the older one, and who has votes keeps some. Bans are opinions, too: a leader
leaves out whom it has banned, if enough others are there; an elector refuses a roster for it in view 0 alone.
A newcomer that a node has not seen pay is in no roster that it proposes, nor votes for; so later leaders, who
must be sure of a majority, take the members of the head alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import Terms
from dhtnode.records import Body, Signed, sign
from training.agreement import Agreement, Instance
from training.events import Plan, Work
from training.in_force import Ids, TermsInForce
from training.messages import (
    MAX_MEMBERS,
    Commitment,
    Head,
    Leave,
    Ready,
    Roster,
    decode_value,
    encode_value,
)
from training.pace import Pace
from training.partition import partition, shares
from training.pool import RecordPool
from training.regard import Halves, Peers, Regard
from training.roster import ordered, quorum, voters

FaultFinder = Callable[[Commitment, Head, Terms], str | None]


@dataclass(frozen=True)
class RoundContext:
    """What stays the same from round to round."""

    identity: Identity
    swarm_id: bytes
    in_force: TermsInForce
    """What the swarm's members have agreed on, round by round."""
    chunk_count: int
    """Chunks of one encoded update."""
    device: str
    """Device profile, for commitments."""
    find_fault: FaultFinder
    """What is wrong with a commitment, or None; see `validation.commitment`."""
    link: Callable[[int], bytes]
    """This member's link of the audit lottery for a round; see `validation.lottery`."""
    regard: Regard = field(default_factory=Regard)
    """What this node thinks of the others."""
    adoptable: Callable[[Head], Ids] = lambda head: ()
    """Ids of amendments that have the votes by this node's ledger: what the next round should adopt."""
    dated: Callable[[int], bytes | None] = lambda round_no: None
    """Id of a record of this member that its commitment to a round is to date, if there is one. That record
    can be made again after a crash."""
    excluded: set[str] = field(default_factory=set)
    """Keys that have proven themselves false: nobody takes their work in any more. Whoever judges adds to it
    while rounds run."""

    def is_out(self, peer: str) -> bool:
        """Whether this node takes in nothing of a peer, be that proven to all or its own opinion."""
        return peer in self.excluded or self.regard.shuns(peer)

    @property
    def terms(self) -> Terms:
        """Those of the round that is being played."""
        return self.in_force.now


class Gathering:
    """A node's view of who takes part in a round.

    Args:
        context: identity and terms.
        head: what the round starts from.
        pool: the round's records.
        pace: learned deadlines.
        now_s: the caller's clock.
    """

    def __init__(self, context: RoundContext, head: Head, pool: RecordPool, pace: Pace, now_s: float) -> None:
        self.committed = False
        self._context = context
        self._head = head
        self._pool = pool
        self._pace = pace
        self._start_s = now_s
        self._delays_s: dict[str, float] = {}
        self._faults: dict[bytes, str | None] = {}
        """What is wrong with each commitment, by its id: a round's terms stay as they are."""
        patience_s = pace.train.limit_s + pace.roster.limit_s
        self.agreement = Agreement(
            Instance(head.number, head.id, "roster"),
            ordered(head.electors, head.state, head.number, "leader"),
            context.identity,
            context.swarm_id,
            now_s + patience_s,
            pace.roster.limit_s,
        )

    def commit(self, work: Work, now_s: float) -> Signed[Commitment]:
        """Sign what local work produced."""
        self.committed = True
        commitment = Commitment(
            round=self._head.number,
            base=self._head.id,
            start=self._head.state,
            steps=work.steps,
            tokens=work.tokens,
            weight=work.weight,
            parts=work.parts,
            segments=work.segments,
            loss_micro=work.loss_micro,
            bandwidth=work.bandwidth,
            device=self._context.device,
            link=self._context.link(self._head.number),
            private=self._context.terms.data.mode == "private",
            dated=self._context.dated(self._head.number),
        )
        self._delays_s.setdefault(self._context.identity.peer_id, now_s - self._start_s)
        return sign(self._context.identity, self._context.swarm_id, commitment)

    def on_commitment(self, signer: str, body: Commitment, now_s: float) -> None:
        """Take in a commitment that the pool has kept.

        Raises:
            RemoteProtocolError: it can't be true.
        """
        self._delays_s.setdefault(signer, now_s - self._start_s)
        fault = self._context.find_fault(body, self._head, self._context.terms)
        if fault:
            raise RemoteProtocolError(signer, "bad-commitment", fault)

    def advance(self, now_s: float) -> list[Signed[Body]]:
        """Own records that are due: promises, a proposed roster, a vote."""
        if self.agreement.decision is not None:
            return []
        if not self.agreement.has_proposal and not self.is_ripe:  # another leader would have to wait, too
            self.agreement.deadline_s = max(self.agreement.deadline_s, now_s + self._pace.roster.limit_s)
        elif self._lacks_only_its_leader:
            self.agreement.deadline_s = min(self.agreement.deadline_s, now_s)
        elif self._awaits_votes and self.is_ripe:
            self.agreement.deadline_s = min(self.agreement.deadline_s, now_s + self._pace.roster.limit_s)
        return self.agreement.advance(
            now_s, lambda: self._make_roster(now_s), self._acceptable, self._arguable
        )

    def plan(self, now_s: float, but: bytes | None = None) -> Plan | None:
        """The certified roster, once it and all its commitments are here.

        Args:
            now_s: the caller's clock.
            but: digest of the one that is reduced already.
        """
        decision = self.agreement.decision
        if decision is None or decision.digest == but:
            return None
        listed = self._open(decision.value)
        if listed is None:
            return None
        commitments_N, roster = listed
        if len({commitment.signer for commitment in commitments_N}) != len(commitments_N):
            return None  # no honest elector votes for it
        self._learn()
        offered = [commitment.body.bandwidth for commitment in commitments_N]
        return Plan(
            round=self._head.number,
            base=self._head.id,
            roster=decision.digest,
            commitments_N=commitments_N,
            votes_N=roster.votes,
            ranges_N=tuple(partition(self._context.chunk_count, shares(offered, roster.votes))),
            amendments=roster.amendments,
        )

    def deadline_s(self) -> float:
        """When a roster is proposed with whoever has committed, on the caller's clock."""
        if self._founding and len(self._pool.commitments) < self._context.terms.round.min_peers:
            return math.inf
        return self._start_s + self._pace.train.limit_s

    def reason(self, now_s: float) -> str:
        """What is being waited for, for `status`."""
        seen, expected = len(self._pool.commitments), self._expected_count()
        if not self.committed:
            return f"training; {seen} of {expected} commitments seen"
        if self.agreement.has_proposal:
            return f"roster proposed: {self.agreement.progress()}"
        left_s = self.deadline_s() - now_s
        if math.isinf(left_s):
            return f"waiting for {expected - seen} of {expected} commitments before the first round"
        if left_s < 0 and not self._continues(self._pool.commitments):
            need, electors = quorum(self._head.electors), len(self._head.electors)
            return f"waiting for a majority: {seen} commitments, {need} of the {electors} electors needed"
        return f"waiting for {expected - seen} of {expected} commitments, {max(0.0, left_s):.1f} s left"

    @property
    def _founding(self) -> bool:
        """A founding node waits for its company before the very first round closes."""
        return self._head.number == 0 and self._context.terms.round.min_peers > 1

    @property
    def _enough(self) -> int:
        return self._context.terms.round.min_peers if self._founding else 1

    @property
    def expected(self) -> set[str]:
        """Members and newcomers whose commitment is waited for: not those who go, nor who signed two."""
        ready = {record.signer for record in self._pool.of(Ready)}
        candidates = (set(self._head.members) | ready) - self._left - self._pool.equivocators
        return {peer for peer in candidates if self._enters(peer) and not self._context.is_out(peer)}

    @property
    def _left(self) -> set[str]:
        return {record.signer for record in self._pool.of(Leave)}

    @property
    def _everybody_is_in(self) -> bool:
        return self.expected <= set(self._pool.commitments)

    @property
    def _lacks_only_its_leader(self) -> bool:
        """Whether the next leader could propose at once, and this one has said that it goes, or is out."""
        leader = self.agreement.leader(self.agreement.view)
        gone = leader in self._left or self._context.is_out(leader)
        return gone and self._everybody_is_in and not self.agreement.has_proposal

    @property
    def _awaits_votes(self) -> bool:
        """Whether the first leader has proposed: nobody has to wait for work any more, only for votes.

        They may never come. A proof that a member is a cheat can arrive after the leader proposed a roster
        with that member in it, and before the others voted.
        """
        return self.agreement.view == 0 and self.agreement.has_first_proposal

    @property
    def lacks_records(self) -> bool:
        """Whether commitments of the proposed roster are not here."""
        value = self.agreement.proposed_value()
        return value is not None and self._open(value) is None

    def _expected_count(self) -> int:
        return max(len(self.expected | set(self._pool.commitments)), self._enough)

    def _make_roster(self, now_s: float) -> bytes | None:
        commitments = self._welcome_commitments
        everybody = self.expected <= set(commitments)
        due = everybody or now_s >= self.deadline_s()
        if not due or not self._suffice(commitments):
            return None
        members, electors = self._head.members, self._head.electors
        by_trust = self._context.regard.matched(commitments)
        by_standing = sorted(by_trust, key=lambda peer: (peer not in electors, peer not in members))
        peers = ordered(by_standing[:MAX_MEMBERS], self._head.state, self._head.number, "roster")
        ids = tuple(commitments[peer].id for peer in peers)
        return encode_value(Roster(commitments=ids, votes=self._votes(peers), amendments=self._amendments()))

    def _votes(self, peers: Peers) -> tuple[int, ...]:
        """What this node would have peers count for: its opinion, if it is the first to lead."""
        before = self._before(peers)
        regard = self._context.regard
        votes = tuple(regard.proposed_votes(peers, before)) if self.agreement.view == 0 else before
        return votes if self._hands_on(peers, votes) else before

    def _amendments(self) -> tuple[bytes, ...]:
        """What this node would adopt, if it is the first to lead."""
        before = self._head.amendments
        after = (*before, *self._context.adoptable(self._head)) if self.agreement.view == 0 else before
        return after if self._may_adopt(after) else before

    def _may_adopt(self, after: Ids) -> bool:
        return self._context.in_force.may_adopt(self._head.amendments, after, self._head.number + 1)

    def _before(self, peers: Peers) -> tuple[int, ...]:
        return tuple(self._head.vote_of(peer) for peer in peers)

    @property
    def _sound_commitments(self) -> dict[str, Signed[Commitment]]:
        return {peer: record for peer, record in self._pool.commitments.items() if self._sound(record)}

    @property
    def _welcome_commitments(self) -> dict[str, Signed[Commitment]]:
        """Those that this node would propose: without whom others may refuse, if the rest are enough."""
        entered = self._entered_commitments
        first, members = self.agreement.view == 0, self._head.members
        welcome = {
            peer: record
            for peer, record in entered.items()
            if not self._context.regard.shuns(peer) and (first or peer in members)
        }
        return welcome if self._suffice(welcome) else entered

    @property
    def _entered_commitments(self) -> dict[str, Signed[Commitment]]:
        return {peer: record for peer, record in self._sound_commitments.items() if self._enters(peer)}

    def _enters(self, peer: str) -> bool:
        """Whether a peer is a member already, or may become one as far as this node can see."""
        return peer in self._head.members or self._context.regard.may_enter(peer)

    def _sound(self, commitment: Signed[Commitment]) -> bool:
        if commitment.signer in self._context.excluded:
            return False
        if commitment.id not in self._faults:
            terms = self._context.terms
            self._faults[commitment.id] = self._context.find_fault(commitment.body, self._head, terms)
        return self._faults[commitment.id] is None

    @property
    def is_ripe(self) -> bool:
        """Whether enough has been committed for a roster."""
        return self._suffice(self._entered_commitments)

    def _suffice(self, peers: Collection[str]) -> bool:
        return len(peers) >= self._enough and self._continues(peers)

    def _continues(self, peers: Iterable[str]) -> bool:
        """Whether a majority of the electors is in: a bad minute must not hand the swarm to one node."""
        return len(set(peers) & set(self._head.electors)) >= quorum(self._head.electors)

    def _hands_on(self, peers: Peers, votes: Halves) -> bool:
        """Whether a majority of the electors still are such in the next round: nor must votes do it."""
        return self._continues(voters(peers, votes)) and (any(votes) or not any(self._head.votes))

    def _acceptable(self, value: bytes) -> bool:
        """We vote for what is sound, if votes and amendments in it are as they were or as we could think."""
        sound = self._sound_roster(value)
        if sound is None:
            return False
        peers, roster = sound
        regard, before = self._context.regard, self._before(peers)
        if not all(map(self._enters, peers)):
            return False
        if self.agreement.view == 0 and any(map(regard.shuns, peers)):
            return False
        new = set(roster.amendments[len(self._head.amendments) :])
        if new and not new <= set(self._context.adoptable(self._head)):
            return False
        return roster.votes == before or regard.accepts_votes(peers, roster.votes, before)

    def _arguable(self, value: bytes) -> bool:
        """Whether a sound roster changes votes, adopts something, or lets in who is not seen to have paid:
        honest electors may differ in that.
        """
        sound = self._sound_roster(value)
        if sound is None:
            return False
        peers, roster = sound
        differs = roster.votes != self._before(peers) or roster.amendments != self._head.amendments
        return differs or not all(map(self._enters, peers))

    def _sound_roster(self, value: bytes) -> tuple[tuple[str, ...], Roster] | None:
        """A roster of commitments that we have all seen, sound, in the one right order; and its peers."""
        listed = self._open(value)
        if listed is None:
            return None
        commitments, roster = listed
        peers = tuple(commitment.signer for commitment in commitments)
        sound = all(self._sound(commitment) for commitment in commitments)
        sound = sound and self._hands_on(peers, roster.votes) and self._may_adopt(roster.amendments)
        in_order = peers == ordered(set(peers), self._head.state, self._head.number, "roster")
        return (peers, roster) if sound and in_order else None

    def _open(self, value: bytes) -> tuple[tuple[Signed[Commitment], ...], Roster] | None:
        """A roster and its commitments, once all of them are here."""
        try:
            roster = decode_value(value, Roster)
        except ValueError:
            return None
        found = [self._pool.get(id_, Commitment) for id_ in roster.commitments]
        known = tuple(commitment for commitment in found if commitment is not None)
        complete = len(known) == len(found) == len(roster.votes)
        return (known, roster) if complete else None

    def _learn(self) -> None:
        """How long the work takes those who set the pace: the electors, who began together.

        A newcomer's commitment tells when it came, not how long it worked. A newcomer itself learns
        from members that committed after it had begun: a late start makes them look faster, so it
        does fewer steps and is in time. By its own time, a slow one would be late for ever.
        A founder on its own sets no pace for those who have just come.
        """
        if len(self._head.members) == 1 < len(self._delays_s):
            return
        delays_s = [delay for peer, delay in self._delays_s.items() if peer in self._head.electors]
        if self._context.identity.peer_id not in self._head.members:
            delays_s = [delay for delay in delays_s if delay > 0]
        if delays_s:
            self._pace.learn_train(delays_s)

    @property
    def was_cut_short(self) -> bool:
        """Whether the first leader had proposed, and was left because the votes did not come in time."""
        return self.agreement.view > 0 and self.agreement.has_first_proposal

    @property
    def undisturbed(self) -> bool:
        """Whether the first leader got through with everybody it waited for."""
        return self.agreement.view == 0 and self._everybody_is_in

    def since_last_commitment_s(self, now_s: float) -> float:
        return now_s - self._start_s - max(self._delays_s.values(), default=0.0)
