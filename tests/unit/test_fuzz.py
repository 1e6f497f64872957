"""200,000 damaged messages: every one is refused with a peer's name on it, none does anything else.

Whatever a node takes from a peer is here: signed records of every kind, certificates, receipts, cases,
frames of the exchange between neighbours, headers and chunks of parts. What is signed must be refused
whenever a single byte differs; what is not signed may only be refused in the one right way.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dhtnode.amendments import Amendment, Setting
from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import WireSection
from dhtnode.presence import Presence
from dhtnode.records import Body, open_record, sign
from rewards import disclosure
from rewards.data import SKETCH_BYTES, Registration
from rewards.governance import GOVERNANCE, Ballot
from rewards.receipts import Receipt, open_receipt
from tests.unit.parties import SWARM, certified, commit, head_of, people, plan_of, result_of, vote_for
from tests.unit.test_cases import CASES, CERTIFICATE, FAILS, HEAD, TARGET, opening, verdict
from training import codec
from training.chain import open_certificate
from training.exchange import open_part_header, part_header
from training.messages import Leave, Promise, Proposal, Ready
from training.pool import RecordPool
from training.sync import open_sync_reply, open_sync_request, sync_reply, sync_request
from validation.appraisal import Appraisal, open_appraisal
from validation.evaluation import Evaluation
from validation.exhibits import open_question, question
from validation.holdings import open_piece
from validation.messages import SPOKEN, UNSEALED, Opening
from validation.reopening import open_wanted, wanted

MESSAGES = 200_000
SEEDS = 20
PEOPLE = people(5)
ME = PEOPLE[0]
KINDS: dict[str, type[Body]] = {
    **SPOKEN,
    **GOVERNANCE,
    Presence.KIND: Presence,
    Registration.KIND: Registration,
}
WIRE = WireSection(codec="int8", block_elems=32, chunk_elems=256)

Open = Callable[[bytes], object]


def pool() -> RecordPool:
    filled = RecordPool(HEAD.id)
    for someone in PEOPLE:
        filled.add(commit(someone, HEAD))
    return filled


def signed_messages() -> list[tuple[bytes, Open]]:
    """Valid bytes that a signature covers to the last bit, and what opens them."""
    head = head_of(PEOPLE)
    common: dict[str, Any] = {"round": head.number, "base": head.id}
    bodies: list[Body] = [
        Ready(**common),
        Leave(**common),
        Promise(**common, step="close", view=3, voted_view=1, voted=digest("value")),
        Proposal(**common, step="roster", view=2, value=bytes(200), promises=(bytes(150),)),
        Evaluation(**common, loss_micro=2_300_000, examples=359, public=True),
        Presence(addresses=("/ip4/192.0.2.7/tcp/4117",), round=7, head=head.id, made_at_s=1_700_000_000),
    ]
    change = Setting(key="outer.lr", value="0.35")
    sketched = bytes(SKETCH_BYTES)
    bodies += [
        Amendment(round=7, effect=64, changes=(change, change), why="calmer"),
        Ballot(amendment=digest("amendment"), yes=True),
        Registration(round=7, domain="law", first=3, chunks=2, tokens=99, sketch=sketched, salt=bytes(16)),
    ]
    records = [sign(ME, SWARM, body) for body in bodies]
    records += [
        commit(ME, head),
        commit(ME, head, dated=digest("dated")),
        vote_for(ME, head),
        result_of(ME, plan_of(PEOPLE, head), 1),
        FAILS[0],
    ]

    def record(wire: bytes) -> object:
        return open_record(wire, SWARM, KINDS, "peer")

    def certificate(wire: bytes) -> object:
        return open_certificate(wire, SWARM, "peer")

    def evidence(wire: bytes) -> object:
        return open_piece(wire, SWARM, "peer")

    def asked_record(wire: bytes) -> object:
        return open_record(wire, SWARM, {Opening.KIND: Opening}, "peer")

    def asked_opinion(wire: bytes) -> object:
        return open_appraisal(wire, SWARM, ME.peer_id, ME.peer_id)

    def shown(wire: bytes) -> object:
        return disclosure.open_shown(wire, SWARM, "peer")

    def receipt(wire: bytes) -> object:
        return open_receipt(wire, SWARM, "peer")

    return [
        *((one.wire, record) for one in records),
        (certified(PEOPLE, head).wire, certificate),
        *((case.wire, evidence) for case in CASES),
        (opening(PEOPLE[1], digest("mine")).wire, asked_record),
        (FAILS[1].wire, evidence),
        *((one.wire, shown) for one in (certified(PEOPLE, head), CASES[0], FAILS[2])),
        (sign(ME, SWARM, Appraisal(round=7, about=ME.peer_id, trust=1)).wire, asked_opinion),
        (Receipt(TARGET, CERTIFICATE).wire, receipt),
    ]


def plain_messages() -> list[tuple[bytes, Open]]:
    """Valid bytes that nobody signs, and what opens them."""
    values = np.random.default_rng(1).standard_normal(256).astype(np.float32)
    asking = sync_request(HEAD, pool())
    auditor = PEOPLE[1]
    showing = question(opening(auditor, digest("mine")), TARGET.signer, (1, 5))
    accusation = verdict(PEOPLE[2], segment=1)
    disputing = wanted(opening(auditor, UNSEALED), accusation)
    answer = sync_reply(open_sync_request(sync_request(HEAD, None), ""), CERTIFICATE.wire, [pool()])
    asked = disclosure.question(disclosure.START)
    evidence = disclosure.page(disclosure.START, lambda _: {CERTIFICATE.id: CERTIFICATE.wire}, 0)

    def chunk(wire: bytes) -> object:
        try:
            codec.check(wire, 256, WIRE)
        except ValueError as error:
            raise RemoteProtocolError("peer", "bad-part", str(error)) from error
        decoded = codec.decode(wire, 256, WIRE)
        assert np.isfinite(decoded).all()
        return decoded

    return [
        (asking, lambda wire: open_sync_request(wire, "peer")),
        (showing, lambda wire: open_question(wire, SWARM, auditor.peer_id)),
        (disputing, lambda wire: open_wanted(wire, SWARM, auditor.peer_id)),
        (answer, lambda wire: open_sync_reply(wire, "peer")),
        (asked, lambda wire: disclosure.open_question(wire, "peer")),
        (evidence, lambda wire: disclosure.open_page(wire, disclosure.START, "peer")),
        (
            part_header(HEAD.id, 1, [digest("leaf", n) for n in range(8)]),
            lambda wire: open_part_header(wire, "peer"),
        ),
        (codec.encode(values, WIRE)[0], chunk),
    ]


SIGNED, PLAIN = signed_messages(), plain_messages()


def damaged(wire: bytes, rng: random.Random) -> bytes:
    """The same bytes with a bit, a byte, a piece or an end that is not right."""
    data = bytearray(wire)
    place, other = rng.randrange(len(data)), rng.randrange(len(data))
    length = rng.choice((1, 1, 2, 4, 8, 32))
    match rng.randrange(7):
        case 0:
            data[place] ^= 1 << rng.randrange(8)
        case 1:
            data[place] = rng.choice((0, 0x7F, 0x80, 0x90, 0xC0, 0xCF, 0xDF, 0xFF, rng.randrange(256)))
        case 2:
            del data[place : place + length]
        case 3:
            data[place:place] = rng.randbytes(length)
        case 4:
            data[place : place + length] = data[other : other + length]
        case 5:
            del data[place:]
        case 6:
            data += rng.randbytes(length)
    return bytes(data)


@pytest.mark.parametrize("wire_and_open", SIGNED + PLAIN)
def test_what_is_right_is_opened(wire_and_open: tuple[bytes, Open]) -> None:
    wire, opened = wire_and_open
    assert opened(wire) is not None


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_damaged_is_refused_and_does_nothing_else(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  repeatable
    refused = 0
    for number in range(MESSAGES // SEEDS):
        is_signed = number % 4 > 0
        wire, opened = rng.choice(SIGNED if is_signed else PLAIN)
        bad = damaged(wire, rng)
        for _ in range(rng.randrange(3)):
            bad = damaged(bad, rng) if bad else bad
        try:
            opened(bad)
        except RemoteProtocolError:
            refused += 1
        else:
            assert bad == wire or not is_signed, f"accepted: {bad.hex()}"
    assert refused > 0.7 * MESSAGES / SEEDS
