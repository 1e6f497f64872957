"""From verified records to the entries that the ledger reads.

A closed round is a certificate with the records that its head names: the roster's commitments and one
result for each part. Whoever holds these can derive the same entries, also years later; nobody issues
them. A record that does not fit the round it claims to belong to gives no entry: it is refused with the
reason.

No record says yet how far clipping pulled an update in, so quality counts only what was in time; and no
verdict says when it was signed, so one counts as on time if it was taken in at all: who was there refuses
those on rounds that are older than `validation.docket.ROUNDS_KEPT`. Audits of a result look at a chunk or two
and are not paid. Who has replayed work for one ticket may say more with it: what has no ticket of its own
earns nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Signed
from dhtnode.reward import PPM
from rewards.data import Registration
from rewards.entries import ANY_HEAD, NOBODY, Entry, Kind, raw_key
from rewards.formula import quality_ppm
from training.acceptance import intake
from training.chain import Certificate
from training.events import Adopt, Plan
from training.messages import Commitment, Head, Result, Roster, encode_value, value_digest
from training.partition import partition, shares
from validation.cases import Case, fits
from validation.lottery import obliged, opens
from validation.messages import Verdict
from validation.voucher import Voucher


@dataclass(frozen=True)
class ClosedRound:
    """A certified head and the records that it is made of, held against each other."""

    certificate: Certificate
    commitments_N: tuple[Signed[Commitment], ...]
    """Of the roster, in its order."""
    results: tuple[Signed[Result], ...]
    """One for each part that was reduced, in order."""

    @property
    def number(self) -> int:
        """The round that has closed."""
        return self.certificate.head.number - 1

    def plan(self, chunk_count: int) -> Plan:
        """How it was reduced.

        Args:
            chunk_count: of a whole update.
        """
        head, ids_N = self.certificate.head, tuple(one.id for one in self.commitments_N)
        roster = Roster(commitments=ids_N, votes=head.votes, amendments=head.amendments)
        offered = [commitment.body.bandwidth for commitment in self.commitments_N]
        return Plan(
            round=self.number,
            base=head.parent,
            roster=value_digest(encode_value(roster)),
            commitments_N=self.commitments_N,
            votes_N=head.votes,
            ranges_N=tuple(partition(chunk_count, shares(offered, head.votes))),
            amendments=head.amendments,
        )

    def adopted(self, chunk_count: int) -> Adopt:
        """As a node adopts it that has closed it itself."""
        works = tuple(one for one in self.commitments_N if one.id in self.certificate.head.within)
        return Adopt(self.certificate, works, self.plan(chunk_count), self.results)

    @cached_property
    def by_id(self) -> dict[bytes, Signed[Commitment]]:
        return {commitment.id: commitment for commitment in self.commitments_N}

    @cached_property
    def by_signer(self) -> dict[str, Signed[Commitment]]:
        return {commitment.signer: commitment for commitment in self.commitments_N}


def close_round(
    certificate: Certificate, commitments_N: Sequence[Signed[Commitment]], results: Sequence[Signed[Result]]
) -> ClosedRound:
    """Hold verified records against the head that they are said to have led to.

    Raises:
        RemoteProtocolError: reason `bad-round`.
    """
    fault = _round_fault(certificate.head, commitments_N, results)
    if fault:
        raise RemoteProtocolError("", "bad-round", fault)
    return ClosedRound(certificate, tuple(commitments_N), tuple(results))


def round_entries(closed: ClosedRound, chunk_bytes_K: Sequence[int]) -> list[Entry]:
    """What a round is worth to those who trained and reduced.

    Args:
        closed: the round.
        chunk_bytes_K: length of each chunk of an encoded update.
    """
    number, head = closed.number, closed.certificate.id
    entries = []
    for place, commitment in enumerate(closed.commitments_N):
        parts_in = sum(place in result.body.included for result in closed.results)
        quality = quality_ppm(PPM, parts_in, len(closed.results))
        line = (commitment.id, head, raw_key(commitment.signer), NOBODY, commitment.body.tokens, quality)
        if parts_in:
            entries.append(Entry(number, Kind.WORK, *line))
    ranges_N = closed.plan(len(chunk_bytes_K)).ranges_N
    for result in closed.results:
        of_one = sum(chunk_bytes_K[index] for index in ranges_N[result.body.part])
        byte_count = of_one * len(result.body.included)
        entries.append(
            Entry(number, Kind.REDUCTION, result.id, head, raw_key(result.signer), NOBODY, byte_count, 0)
        )
    return entries


def verdict_entry(
    closed: ClosedRound, verdict: Signed[Verdict], target: Signed[Commitment] | Signed[Verdict]
) -> Entry:
    """What an audit is worth to who has done it, and what it says of the worker.

    Args:
        closed: the round that was judged.
        verdict: verified.
        target: what it judges: work, or another's verdict on work, which means doing that again.

    Raises:
        RemoteProtocolError: reason `bad-verdict`.
    """
    work = target if isinstance(target.body, Commitment) else closed.by_id.get(target.body.target)
    fault = _verdict_fault(closed, verdict, target)
    if fault or work is None:
        raise RemoteProtocolError(verdict.signer, "bad-verdict", fault or "about work of another round")
    speaks_for = PPM if target is work and verdict.body.outcome == "pass" else 0
    worker, tokens = raw_key(work.signer), work.body.tokens
    line = (verdict.id, closed.certificate.id, raw_key(verdict.signer), worker, tokens, speaks_for)
    return Entry(closed.number, Kind.AUDIT, *line)


def case_entry(case: Case) -> Entry:
    """What a proven fault does to the guilty. An equivocation is one on whatever chain."""
    head = case.certificate.id if case.certificate else ANY_HEAD
    return Entry(case.round_no, Kind.CASE, fault_of(case), head, raw_key(case.guilty), NOBODY, 0, 0)


def bond_entry(voucher: Signed[Voucher], case: Case, open_rounds: int) -> Entry | None:
    """What a newcomer's fault costs who has answered for it: made of these two records alone.

    Whether the newcomer was still on probation is for the fold to say, from the work that is booked. Who
    contradicts itself names any round, so that counts from the voucher's own on.

    Args:
        voucher: verified.
        case: verified.
        open_rounds: the manifest's; for so long a voucher holds.

    Returns:
        None if the voucher does not answer for this.
    """
    body = voucher.body
    round_no = max(case.round_no, body.round) if case.is_for_good else case.round_no
    if case.guilty != body.newcomer or not body.holds_at(round_no, open_rounds):
        return None
    head = case.certificate.id if case.certificate else ANY_HEAD
    keys = raw_key(voucher.signer), raw_key(body.newcomer)
    return Entry(round_no, Kind.BOND, voucher.id, head, *keys, body.bond_micro, 0)


def fault_of(case: Case) -> bytes:
    """Id of the guilty's own record that a case is about.

    It stands for the case in the ledger: a case's own id depends on whose word, of a majority's, it was put
    together from, and two nodes that have judged the same must have the same entry.
    """
    own = next(one for one in (case.records[0], case.records[-1]) if one.signer == case.guilty)
    return own.id


def is_dated(work: Signed[Commitment], registration: Signed[Registration]) -> bool:
    """Whether a commitment that a closed round has taken in shows that a registration is as old as it says.

    Args:
        work: its signer's, of the round that the registration names, on the chain that is followed.
        registration: verified.
    """
    same_signer, body = work.signer == registration.signer, work.body
    return same_signer and body.round == registration.body.round and body.dated == registration.id


def shard_entry(registration: Signed[Registration], head: bytes) -> Entry:
    """That data was registered. What it is worth is for `data.register` to say.

    Args:
        registration: verified.
        head: that the round which dates it has ended with; ANY_HEAD if nobody here knows that round.
    """
    body, owner = registration.body, raw_key(registration.signer)
    size = body.chunks or body.tokens
    return Entry(body.round, Kind.SHARD, registration.id, head, owner, NOBODY, size, 0)


class Link(Protocol):
    """What a head says of its place in a chain."""

    @property
    def number(self) -> int: ...
    @property
    def since(self) -> int: ...
    @property
    def parent(self) -> bytes: ...
    @property
    def branch(self) -> bytes: ...


def followed_chain(heads: Mapping[bytes, Link], newest: bytes) -> dict[int, bytes]:
    """For each closed round of a chain, the id of the head that it ended with.

    Args:
        heads: certified ones by id; where one is missing, the rounds before it are left out.
        newest: id of the head that the swarm stands on.
    """
    followed: dict[int, bytes] = {}
    id_, head = newest, heads.get(newest)
    while head is not None:
        if head.number > head.since:  # a founding closes no round
            followed[head.number - 1] = id_
        id_ = head.parent
        head = heads.get(id_)
    return followed


def followed_over_gaps(heads: Mapping[bytes, Link], newest: bytes) -> dict[int, bytes]:
    """As `followed_chain`, and what is known behind heads that are missing.

    Within one branch only one head of each number is ever certified (any two majorities share an honest
    elector), so behind a gap the heads of the same branch are followed. What lies before the founding of a
    branch is not followed if that founding is missing.
    """
    followed: dict[int, bytes] = {}
    start: bytes | None = newest
    while start is not None:
        stretch = followed_chain(heads, start)
        followed = stretch | followed
        start = _behind(heads[stretch[min(stretch)]], heads) if stretch else None
    return followed


def _behind(head: Link, heads: Mapping[bytes, Link]) -> bytes | None:
    """The newest known head of the same branch behind a gap, if there is one."""
    earlier = {
        one.number: id_
        for id_, one in heads.items()
        if one.branch == head.branch and one.number < head.number - 1
    }
    return earlier[max(earlier)] if earlier and head.parent not in heads else None


def _round_fault(
    head: Head, commitments_N: Sequence[Signed[Commitment]], results: Sequence[Signed[Result]]
) -> str | None:
    """Why records did not make a head, or None."""
    if tuple(commitment.signer for commitment in commitments_N) != head.members:
        return "the commitments are not those of its members in their order"
    if any(commitment.body.base != head.parent for commitment in commitments_N):
        return "a commitment for another round"
    if tuple(result.id for result in results) != head.results or not results:
        return "the results are not those that it names"
    ids_N = tuple(one.id for one in commitments_N)
    roster = value_digest(
        encode_value(Roster(commitments=ids_N, votes=head.votes, amendments=head.amendments))
    )
    if any(result.body.roster != roster for result in results):
        return "the roster was another"
    if any(max(one.body.included) >= len(commitments_N) for one in results):
        return "a result includes somebody who is not there"
    if intake(commitments_N, results) != (head.accepted, head.partial):
        return "what it took in is not what its results include"
    if any(one.body.part >= len(commitments_N) for one in results):
        return "a result of a part that is not there"
    return None


def _verdict_fault(
    closed: ClosedRound, verdict: Signed[Verdict], target: Signed[Commitment] | Signed[Verdict]
) -> str | None:
    """Why a verdict earns nothing, or None."""
    head, body = closed.certificate.head, verdict.body
    if not fits(body, target, closed.certificate):
        return "about another round or record"
    if isinstance(target.body, Commitment) and target.id not in head.within:
        return "the round did not take this work in"
    own = closed.by_signer.get(verdict.signer)
    if own is None or own.id not in head.within or verdict.signer == target.signer:
        return "by somebody who may not judge this"
    if not opens(body.preimage, own.body.link):
        return "it does not open its signer's commitment"
    most = 1 / max(1, len(head.within) - 1)
    if body.role == "audit" and not obliged(body.preimage, closed.certificate.id, target.id, most):
        return "its signer had drawn no ticket, not even for a newcomer's work"
    return None
