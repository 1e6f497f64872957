"""The wire form of pseudo-gradients: exact lengths, bounded errors, and no trust in what comes in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dhtnode.manifest import WireSection
from training.codec import (
    CODECS,
    LIMIT,
    SMALLEST_SCALE,
    Vector,
    check,
    chunk_bytes,
    chunk_sizes,
    decode,
    decode_all,
    encode,
)

LEVELS = {"int8": 127, "int4": 7}
values = st.floats(-LIMIT, LIMIT, width=32, allow_subnormal=True)
vectors = arrays(np.float32, st.integers(0, 700), elements=values)
wires = st.builds(
    WireSection,
    codec=st.sampled_from(sorted(CODECS)),
    block_elems=st.sampled_from([32, 64, 128, 256]),
    chunk_elems=st.sampled_from([256, 512]),
)


def dumb_decoded(vector: Vector, wire: WireSection) -> Vector:
    """What the codec must give, one element after the other, in Python."""
    out = np.array(vector)
    for start in range(0, vector.size, wire.block_elems):
        block = vector[start : start + wire.block_elems]
        scale = np.float32(max(abs(v) for v in block)) / np.float32(LEVELS[wire.codec])
        scale = np.float32(0) if scale < SMALLEST_SCALE else scale
        for i, value in enumerate(block):
            code = round(float(value / scale)) if scale else 0  # Python rounds half to even
            out[start + i] = np.float32(code) * scale
    return out


@given(vectors, wires)
def test_round_trip_keeps_length_bound_and_schema(vector: Vector, wire: WireSection) -> None:
    chunks = encode(vector, wire)
    sizes = chunk_sizes(vector.size, wire)
    assert sum(sizes) == vector.size
    for chunk, elems in zip(chunks, sizes, strict=True):
        assert len(chunk) == chunk_bytes(elems, wire)
        check(chunk, elems, wire)
    decoded = decode_all(chunks, vector.size, wire)
    assert decoded.dtype == np.float32
    if wire.codec == "fp32":
        assert decoded.tobytes() == vector.tobytes()
        return
    for start in range(0, vector.size, wire.block_elems):
        block = slice(start, start + wire.block_elems)
        if wire.codec == "int2":
            assert_within_lloyds_bound(decoded[block], vector[block])
            continue
        peak = float(np.abs(vector[block]).max())
        bound = peak * (0.5 / LEVELS[wire.codec] + 2.0**-21)
        if peak / LEVELS[wire.codec] < 2.0**-125:
            bound = peak  # such a block may become zero
        assert np.abs(decoded[block].astype(float) - vector[block]).max() <= bound


def assert_within_lloyds_bound(decoded: Vector, vector: Vector) -> None:
    exact = vector.astype(float)
    rms = math.sqrt(float((exact * exact).mean()))
    if rms < 2.0**-60 * (1 + 1e-6) and not decoded.any():
        return
    scale = min(rms, LIMIT / 1.5104)
    allowed = np.maximum(0.53 * scale, np.abs(exact) - 1.51 * scale) + 1e-5 * scale
    assert (np.abs(decoded - exact) <= allowed).all()


@settings(max_examples=50)
@given(vectors, wires.filter(lambda wire: wire.codec in LEVELS))
def test_equals_the_scalar_reference(vector: Vector, wire: WireSection) -> None:
    decoded = decode_all(encode(vector, wire), vector.size, wire)
    np.testing.assert_array_equal(decoded, dumb_decoded(vector, wire))


@given(vectors, wires)
def test_encoding_is_canonical(vector: Vector, wire: WireSection) -> None:
    """Encoding what was decoded gives the same values: a chunk is not eroded by another hop."""
    once = decode_all(encode(vector, wire), vector.size, wire)
    assert encode(vector, wire) == encode(vector.copy(), wire)
    if wire.codec == "int2":
        return  # its levels have another RMS than what they stand for
    twice = decode_all(encode(once, wire), vector.size, wire)
    np.testing.assert_allclose(twice, once, rtol=2.0**-22)


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, LIMIT * 1.001])
def test_refuses_to_encode_what_peers_would_refuse(codec: str, value: float) -> None:
    vector = np.zeros(300, np.float32)
    vector[299] = value
    with pytest.raises(ValueError, match="NaN, infinite or above"):
        encode(vector, WireSection(codec=codec, chunk_elems=256))  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("change", [-1, 1])
def test_refuses_another_length(codec: str, change: int) -> None:
    wire = WireSection(codec=codec)  # type: ignore[arg-type]
    good = chunk_bytes(100, wire)
    with pytest.raises(ValueError, match=f"has {good + change} bytes, {codec} of 100 elements has {good}"):
        check(bytes(good + change), 100, wire)


@pytest.mark.parametrize("codec", ["int8", "int4", "int2"])
@pytest.mark.parametrize(
    ("scale", "reason"),
    [
        (math.nan, "NaN or infinite"),
        (math.inf, "NaN or infinite"),
        (-1.0, "negative"),
        (-0.0, "negative"),
        (LIMIT, "above"),
        (1e-40, "subnormal"),
    ],
)
def test_refuses_bad_scales(codec: str, scale: float, reason: str) -> None:
    wire = WireSection(codec=codec)  # type: ignore[arg-type]
    chunk = bytearray(encode(np.ones(100, np.float32), wire)[0])
    chunk[4:8] = np.array([scale], "<f4").tobytes()
    with pytest.raises(ValueError, match=reason):
        check(bytes(chunk), 100, wire)


@pytest.mark.parametrize(("codec", "byte"), [("int8", 0x80), ("int4", 0x08), ("int4", 0x80), ("int4", 0x88)])
@pytest.mark.parametrize("position", [-1, -50])
def test_refuses_codes_that_are_never_made(codec: str, byte: int, position: int) -> None:
    wire = WireSection(codec=codec)  # type: ignore[arg-type]
    chunk = bytearray(encode(np.ones(100, np.float32), wire)[0])
    chunk[position] = byte
    with pytest.raises(ValueError, match="code is outside"):
        check(bytes(chunk), 100, wire)


@pytest.mark.parametrize(("codec", "bit"), [("int4", 0x10), ("int2", 0x04), ("int2", 0x80)])
def test_refuses_padding_that_says_something(codec: str, bit: int) -> None:
    wire = WireSection(codec=codec)  # type: ignore[arg-type]
    chunk = bytearray(encode(np.ones(33, np.float32), wire)[0])
    chunk[-1] |= bit
    with pytest.raises(ValueError, match="padding"):
        check(bytes(chunk), 33, wire)


@pytest.mark.parametrize("value", [math.nan, math.inf, -2 * LIMIT])
def test_refuses_bad_plain_values(value: float) -> None:
    with pytest.raises(ValueError, match="NaN, infinite or above"):
        check(np.array([1.0, value], "<f4").tobytes(), 2, WireSection(codec="fp32"))


@given(st.binary(max_size=2_000), st.integers(1, 1_000), wires)
def test_any_bytes_are_refused_or_decode_to_sane_values(junk: bytes, elems: int, wire: WireSection) -> None:
    junk = junk.ljust(chunk_bytes(elems, wire), b"\x01")[: chunk_bytes(elems, wire)]
    try:
        check(junk, elems, wire)
    except ValueError:
        return
    assert np.abs(decode(junk, elems, wire)).max() <= LIMIT * (1 + 2.0**-22)


def test_the_bytes_are_what_the_documentation_says() -> None:
    vector = np.array([1.0, -0.6, 0.0, 0.25], np.float32)
    scale = (np.float32(1) / np.float32(7)).tobytes()
    assert encode(vector, WireSection(codec="int4")) == [scale + bytes([0x7 | 0xC << 4, 0x0 | 0x2 << 4])]
    scale = (np.float32(1) / np.float32(127)).tobytes()
    assert encode(vector, WireSection(codec="int8")) == [scale + bytes([127, 256 - 76, 0, 32])]
    scale = np.sqrt(np.float32(4) / np.float32(4)).tobytes()
    vector = np.array([1.9, -0.5, 0.0, -0.38], np.float32)
    vector *= np.float32(2) / np.float32(math.sqrt(float((vector.astype(float) ** 2).sum())))
    (chunk,) = encode(vector, WireSection(codec="int2"))
    assert (np.frombuffer(chunk[:4], "<f4")[0], chunk[4]) == (
        pytest.approx(np.frombuffer(scale, "<f4")[0]),
        0b10_00_10_01,
    )


def test_two_bits_keep_most_of_a_normal_vector() -> None:
    """Lloyd and Max: four levels leave 0.1175 of a normal distribution's variance as error."""
    vector = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    wire = WireSection(codec="int2", block_elems=256)
    error = decode_all(encode(vector, wire), vector.size, wire) - vector
    assert float((error * error).mean()) == pytest.approx(0.1175, abs=0.005)
