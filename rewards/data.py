"""Who brought which data, how rare it is, and how much of it accepted work has used.

An owner registers a shard: a range of chunks of the swarm's dataset, or in private mode so many tokens of
its own, with the name of a domain and a sketch of the content. A chunk belongs to who registered it
first, by round and then record id: a second claim counts for nothing. Training draws its examples
evenly from the dataset (`training.data.batch_indices`), so a shard's part in a round is its part of the
dataset; a private shard is used by its owner's own work.

The sketch is MinHash: of many hash functions, the least value over all windows of 8 bytes. Two sketches
agree in as large a share of places as the two contents have windows in common (Broder, "On the
resemblance and containment of documents", 1997). With the dataset at hand, anybody can make the sketch
of a shard again; for private data, size and sketch are the owner's word.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from dhtnode.digest import derive
from dhtnode.manifest import DataSection
from dhtnode.records import Body, Count, Signed
from dhtnode.reward import PPM, RewardSection
from rewards.entries import raw_key
from rewards.formula import rarity_ppm
from training.data import MOST_CHUNKS

SKETCH_HASHES = 128
"""Standard error of a similarity: sqrt(s (1 - s) / 128), at most 4.4 %."""
SKETCH_BYTES = 4 * SKETCH_HASHES
WINDOW_BYTES = 8
SALT_BYTES = 16
CLAIMS_PER_KEY = 64
"""Further ones of a key count for nothing: a bound on what a flood of records costs. A guess."""
_BATCH = 2**16
Words = npt.NDArray[np.uint64]


class Registration(Body, frozen=True, kw_only=True):
    """The signer has brought this part of the swarm's data."""

    KIND: ClassVar[str] = "shard"
    MAX_BYTES: ClassVar[int] = 1024
    round: Count
    domain: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]
    first: Annotated[int, msgspec.Meta(ge=0, lt=MOST_CHUNKS)]
    """The first of its chunks; 0 for private data."""
    chunks: Annotated[int, msgspec.Meta(ge=0, le=MOST_CHUNKS)]
    """How many; 0 for private data."""
    tokens: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    """In the whole shard."""
    sketch: Annotated[bytes, msgspec.Meta(min_length=SKETCH_BYTES, max_length=SKETCH_BYTES)]
    salt: Annotated[bytes, msgspec.Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    """Random: who sees the id in a commitment can't find out by trying what it stands for."""


@dataclass(frozen=True)
class Use:
    """What one round used of one registered shard."""

    key: bytes
    record: bytes
    """Id of the registration."""
    tokens: int
    rarity_ppm: int


@dataclass(frozen=True)
class Claim:
    """A registration and what of it nobody had registered before."""

    round: int
    record: bytes
    key: bytes
    domain: str
    size: int
    """Chunks that are its own; tokens for private data."""
    duplicate_ppm: int


class Registry:
    """All claims that count, by round and record; their rarity at each time.

    Args:
        claims: from `register`.
        chunks: chunks of the dataset that training draws from; 0 in private mode.
        section: bounds of the rarity.
    """

    def __init__(self, claims: Sequence[Claim], chunks: int, section: RewardSection) -> None:
        self.claims = tuple(claims)
        self._chunks = chunks
        self._section = section
        self._shares: dict[int, list[tuple[int, int]]] = {}
        """By how many claims count: rarity of each, and the size of all of its owner's shards."""

    def used(self, round_no: int, tokens: Mapping[bytes, int]) -> list[Use]:
        """What a round used of each shard.

        Args:
            round_no: claims of later rounds do not count yet.
            tokens: of each member's accepted work.
        """
        count = bisect_right(self.claims, round_no, key=lambda claim: claim.round)
        if count not in self._shares:
            self._shares[count] = self._share(self.claims[:count])
        all_tokens = sum(tokens.values())
        uses = []
        for claim, (rarity, owned) in zip(self.claims, self._shares[count], strict=False):
            if self._chunks:
                used = all_tokens * claim.size // self._chunks
            else:
                used = tokens.get(claim.key, 0) * claim.size // owned
            uses.append(Use(claim.key, claim.record, used, rarity))
        return uses

    def _share(self, claims: Sequence[Claim]) -> list[tuple[int, int]]:
        domains: Counter[str] = Counter()
        owned: Counter[bytes] = Counter()
        for claim in claims:
            domains[claim.domain] += claim.size
            owned[claim.key] += claim.size
        total, number = domains.total(), len(domains)
        return [
            (
                rarity_ppm(total, number, domains[claim.domain], claim.duplicate_ppm, self._section),
                owned[claim.key],
            )
            for claim in claims
        ]


NO_DATA = Registry((), 0, RewardSection())
"""Nobody has registered anything."""


def register(registrations: Iterable[Signed[Registration]], chunks: int, section: RewardSection) -> Registry:
    """The registry that a set of registrations makes: the same for any order.

    Args:
        registrations: verified, each once.
        chunks: see `training_chunks`.
        section: the manifest's.
    """
    taken = 0
    claims: list[Claim] = []
    earlier: list[Registration] = []
    by_key: dict[str, int] = defaultdict(int)
    for record in sorted(registrations, key=lambda record: (record.body.round, record.id)):
        body = record.body
        asked = ((1 << body.chunks) - 1) << body.first & (1 << chunks) - 1
        size = (asked & ~taken).bit_count() if chunks else body.tokens
        if not size or by_key[record.signer] == CLAIMS_PER_KEY or (not chunks and body.chunks):
            continue
        by_key[record.signer] += 1
        taken |= asked
        duplicate = max((contained_ppm(body, other) for other in earlier), default=0)
        claims.append(Claim(body.round, record.id, raw_key(record.signer), body.domain, size, duplicate))
        earlier.append(body)
    return Registry(claims, chunks, section)


def training_chunks(data: DataSection) -> int:
    """Chunks of a shared dataset that hold nothing but training data; 0 in private mode."""
    return int((1 - data.held_out) * data.total_bytes) // data.chunk_bytes if data.mode == "shared" else 0


def find_fault(body: Registration, data: DataSection) -> str | None:
    """What anybody with the manifest can tell is wrong with a registration, or None.

    Args:
        body: a peer's.
        data: the manifest's section.
    """
    chunks = training_chunks(data)
    if (body.chunks > 0) != (chunks > 0) or body.first + body.chunks > chunks:
        return "names chunks that the swarm's data has not"
    if chunks and body.tokens != body.chunks * data.chunk_bytes:
        return "names another size than its chunks have"
    return None


def contained_ppm(shard: Registration, other: Registration) -> int:
    """Estimated share of a shard that another one holds, too.

    With similarity s (windows in both over windows in either) and sizes a and b, windows in both are
    s (a + b) / (1 + s).
    """
    equal = sum(
        shard.sketch[start : start + 4] == other.sketch[start : start + 4]
        for start in range(0, SKETCH_BYTES, 4)
    )
    both = equal * (shard.tokens + other.tokens)
    return min(PPM, both * PPM // ((SKETCH_HASHES + equal) * shard.tokens))


def sketch(content: bytes) -> bytes:
    """The MinHash sketch of a shard's content: the same bytes on every machine.

    Raises:
        ValueError: the content is shorter than one window.
    """
    if len(content) < WINDOW_BYTES:
        raise ValueError(f"{len(content)} bytes are less than a window of {WINDOW_BYTES}")
    raw = np.frombuffer(content, np.uint8)
    least = np.full(SKETCH_HASHES, np.iinfo(np.uint32).max, np.uint32)
    odd, add = _hash_functions()
    for start in range(0, len(raw) - WINDOW_BYTES + 1, _BATCH):
        windows = np.unique(_mixed(_windows(raw[start : start + _BATCH + WINDOW_BYTES - 1])))
        for place in range(SKETCH_HASHES):
            hashed = (windows * odd[place] + add[place]) >> np.uint64(32)
            least[place] = min(least[place], np.uint32(hashed.min()))
    return least.astype(">u4").tobytes()


def _windows(raw: npt.NDArray[np.uint8]) -> Words:
    """Each 8 bytes in a row as one integer."""
    rows = np.lib.stride_tricks.sliding_window_view(raw, WINDOW_BYTES)
    return np.ascontiguousarray(rows).view("<u8").ravel()


def _mixed(words: Words) -> Words:
    """Spread every bit over all others: the finalizer of SplitMix64 (Steele et al., 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _hash_functions() -> tuple[Words, Words]:
    """Factors and summands of multiply-shift hashing (Dietzfelbinger et al., 1997)."""
    low = 2**64 - 1
    odd = [derive("minhash-factor", place) & low | 1 for place in range(SKETCH_HASHES)]
    add = [derive("minhash-summand", place) & low for place in range(SKETCH_HASHES)]
    return np.array(odd, np.uint64), np.array(add, np.uint64)
