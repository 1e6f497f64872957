"""200,000 damaged records, frames and streams: refused with a peer's name on it, or harmless, and no crash.

Whatever a node takes from a peer in one piece is in `samples`, what it reads from a stream is in `fed`. What
is signed, or bound to a known digest, is refused whenever a single byte of it differs. What nobody signs is
refused, or is well-formed: it has no other form of bytes, differs from what was sent, and keeps its bounds.
Whoever asked for it goes on from there.

`SWEEP=10 scripts/test tests/unit/test_fuzz.py -rP` tries ten times as many, and shows the counts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.records import Body
from tests.sim.seeds import seeds
from tests.unit.fed import FED, Fed
from tests.unit.samples import KINDS, PLAIN, SEALED, Plain, Sealed
from training import exchange

SAMPLES: list[Sealed | Plain] = [*SEALED, *PLAIN]
MESSAGES, STREAMS = 9_500, 500
"""Of each seed."""
SHORT_BYTES, LONG_BYTES, SHORT_LIST, LONG_LIST = 0xC4, 0xC5, 0x90, 0xDC
"""In msgpack the same may be said with a longer length."""
SEEDS = 20


def damaged(wire: bytes, rng: random.Random) -> bytes:
    """The same bytes with a bit, a byte, a piece or an end that is not right, or a length spelt otherwise."""
    data = bytearray(wire)
    place, other = rng.randrange(len(data)), rng.randrange(len(data))
    length = rng.choice((1, 1, 2, 4, 8, 32))
    match rng.randrange(8):
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
        case 7 if (short := data.find(SHORT_BYTES, place)) >= 0:
            data[short : short + 1] = bytes([LONG_BYTES, 0])
        case 7 if data[0] & 0xF0 == SHORT_LIST:
            data[:1] = bytes([LONG_LIST, 0, data[0] & 0x0F])
    return bytes(data)


def draw(samples: Sequence[Sealed | Plain], rng: random.Random, count: int) -> list[Sealed | Plain]:
    """Long samples less often than short ones: their many records are opened one by one."""
    return rng.choices(samples, [min(1.0, 500 / len(sample.wire)) for sample in samples], k=count)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_what_is_right_is_opened(sample: Sealed | Plain) -> None:
    assert sample.opened(sample.wire) is not None


def test_every_kind_of_record_has_a_sample() -> None:
    names = {sample.name.removeprefix("held ") for sample in SEALED}
    rooms = ("dhtnode.", "training.", "validation.", "rewards.")
    kinds = {kind.KIND for kind in Body.__subclasses__() if kind.__module__.startswith(rooms)}
    assert KINDS.keys() < kinds
    assert kinds <= names


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_what_is_damaged_is_refused_or_harmless(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  repeatable
    counts: Counter[str] = Counter()
    drawn = [iter(draw(SEALED, rng, MESSAGES)), iter(draw(PLAIN, rng, MESSAGES))]
    for number in range(MESSAGES):
        sample = next(drawn[number % 4 == 0])
        bad = damaged(sample.wire, rng)
        for _ in range(rng.randrange(3)):
            bad = damaged(bad, rng) if bad else bad
        kind = "signed" if isinstance(sample, Sealed) else "unsigned"
        if bad == sample.wire:
            counts["unchanged"] += 1
            continue
        counts[f"{kind} tried"] += 1
        try:
            value = sample.opened(bad)
        except RemoteProtocolError:
            counts[f"{kind} refused"] += 1
            continue
        assert isinstance(sample, Plain), f"{sample.name} accepted: {bad.hex()}"
        sample.check(value, bad, sample.right)
        counts["unsigned well-formed"] += 1
    print(seed, dict(counts))
    assert counts["signed refused"] == counts["signed tried"] > 0.7 * MESSAGES
    assert counts["unsigned refused"] > 0.5 * counts["unsigned tried"]


@pytest.fixture
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a part of a round that is not known here would be waited for."""
    monkeypatch.setattr(exchange, "PLAN_PATIENCE_S", 0.0)


@pytest.mark.parametrize("fed", FED, ids=lambda fed: fed.name)
async def test_what_is_rightly_said_is_taken(fed: Fed) -> None:
    value, used = await fed.read(fed.wire)
    assert value
    assert used == fed.wire


@pytest.mark.usefixtures("_no_patience")
@pytest.mark.parametrize("seed", seeds(SEEDS))
async def test_a_damaged_stream_is_refused_or_harmless(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  repeatable
    counts: Counter[str] = Counter()
    for fed in rng.choices(FED, k=STREAMS):
        kind = "bound" if fed.check is None else "free"
        bad = damaged(fed.wire, rng)
        counts[f"{kind} tried"] += 1
        try:
            value, used = await fed.read(bad)
        except (RemoteProtocolError, TransportError):
            value, used = None, b""
        if value is None:
            counts[f"{kind} refused"] += 1
        elif used == fed.wire:
            counts[f"{kind} right, with more behind it"] += 1
        else:
            assert fed.check is not None, f"{fed.name} accepted: {bad.hex()}"
            fed.check(value, used)
            counts["free well-formed"] += 1
    print(seed, dict(counts))
    assert counts["bound refused"] > 0.3 * STREAMS
