"""The witness of a world: it hears everything the moment it is said, and checks what must always hold.

- a node is bound by its word: one commitment for each head, one vote and one proposal in each view,
  one result for each part, no vote in a view that it had promised to leave, no false promise;
- one value is decided in each agreement, whether or not anybody has noticed yet; two can be only if neither
  has a majority without dishonest electors, and then that round may have two heads;
- one head for each other round of a branch, of the members and votes that its certified roster names, built
  on the round before by a majority of its electors, whose work it counts to the token;
- who has votes keeps some: in no round of a branch does everybody lose theirs;
- who adopts a head holds the state with just that digest, and moves to heavier heads only;
- who comes back from a crash still has all that it had said, and the newest head that was on its disk;
- honest nodes are never blamed, found false or put out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from dhtnode.records import Body, Signed
from training.chain import NOTHING, Certificate, heavier, open_certificate
from training.messages import (
    Commitment,
    Head,
    Promise,
    Proposal,
    Result,
    Roster,
    Vote,
    decode_value,
    value_digest,
)
from training.roster import quorum, voters
from training.state import State
from validation.cases import Case, found_nothing, open_case
from validation.messages import Verdict

Agreed = tuple[bytes, str, bytes | None]
"""One agreement: base, step, and the roster whose round is closed."""


class Witness:
    """Checks a world as it goes.

    Args:
        swarm_id: signature domain.
        dishonest: peers that need not keep the rules; filled by the scenario.
    """

    def __init__(self, swarm_id: bytes, dishonest: set[str]) -> None:
        self.heads: dict[bytes, Head] = {}
        self.blames: Counter[tuple[str, str]] = Counter()
        """How often each dishonest peer was blamed, by reason."""
        self.verdicts: Counter[tuple[str, str]] = Counter()
        """Verdicts taken in, by outcome and role; each counts at everybody who took it in."""
        self.about: Counter[str] = Counter()
        """The same by what they judge."""
        self.cases: dict[str, Case] = {}
        """The first case against each key that is out."""
        self.views: dict[Agreed, int] = {}
        """In which view each agreement was decided first."""
        self.records = 0
        self._swarm_id = swarm_id
        self._dishonest = dishonest
        self._places: dict[tuple[bytes, int], bytes] = {}
        self._at: dict[tuple[str, int], Head] = {}
        self._stored: dict[str, bytes] = {}
        """The newest head on each node's disk."""
        self._journals: dict[str, set[bytes]] = {}
        """Ids of all that each node has said."""
        self._words: dict[tuple[object, ...], bytes] = {}
        """What a signer said where it may say only one thing."""
        self._promised: dict[tuple[str, Agreed], int] = {}
        self._voted: dict[tuple[str, Agreed], tuple[int, bytes]] = {}
        self._commitments: dict[bytes, Signed[Commitment]] = {}
        self._reducers: dict[bytes, str] = {}
        self._rosters: dict[bytes, Roster] = {}
        self._votes: dict[tuple[Agreed, int, bytes], set[str]] = {}
        self._decided: dict[Agreed, dict[bytes, set[str]]] = {}
        """What each agreement has come to, and who has voted for it."""

    # What nodes say

    def said(self, record: Signed[Body]) -> None:
        """A node signed a record and has it on its disk."""
        self.records += 1
        self._journals.setdefault(record.signer, set()).add(record.id)
        body = record.body
        honest = record.signer not in self._dishonest
        if isinstance(body, Commitment):
            self._commitments[record.id] = cast("Signed[Commitment]", record)
            self._only(honest, record, (body.base,))
        elif isinstance(body, Proposal):
            if body.step == "roster":
                self._rosters[value_digest(body.value)] = decode_value(body.value, Roster)
            self._only(honest, record, (body.base, body.step, body.roster, body.view))
        elif isinstance(body, Result):
            self._reducers[record.id] = record.signer
            self._only(honest, record, (body.base, body.roster, body.part))
        elif isinstance(body, Promise) and honest:
            self._on_promise(record.signer, body)
        elif isinstance(body, Vote) and body.step != "found":
            self._only(honest, record, (body.base, body.step, body.roster, body.view))
            if honest:
                self._on_vote(record.signer, body)
            self._count(record.signer, body)

    def _only(self, honest: bool, record: Signed[Body], place: tuple[object, ...]) -> None:
        known = self._words.setdefault((record.signer, record.body.KIND, *place), record.id)
        assert known == record.id or not honest, f"{record.signer} contradicts itself: {record.body}"

    def _on_promise(self, signer: str, body: Promise) -> None:
        agreed = (body.base, body.step, body.roster)
        voted = self._voted.get((signer, agreed))
        claimed = None if body.voted_view is None or body.voted is None else (body.voted_view, body.voted)
        assert claimed == voted, f"a false promise: {body}, voted {voted}"
        assert body.view >= self._promised.get((signer, agreed), 0), f"goes back: {body}"
        self._promised[signer, agreed] = body.view

    def _on_vote(self, signer: str, body: Vote) -> None:
        agreed = (body.base, body.step, body.roster)
        assert body.view >= self._promised.get((signer, agreed), 0), f"breaks its promise: {body}"
        self._voted[signer, agreed] = (body.view, body.value)

    def _count(self, signer: str, body: Vote) -> None:
        agreed = (body.base, body.step, body.roster)
        electors = self._electors(agreed)
        behind = self._votes.setdefault((agreed, body.view, body.value), set())
        behind |= {signer} & set(electors)
        decided = self._decided.setdefault(agreed, {})
        if len(behind) >= quorum(electors):
            decided.setdefault(body.value, behind)
            self.views.setdefault(agreed, body.view)
        for each in decided.values() if len(decided) > 1 else ():
            assert len(each - self._dishonest) < quorum(electors), f"two values are decided: {body}"

    def is_split(self, base: bytes) -> bool:
        """Whether dishonest electors had two rosters decided, or two ends of one."""
        rosters = self._decided.get((base, "roster", None), {})
        ends = (self._decided.get((base, "close", one), {}) for one in rosters)
        return len(rosters) > 1 or any(len(each) > 1 for each in ends)

    def _electors(self, agreed: Agreed) -> tuple[str, ...]:
        base, _, roster = agreed
        return self.heads[base].electors if roster is None else voters(*self._listed(roster)[:2])

    def _listed(self, roster: bytes) -> tuple[tuple[str, ...], tuple[int, ...], tuple[bytes, ...]]:
        """Members, votes and amendments of a roster."""
        found = self._rosters[roster]
        members = tuple(self._commitments[id_].signer for id_ in found.commitments)
        return members, found.votes, found.amendments

    def judged(self, verdict: Signed[Verdict]) -> None:
        """A node takes a verdict in: the honest are never found false by the honest.

        That one was not shown what it asked for can be true of any bad line, and has no effect by itself.
        """
        body = verdict.body
        liars = {verdict.signer, body.worker} & self._dishonest
        assert body.outcome == "pass" or found_nothing(verdict) or liars, f"false alarm: {verdict}"
        self.verdicts[body.outcome, body.role] += 1
        self.about[body.about] += 1

    def convicted(self, case: Case) -> None:
        """A node puts a key out."""
        assert case.guilty in self._dishonest, f"an honest key is out: {case.text}"
        open_case(case.wire, self._swarm_id)
        self.cases[case.guilty] = case

    def author(self, commitment: bytes) -> str:
        """Whose commitment that is."""
        return self._commitments[commitment].signer

    def reducer(self, result: bytes) -> str:
        """Who has reduced that."""
        return self._reducers[result]

    def commitment(self, base: bytes, peer: str) -> Commitment:
        """What a peer committed to in the round that follows a head."""
        of = (record.body for record in self._commitments.values() if record.signer == peer)
        return next(body for body in of if body.base == base)

    # What nodes hold

    def adopted(self, peer: str, life: int, certificate: Certificate, state: State) -> None:
        """A node takes a head for final."""
        head = certificate.head
        assert state.digest == head.state, "adopts a head without its state"
        known = self._places.setdefault((head.branch, head.number), certificate.id)
        one = known == certificate.id or self.is_split(head.parent)
        assert one, f"two heads for round {head.number} of one branch"
        if certificate.id not in self.heads:
            open_certificate(certificate.wire, self._swarm_id, peer)
            self._check_child(head)
            self.heads[certificate.id] = head
        before = self._at.get((peer, life))
        founding = before is not None and head.parent == before.id and head.founder == peer
        assert before is None or founding or heavier(head, before), f"moves from {before} back to {head}"
        self._at[peer, life] = head

    def stored(self, peer: str, certificate: Certificate) -> None:
        """The newest head on a node's disk: a new one, or the one before that which a crash has taken."""
        self._stored[peer] = certificate.id

    def resumed(self, peer: str, heads: Sequence[Certificate], own: Iterable[Signed[Body]]) -> None:
        """A node starts on what its disk holds."""
        newest = heads[-1].id if heads else None
        assert newest == self._stored.get(peer), f"{peer} has lost the head that it had stored"
        missing = self._journals.get(peer, set()) - {record.id for record in own}
        assert not missing or peer in self._dishonest, f"{peer} has lost {len(missing)} of its own records"

    def _check_child(self, head: Head) -> None:
        if head.parent == NOTHING:
            return
        parent = self.heads[head.parent]
        if not head.results:
            assert (head.number, head.state, head.tokens) == (parent.number, parent.state, parent.tokens)
            assert head.marks == parent.marks + 1
            assert head.amendments == parent.amendments
            assert head.votes == (parent.vote_of(head.founder),), "a founding changes nobody's vote"
            return
        assert (head.number, head.branch, head.marks) == (parent.number + 1, parent.branch, parent.marks)
        rosters = map(self._listed, self._decided[head.parent, "roster", None])
        assert (head.members, head.votes, head.amendments) in rosters
        assert head.amendments[: len(parent.amendments)] == parent.amendments, "what was adopted stays so"
        assert len(set(head.electors) & set(parent.electors)) >= quorum(parent.electors)
        assert any(head.votes) or not any(parent.votes), "nobody has a vote any more"
        accepted = [self._commitments[id_] for id_ in head.accepted]
        counted = [commitment.body.tokens for commitment in accepted if commitment.signer in head.electors]
        assert head.tokens == parent.tokens + sum(counted)
        assert {commitment.signer for commitment in accepted} <= set(head.members)
        assert all(commitment.body.base == head.parent for commitment in accepted)

    # What nodes hold against each other

    def blamed(self, peer: str, reason: str, detail: str) -> None:
        """A node counts something against a peer."""
        assert peer in self._dishonest, f"{peer} is honest and blamed: {reason} ({detail})"
        self.blames[peer, reason] += 1


__all__ = ["Witness"]
