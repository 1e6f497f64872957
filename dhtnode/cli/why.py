"""`dhtnode why`: one signed record of this home in plain words, verified, with what it rests on.

Everything is checked again from the records themselves, as a stranger would; loads no torch, no network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console

from dhtnode.amendments import Amendment
from dhtnode.cli.audit import line_of
from dhtnode.errors import ConfigError, Exit, RemoteProtocolError
from dhtnode.home import Home
from dhtnode.manifest import Manifest
from dhtnode.records import Body, Signed, open_record
from dhtnode.store import Store, StoredRecord
from rewards.book import LAST
from rewards.data import Registration
from rewards.entries import ROUND_BYTES, Kind, peer_of, unpacked
from rewards.evidence import fault_of, is_dated
from rewards.governance import Ballot
from rewards.heads import HEAD
from training.chain import Certificate, open_certificate
from training.messages import WHOLE, Commitment, Head, Result
from validation.cases import CASE, open_case
from validation.entry import Entry, zero_bits
from validation.epochs import Summary
from validation.messages import Verdict
from validation.voucher import Voucher

_BOOKED: dict[int, str] = {
    Kind.CASE: "a proven fault",
    Kind.SHARD: "a registration of data",
    Kind.WORK: "work of {amount:,} tokens, {share:.0%} of it in time",
    Kind.AUDIT: "an audit of work of {amount:,} tokens",
    Kind.REDUCTION: "a reduction of {amount:,} bytes",
    Kind.BOND: "a bond of {amount:,} micro-credits for a newcomer that was found false",
}


_BODIES: dict[str, type[Body]] = {
    kind.KIND: kind
    for kind in (Commitment, Result, Verdict, Amendment, Registration, Voucher, Ballot, Entry, Summary)
}
"""All that a home keeps as single records."""


@dataclass(frozen=True)
class Ground:
    """Something that a record rests on."""

    what: str
    id: str
    here: bool
    """Whether it is in this home, and good."""


@dataclass(frozen=True)
class Shown:
    """A record whose signatures have been checked."""

    id: str
    kind: str
    round: int
    signer: str
    says: str
    rests_on: tuple[Ground, ...]
    body: dict[str, Any]
    """What was signed: bytes as hex. Of a case and a head, which are made of several records, nothing."""
    booked: tuple[str, ...] = ()
    """What it is in the ledger of this home."""


def show_why(home: Home, record: str, *, as_json: bool) -> None:
    """Print one record.

    Raises:
        ConfigError: there is no such record (USAGE), or it is not good (FAILED).
    """
    swarm_id = Manifest.load(home.manifest_path).swarm_id
    with Store.open_reader(home.store_path) as store:
        try:
            found = _find(store, swarm_id, record)
            shown = _Reader(store, swarm_id).read(found)
        except RemoteProtocolError as error:
            raise ConfigError(
                f"record {record} in {home.store_path} is not good: {error.reason}: {error.detail}; "
                "the file was damaged or changed",
                Exit.FAILED,
            ) from error
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode() + "\n")
    else:
        _print(shown)


def _print(shown: Shown) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{shown.says}[/]")
    console.print(f"{shown.kind} {shown.id}, round {shown.round}, by {shown.signer}: its signature is good.")
    for ground in shown.rests_on:
        state = "here, and good" if ground.here else "not in this home, so not checked"
        name = f" ({ground.id[:12]})" if ground.id else ""
        console.print(f"  rests on {ground.what}{name}: {state}")
    for line in shown.booked or ("nothing",):
        console.print(f"  in the ledger: {line}")


def _find(store: Store, swarm_id: bytes, prefix: str) -> StoredRecord:
    """The record of that name, or the case against it where it is not here itself."""
    name = prefix.lower()
    is_hex = bool(name) and len(name) <= 64 and not set(name) - set("0123456789abcdef")
    found = store.records_named(name) if is_hex else []
    if is_hex and not found:
        cases = store.all_records(CASE)
        found = [one for one in cases if fault_of(open_case(one.wire, swarm_id)).hex().startswith(name)]
    if len(found) != 1:
        how = "several records" if found else "no record"
        raise ConfigError(
            f"{how} with an id that begins with '{prefix}'; 'dhtnode status' lists the last ones under why",
            Exit.USAGE,
        )
    return found[0]


class _Reader:
    """Opens records of one store again."""

    def __init__(self, store: Store, swarm_id: bytes) -> None:
        self._store = store
        self._swarm_id = swarm_id

    def read(self, stored: StoredRecord) -> Shown:
        """Check a record and say what it says.

        Raises:
            RemoteProtocolError: it, or something in it, is not good.
        """
        says, grounds = self._says(stored)
        kind = _BODIES.get(stored.kind)
        body = open_record(stored.wire, self._swarm_id, {stored.kind: kind}).body if kind else None
        return Shown(
            id=stored.id.hex(),
            kind=stored.kind,
            round=stored.round_no,
            signer=stored.signer,
            says=says,
            rests_on=grounds,
            body=_readable(msgspec.to_builtins(body, builtin_types=(bytes,))) if body else {},
            booked=tuple(self._booked(stored)),
        )

    def _says(self, stored: StoredRecord) -> tuple[str, tuple[Ground, ...]]:
        match stored.kind:
            case Commitment.KIND:
                work = open_record(stored.wire, self._swarm_id, {Commitment.KIND: Commitment})
                closing, head = self._closing(stored.round_no, work.body.base)
                return f"{_worked(work)}; {_taken(work.id, head)}", (closing,)
            case Result.KIND:
                result = open_record(stored.wire, self._swarm_id, {Result.KIND: Result})
                says = f"{result.signer} reduced part {result.body.part} of round {result.body.round}"
                closing, head = self._closing(stored.round_no, result.body.base)
                works = self._works(stored.round_no, head.within if head else ())
                return f"{says} from the work of {len(result.body.included)} members", (closing, *works)
            case Verdict.KIND:
                verdict = open_record(stored.wire, self._swarm_id, {Verdict.KIND: Verdict})
                closing, _ = self._closing(stored.round_no, None, verdict.body.base)
                return line_of(verdict), (self._judged(verdict), closing)
            case _ if stored.kind == CASE:
                case = open_case(stored.wire, self._swarm_id)
                inside = (
                    Ground(f"a {one.body.KIND} signed by {one.signer}", one.id.hex(), here=True)
                    for one in case.records
                )
                return line_of(case), tuple(inside)
            case Amendment.KIND:
                amendment = open_record(stored.wire, self._swarm_id, {Amendment.KIND: Amendment})
                wish = ", ".join(f"{change.key} = {change.value}" for change in amendment.body.changes)
                return f"{amendment.signer} proposed {wish} from round {amendment.body.effect} on", ()
            case Registration.KIND:
                shard = open_record(stored.wire, self._swarm_id, {Registration.KIND: Registration})
                first, last = shard.body.first, shard.body.first + shard.body.chunks - 1
                what = f"chunks {first} to {last}" if shard.body.chunks else "its own data"
                dates = self._dating(shard)
                return f"{shard.signer} registered {what} as {shard.body.domain}", (dates,)
            case Voucher.KIND:
                voucher = open_record(stored.wire, self._swarm_id, {Voucher.KIND: Voucher})
                bond = f"with {voucher.body.bond_micro:,} micro-credits"
                standing = self._with_a_vote(voucher)
                return f"{voucher.signer} answered for {voucher.body.newcomer} {bond}", (standing,)
            case Entry.KIND:
                entry = open_record(stored.wire, self._swarm_id, {Entry.KIND: Entry})
                bits = zero_bits(self._swarm_id, entry.signer, entry.body.nonce)
                return f"{entry.signer} has shown a proof of work of {bits} bits for its entry", ()
            case Summary.KIND:
                summary = open_record(stored.wire, self._swarm_id, {Summary.KIND: Summary})
                said = f"{summary.body.verdicts:,} verdicts on {len(summary.body.rows)} members"
                return f"{summary.signer} has summed up its {said} in epoch {summary.body.epoch}", ()
            case Ballot.KIND:
                ballot = open_record(stored.wire, self._swarm_id, {Ballot.KIND: Ballot})
                about = self._store.record(ballot.body.amendment)
                ground = Ground("a proposal", ballot.body.amendment.hex(), about is not None)
                return f"{ballot.signer} voted {'yes' if ballot.body.yes else 'no'}", (ground,)
            case _ if stored.kind == HEAD:
                certificate = open_certificate(stored.wire, self._swarm_id, "")
                return _certified(certificate), ()
        raise ConfigError(
            f"{stored.id.hex()} is a {stored.kind}, which this version can't read; update dhtnode",
            Exit.FAILED,
        )

    def _closing(self, round_no: int, base: bytes | None, id_: bytes = b"") -> tuple[Ground, Head | None]:
        """The head that a round ended with, by the one before it or its own id."""
        for stored in self._store.records(HEAD, round_no + 1):
            certificate = open_certificate(stored.wire, self._swarm_id, "")
            if certificate.id == id_ or certificate.head.parent == base:
                ground = Ground(_certified(certificate), certificate.id.hex(), here=True)
                return ground, certificate.head
        return Ground(f"the certified head of round {round_no}", id_.hex(), here=False), None

    def _works(self, round_no: int, within: Sequence[bytes]) -> Iterator[Ground]:
        """The work that a round took in."""
        for id_ in within:
            stored = self._store.record(id_)
            if stored is not None:
                open_record(stored.wire, self._swarm_id, {Commitment.KIND: Commitment})
            yield Ground(f"work of round {round_no} that was taken in", id_.hex(), stored is not None)

    def _dating(self, shard: Signed[Registration]) -> Ground:
        """The commitment that says when data was registered: without one it counts for nothing."""
        for stored in self._store.records(Commitment.KIND, shard.body.round, shard.signer):
            work = open_record(stored.wire, self._swarm_id, {Commitment.KIND: Commitment})
            if is_dated(work, shard):
                return Ground(
                    f"its signer's commitment for round {work.body.round}", work.id.hex(), here=True
                )
        return Ground(f"its signer's commitment for round {shard.body.round}", "", here=False)

    def _with_a_vote(self, voucher: Signed[Voucher]) -> Ground:
        """The head in which its signer has a whole vote: nobody else may answer for others."""
        what = f"its signer's whole vote before round {voucher.body.round}"
        for stored in self._store.records(HEAD, voucher.body.round):
            certificate = open_certificate(stored.wire, self._swarm_id, "")
            if certificate.head.vote_of(voucher.signer) == WHOLE:
                return Ground(f"{what}, in {_certified(certificate)}", certificate.id.hex(), here=True)
        return Ground(what, "", here=False)

    def _judged(self, verdict: Signed[Verdict]) -> Ground:
        body = verdict.body
        stored = self._store.record(body.target)
        if stored is not None:
            self._says(stored)
        return Ground(f"a record of {body.worker} that was judged", body.target.hex(), stored is not None)

    def _booked(self, stored: StoredRecord) -> Iterator[str]:
        last = LAST if stored.kind == Voucher.KIND else stored.round_no  # its newcomer was false later
        start, end = (number.to_bytes(ROUND_BYTES, "big") for number in (stored.round_no, last + 1))
        case = open_case(stored.wire, self._swarm_id) if stored.kind == CASE else None
        name = fault_of(case) if case else stored.id
        for entry in unpacked(self._store.entries(start, end)):
            if entry.record == name:
                what = _BOOKED[entry.kind].format(amount=entry.amount, share=entry.ppm / 1_000_000)
                yield f"round {entry.round}, {what}, to the account of {peer_of(entry.key)}"


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if isinstance(value, list | tuple) else value


def _taken(work: bytes, head: Head | None) -> str:
    if head is None:
        return "whether the round took it in is not known here"
    if work in head.accepted:
        return "the round accepted it"
    late = "most parts of the round are" if work in head.partial else "the round is"
    return f"{late} without it"


def _worked(work: Signed[Commitment]) -> str:
    body = work.body
    return f"{work.signer} trained {body.steps:,} steps on {body.tokens:,} tokens in round {body.round}"


def _certified(certificate: Certificate) -> str:
    head = certificate.head
    of = f"{len(certificate.votes)} of its {len(head.members)} members"
    if head.number == head.since:
        return f"the founding of a branch before round {head.number}, by {head.founder}"
    return f"the head of round {head.number - 1}, certified by {of}"
