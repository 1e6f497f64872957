"""One of everything that a node takes from a peer in one piece, and what opens it: what fuzzing starts from.

What is signed, or bound to a digest that the reader knows, must be refused whenever a single byte differs.
What nobody signs may come out differently, but then as its only form of bytes and within its bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgpack
import msgspec
import numpy as np
import torch
from hivemind.dht.validation import DHTRecord
from hivemind.utils.timed_storage import get_dht_time

from dhtnode.amendments import Amendment, Setting
from dhtnode.app.bulletin import Names, Records, open_names, open_records
from dhtnode.digest import digest, leaf_digests, root_digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import WireSection
from dhtnode.net.chunkplan import ChunkPlan, Content
from dhtnode.net.dht import SignedEntries
from dhtnode.presence import Presence
from dhtnode.records import Body, Digest, canonical, open_record, parse_canonical, sign
from rewards import disclosure, rounds
from rewards.data import SKETCH_BYTES, Registration
from rewards.governance import GOVERNANCE, Ballot
from rewards.ownership import parse_proof, verify
from rewards.receipts import Receipt, open_receipt
from tests.unit.parties import (
    SWARM,
    certified,
    commit,
    head_of,
    people,
    plain,
    plan_of,
    result_of,
    roster_of,
    vote_for,
)
from tests.unit.rounds import history
from tests.unit.test_canary import canary
from tests.unit.test_cases import CASES, CERTIFICATE, FAILS, HEAD, TARGET, WORK, opening, verdict
from tests.unit.test_epochs import summary
from tests.unit.test_ownership import TABLE
from tests.unit.test_rounds import packed as packed_step
from training import boundary, codec
from training.boundary import BadBoundaryError, Boundary
from training.chain import open_certificate
from training.exchange import open_part_header, part_header
from training.messages import (
    Head,
    Leave,
    Promise,
    Proposal,
    Ready,
    Roster,
    decode_value,
    encode_value,
)
from training.pool import RecordPool
from training.sync import open_sync_reply, open_sync_request, sync_reply, sync_request
from validation import antientropy, exhibits, reopening
from validation.appraisal import Appraisal, open_appraisal
from validation.canary import Canary
from validation.entry import Entry
from validation.evaluation import Evaluation
from validation.holdings import Asking, Holdings, Piece, name_of, open_piece
from validation.messages import SPOKEN, UNSEALED, Opening
from validation.showing import open_proof, proof
from validation.voucher import Voucher

PEOPLE = people(5)
ME = PEOPLE[0]
AUDITOR = PEOPLE[1]
PEER = AUDITOR.peer_id
KINDS: dict[str, type[Body]] = {
    **SPOKEN,
    **GOVERNANCE,
    Presence.KIND: Presence,
    Registration.KIND: Registration,
}
WIRE = WireSection(codec="int8", block_elems=32, chunk_elems=256)

Open = Callable[[bytes], Any]


@dataclass(frozen=True)
class Sealed:
    """Bytes that a signature or a known digest covers to the last bit, and what opens them."""

    name: str
    wire: bytes
    opened: Open


@dataclass(frozen=True)
class Plain:
    """Bytes that nobody signs, and what opens them."""

    name: str
    wire: bytes
    opened: Open
    check: Callable[[Any, bytes, Any], None]
    """Holds what came out against the bytes it came from, and what comes of the right ones."""

    @cached_property
    def right(self) -> Any:
        return self.opened(self.wire)


def canonically(kind: Any) -> Callable[[Any, bytes, Any], None]:
    """What came out is of this schema, has these bytes and no others, and is not what the right ones say."""

    def check(value: Any, wire: bytes, right: Any) -> None:
        assert canonical(value) == wire
        assert value != right
        bare = plain(value) if isinstance(value, msgspec.Struct) else value
        assert msgspec.convert(bare, kind, strict=True, builtin_types=(bytes,)) == value

    return check


def blaming(opened: Open, *errors: type[Exception]) -> Open:
    """The same for what leaves it to its caller to say whose fault it is."""

    def blamed(wire: bytes) -> Any:
        try:
            return opened(wire)
        except errors as error:
            raise RemoteProtocolError("peer", "bad", str(error)) from error

    return blamed


def bodies() -> list[Body]:
    """One body of each kind that needs nothing of others' to make sense."""
    head = head_of(PEOPLE)
    common: dict[str, Any] = {"round": head.number, "base": head.id}
    change = Setting(key="outer.lr", value="0.35")
    sketched = bytes(SKETCH_BYTES)
    return [
        Ready(**common),
        Leave(**common),
        Promise(**common, step="close", roster=digest("roster"), view=3, voted_view=1, voted=digest("value")),
        Proposal(**common, step="roster", view=2, value=bytes(200), promises=(bytes(150),)),
        Evaluation(**common, loss_micro=2_300_000, examples=359, public=True),
        Presence(addresses=("/ip4/192.0.2.7/tcp/4117",), round=7, head=head.id, made_at_s=1_700_000_000),
        Amendment(round=7, effect=64, changes=(change, change), why="calmer"),
        Ballot(amendment=digest("amendment"), yes=True),
        Registration(round=7, domain="law", first=3, chunks=2, tokens=99, sketch=sketched, salt=bytes(16)),
        Entry(nonce=bytes(range(8))),
        Voucher(round=7, newcomer=people(9)[8].peer_id, bond_micro=5_000_000),
    ]


def records() -> list[Sealed]:
    """Signed records, each opened by those who are shown it."""
    head = head_of(PEOPLE)
    heard = [sign(ME, SWARM, body) for body in bodies()]
    heard += [
        commit(ME, head),
        commit(ME, head, dated=digest("dated")),
        vote_for(ME, head),
        result_of(ME, plan_of(PEOPLE, head), 1),
        FAILS[0],
    ]
    held = [record for record in heard if record.body.KIND in (Entry.KIND, Voucher.KIND)]
    held += [FAILS[1], verdict(AUDITOR, segment=1), summary()]
    compared = canary(ME, "cpu/unit", 3)
    asked = opening(AUDITOR, digest("mine"))
    opinion = sign(ME, SWARM, Appraisal(round=7, about=ME.peer_id, trust=1))

    def evidence(wire: bytes) -> object:
        return open_piece(wire, SWARM, "peer")

    def of(*kinds: type[Body]) -> Open:
        by_name = {kind.KIND: kind for kind in kinds}
        return lambda wire: open_record(wire, SWARM, by_name, "peer")

    return [
        *(Sealed(one.body.KIND, one.wire, of(*KINDS.values())) for one in heard),
        *(Sealed(f"held {one.body.KIND}", one.wire, evidence) for one in held),
        Sealed("canary", compared.wire, of(Canary)),
        Sealed("opening", asked.wire, of(Opening)),
        Sealed("appraisal", opinion.wire, lambda wire: open_appraisal(wire, SWARM, ME.peer_id, ME.peer_id)),
    ]


def proofs() -> list[Sealed]:
    """What several signatures or a digest prove together."""
    certificate = certified(PEOPLE, head_of(PEOPLE))
    closed = history(2, PEOPLE)
    asked = opening(AUDITOR, digest("mine"))
    place = next(work for work in WORK if work.signer == PEER)
    leaves = leaf_digests("test", [b"abc", b"def", b"g"])
    content = Content("test", root_digest("test", leaves), 7, 3)
    own = TABLE.prove(TABLE.rows[1].key)
    assert own is not None

    def share(wire: bytes) -> object:
        proven = parse_proof(wire)
        if not verify(proven, TABLE.root):
            raise ValueError("not in the table")
        return proven

    def shown(wire: bytes) -> object:
        return disclosure.open_shown(wire, SWARM, "peer")

    return [
        Sealed("certificate", certificate.wire, lambda wire: open_certificate(wire, SWARM, "peer")),
        *(
            Sealed(f"case of {one.charge}", one.wire, lambda wire: open_piece(wire, SWARM, "peer"))
            for one in CASES
        ),
        Sealed("shown certificate", certificate.wire, shown),
        Sealed("shown case", CASES[0].wire, shown),
        Sealed("shown verdict", FAILS[2].wire, shown),
        Sealed("receipt", Receipt(TARGET, CERTIFICATE).wire, lambda wire: open_receipt(wire, SWARM, "peer")),
        *(
            Sealed(name, packed_step(one), lambda wire: rounds.open_step(wire, SWARM, "peer"))
            for name, one in (("founding", closed[0]), ("closed round", closed[2]))
        ),
        Sealed(
            "proof of a record",
            proof(CERTIFICATE, TARGET, place),
            lambda wire: open_proof(wire, asked, PEER),
        ),
        Sealed("share", own.wire, blaming(share, ValueError)),
        Sealed("leaves", b"".join(leaves), blaming(lambda wire: ChunkPlan.parse(content, wire), ValueError)),
    ]


def entry() -> Sealed:
    """Another node's entry in the DHT. hivemind asks the validator about each, and drops what it refuses."""
    validator = SignedEntries(ME)
    key, name = digest("key")[:20], msgpack.packb(ME.peer_id)
    record = DHTRecord(key, name, msgpack.packb(b"/ip4/192.0.2.7/tcp/4117"), get_dht_time() + 3600)

    def opened(wire: bytes) -> object:
        shown = replace(record, value=wire)
        if not validator.validate(shown):
            raise RemoteProtocolError("peer", "bad-entry", "refused by the validator")
        return validator.strip_value(shown)

    return Sealed("entry of the DHT", validator.sign_value(record), opened)


def pool() -> RecordPool:
    filled = RecordPool(HEAD.id)
    for someone in PEOPLE:
        filled.add(commit(someone, HEAD))
    return filled


def frames() -> list[Plain]:
    """Questions and answers of the exchange between neighbours."""
    asking = sync_request(HEAD, pool())
    answer = sync_reply(open_sync_request(sync_request(HEAD, None), ""), CERTIFICATE.wire, [pool()])
    page = disclosure.page(disclosure.START, lambda _: {CERTIFICATE.id: CERTIFICATE.wire}, 0)
    names = [record.id[:8] for record in FAILS]
    header = part_header(plan_of(PEOPLE, HEAD), 1, [digest("leaf", n) for n in range(8)])
    values: list[tuple[str, Head | Roster]] = [("head", HEAD), ("roster", roster_of(*WORK))]
    structs: list[tuple[str, bytes, Open]] = [
        ("sync request", asking, lambda wire: open_sync_request(wire, "peer")),
        ("sync reply", answer, lambda wire: open_sync_reply(wire, "peer")),
        (
            "disclosure question",
            disclosure.question(disclosure.START),
            lambda wire: disclosure.open_question(wire, "peer"),
        ),
        ("disclosure page", page, lambda wire: disclosure.open_page(wire, disclosure.START, "peer")),
        ("part header", header, lambda wire: open_part_header(wire, "peer")),
        *((name, encode_value(value), blaming(_decoding(type(value)), ValueError)) for name, value in values),
    ]
    return [
        *(Plain(name, wire, opened, canonically(type(opened(wire)))) for name, wire, opened in structs),
        Plain(
            "bulletin question", canonical(names), lambda wire: open_names(wire, "peer"), canonically(Names)
        ),
        Plain(
            "bulletin answer",
            canonical([sign(ME, SWARM, body).wire for body in bodies()[6:9]]),
            lambda wire: open_records(wire, "peer"),
            canonically(Records),
        ),
        *questions(),
        *evidence_frames(),
        *walks(),
    ]


def _decoding(kind: type[Any]) -> Open:
    return lambda wire: decode_value(wire, kind)


def questions() -> list[Plain]:
    """Unsigned questions with signed records in them: these come out as they were signed."""
    asked = opening(AUDITOR, digest("mine"))
    sealed = opening(AUDITOR, UNSEALED)
    accusation = verdict(PEOPLE[2], segment=1)
    place = next(work for work in WORK if work.signer == PEER)
    proven = proof(CERTIFICATE, TARGET, place)

    def chunks(wire: bytes) -> object:
        opened, question = exhibits.open_question(wire, SWARM, PEER)
        assert opened == asked
        return question

    def boundaries(wire: bytes) -> object:
        opened, accused = reopening.open_wanted(wire, SWARM, PEER)
        assert opened == sealed
        assert accused in (accusation, None)
        return reopening.Wanted(opening=opened.wire, accusation=accused.wire if accused else None)

    check = canonically(exhibits.Question)
    return [
        Plain("chunks wanted", exhibits.question(asked, TARGET.signer, (1, 5)), chunks, check),
        Plain("chunks and proof", exhibits.question(asked, TARGET.signer, (2,), proven), chunks, check),
        *(
            Plain(name, reopening.wanted(sealed, said), boundaries, canonically(reopening.Wanted))
            for name, said in (("list wanted", None), ("state wanted", accusation))
        ),
    ]


def evidence_frames() -> list[Plain]:
    """What two neighbours say whose sets of evidence differ: a question and two answers."""
    shown: list[Piece] = [*FAILS, *CASES[:2], summary()]
    pieces = {name_of(one): one for one in shown}
    wires = {name: one.wire for name, one in pieces.items()}
    holder = Holdings(512)
    for name in pieces:
        holder.add(name, None)

    def asker(*answers: bytes) -> Asking:
        asking = Asking(Holdings(512), PEER, SWARM)
        for answer in answers:
            assert asking.question() is not None
            asking.on_answer(answer)
        return asking

    def replied(question: bytes | None) -> bytes:
        assert question is not None
        return holder.answer(question, "asker", wires.get)

    buckets = replied(asker().question())
    fetching = asker(buckets).question()
    assert fetching is not None

    def frame(wire: bytes, kind: Any, most: int) -> object:
        return msgspec.convert(parse_canonical(wire, most), kind, strict=True, builtin_types=(bytes,))

    def question(wire: bytes) -> object:
        assert len(replied(wire)) <= antientropy.MAX_ANSWER_BYTES
        return frame(wire, antientropy.Question, antientropy.MAX_QUESTION_BYTES)

    def after(*answers: bytes) -> Open:
        def taken(wire: bytes) -> object:
            asking = asker(*answers)
            asking.question()
            for piece in asking.on_answer(wire):
                assert piece.wire in wires.values(), "a record that nobody signed"
            return frame(wire, antientropy.Answer, antientropy.MAX_ANSWER_BYTES)

        return taken

    check = canonically(antientropy.Answer)
    return [
        Plain("evidence question", fetching, question, canonically(antientropy.Question)),
        Plain("evidence buckets", buckets, after(), check),
        Plain("evidence records", replied(fetching), after(buckets), check),
    ]


def walks() -> list[Plain]:
    """Rounds asked for backwards, and the steps that come."""
    closed = history(2, PEOPLE)
    newest = closed[-1].certificate
    held = {one.certificate.id: (packed_step(one), one.certificate.head.parent) for one in closed}
    known = [packed for packed, _ in held.values()]

    def question(wire: bytes) -> object:
        reply = rounds.answer_question(wire, "peer", held.get)
        assert len(reply) <= rounds.MAX_ANSWER_BYTES
        return parse_canonical(wire, rounds.MAX_QUESTION_BYTES)

    def answer(wire: bytes) -> object:
        steps = rounds.open_answer(wire, newest.id, SWARM, "peer")
        shown: list[bytes] = parse_canonical(wire, rounds.MAX_ANSWER_BYTES)
        assert len(steps) == len(shown)
        assert set(shown) <= set(known), "a round that never was"
        return shown

    asked = rounds.question_for(newest.id)
    return [
        Plain("rounds question", asked, question, canonically(list[Digest])),
        Plain(
            "rounds answer", rounds.answer_question(asked, "peer", held.get), answer, canonically(list[bytes])
        ),
    ]


def numbers() -> list[Plain]:
    """What reaches arithmetic once its digest is right, whatever its maker has put into it."""
    made = np.random.default_rng(1).standard_normal(256).astype(np.float32)

    def chunk(wire: bytes, section: WireSection) -> object:
        codec.check(wire, made.size, section)
        return codec.decode(wire, made.size, section)

    def check(value: Any, _: bytes, __: Any) -> None:
        """One vector has many forms here: scale and codes may share out a number as they like."""
        assert value.shape == made.shape
        assert (np.abs(value) <= codec.LIMIT * (1 + 1e-6)).all()

    def chunks_of(name: str) -> Plain:
        section = msgspec.structs.replace(WIRE, codec=name)
        opened = blaming(lambda wire: chunk(wire, section), ValueError)
        return Plain(f"{name} chunk", codec.encode(made, section)[0], opened, check)

    return [*map(chunks_of, codec.CODECS), state()]


def state() -> Plain:
    """A run between two steps, as it is opened to a jury."""

    def local() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.Linear(2, 1)
        return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    model, optimizer = local()
    model(torch.ones(2)).backward()
    optimizer.step()

    def restored(wire: bytes) -> object:
        opened = Boundary.parse(wire)
        fresh = local()
        boundary.restore(opened.content, *fresh)
        return Boundary(opened.step, opened.loss_sum, boundary.capture(*fresh))

    def check(value: Boundary, wire: bytes, right: Boundary) -> None:
        assert value.wire == wire
        assert value.digest != right.digest

    wire = Boundary(3, 0.5, boundary.capture(model, optimizer)).wire
    return Plain("boundary", wire, blaming(restored, BadBoundaryError), check)


SEALED: list[Sealed] = [*records(), *proofs(), entry()]
PLAIN: list[Plain] = [*frames(), *numbers()]
