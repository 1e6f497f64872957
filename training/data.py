"""Data that is named by its content, and who trains on which of it.

A shared dataset is a string of bytes in chunks; the manifest holds the digest of each, so that a
chunk may come from anybody. Which examples a step trains on follows from (swarm, round, peer, step):
nobody chooses the own data, and anybody can compute what another node had to train on. Private data
is a local file in whatever form its task reads, and never leaves the node.
"""

from __future__ import annotations

import io
from pathlib import Path
from pydoc_data import topics

import numpy as np
import numpy.typing as npt

from dhtnode.digest import derive, leaf_digest, leaf_digests, root_digest
from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import DataSection

Indices = npt.NDArray[np.int64]
Array = npt.NDArray[np.generic]

SMALLEST_CHUNK = 64 * 1024
MOST_CHUNKS = 1_024
"""The manifest holds a digest for each: 66 KB of text at most."""


def builtin_text() -> bytes:
    """English prose that every Python brings along: the help texts of `pydoc`, about 466 KB.

    They differ a little from one Python version to the next. That does no harm: who has another
    version fetches the swarm's chunks from its peers.
    """
    return "\n".join(text for _, text in sorted(topics.topics.items())).encode()


def read_file(path: Path) -> bytes:
    """The content of a data file.

    Raises:
        ConfigError: DATA (4), it can't be read or is empty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the data {path}: {error.strerror}; give another file with --data", Exit.DATA
        ) from error
    if not content:
        raise ConfigError(f"the data {path} is empty; give another file with --data", Exit.DATA)
    return content


def describe(content: bytes, held_out: float) -> DataSection:
    """What the manifest says of a shared dataset."""
    chunk_bytes = SMALLEST_CHUNK
    while len(content) > chunk_bytes * MOST_CHUNKS:
        chunk_bytes *= 2
    view = memoryview(content)
    chunks = [view[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes)]
    leaves = leaf_digests("data", chunks)
    return DataSection(
        mode="shared",
        digest=root_digest("data", leaves).hex(),
        total_bytes=len(content),
        chunk_bytes=chunk_bytes,
        chunks=tuple(leaf.hex() for leaf in leaves),
        held_out=held_out,
    )


def check_section(section: DataSection) -> None:
    """Hold the digest of a shared dataset against the digests of its chunks.

    Raises:
        ConfigError: MANIFEST (3), they do not belong together.
    """
    if root_digest("data", [bytes.fromhex(leaf) for leaf in section.chunks]).hex() != section.digest:
        raise ConfigError(
            "data.digest does not belong to data.chunks; make the manifest with 'dhtnode swarm new'",
            Exit.MANIFEST,
        )


def chunk_length(section: DataSection, index: int) -> int:
    """Bytes of one chunk."""
    return min(section.chunk_bytes, section.total_bytes - index * section.chunk_bytes)


def check_chunk(section: DataSection, index: int, chunk: bytes | memoryview) -> None:
    """Hold one chunk, from a peer or from the disk, against the manifest.

    Raises:
        ValueError: no such chunk, wrong length or wrong content.
    """
    if not 0 <= index < len(section.chunks):
        raise ValueError(f"no chunk {index} in a dataset of {len(section.chunks)} chunks")
    if len(chunk) != chunk_length(section, index):
        raise ValueError(f"chunk {index} has {len(chunk)} bytes, not {chunk_length(section, index)}")
    if leaf_digest("data", index, chunk).hex() != section.chunks[index]:
        raise ValueError(f"chunk {index} does not match its digest")


def verify(content: bytes, section: DataSection, source: str) -> None:
    """Hold a whole shared dataset against the manifest; `source` names it in errors.

    Raises:
        ConfigError: DATA (4), with the first bad chunk.
    """
    remedy = "give the file that the swarm was made with, or none to fetch it from peers"
    if len(content) != section.total_bytes:
        raise ConfigError(
            f"{source} has {len(content)} bytes, the swarm's dataset has {section.total_bytes}; {remedy}",
            Exit.DATA,
        )
    view = memoryview(content)
    for index in range(len(section.chunks)):
        start = index * section.chunk_bytes
        try:
            check_chunk(section, index, view[start : start + section.chunk_bytes])
        except ValueError as error:
            raise ConfigError(
                f"{source} is not the swarm's dataset: {error} (bytes from {start}); {remedy}", Exit.DATA
            ) from error


def batch_indices(
    swarm_id: bytes, round_no: int, peer_id: str, step: int, batch_size: int, examples: int
) -> Indices:
    """Which examples (0..examples-1, with repetition) a peer trains on in a step of a round.

    Raw Philox output, because NumPy promises that stream for all versions to come (NEP 19), which
    it does not for `Generator` methods. The bias of the remainder is under examples / 2**64.
    """
    seed = derive("batch", swarm_id, round_no, peer_id, step)
    raw = np.asarray(np.random.Philox(key=seed).random_raw(batch_size), np.uint64)
    return (raw % np.uint64(examples)).astype(np.int64)


def pack_arrays(x: Array, y: Array) -> bytes:
    """Examples and labels as the bytes of an .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x, y=y)
    return buffer.getvalue()


def unpack_arrays(content: bytes) -> tuple[Array, Array]:
    """Examples x and labels y from the bytes of an .npz file. Nothing in it is executed.

    Raises:
        ConfigError: DATA (4), it is not such a file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise ConfigError(
            f"the data is no .npz file with arrays x and y ({error}); write it with numpy.savez",
            Exit.DATA,
        ) from error
    if y.ndim != 1 or len(x) != len(y) or not len(y):
        raise ConfigError(
            f"the data has {x.shape} x and {y.shape} y; it needs one label for each example", Exit.DATA
        )
    return x, y


def split_by_label(x: Array, y: Array, shards: int) -> list[tuple[Array, Array]]:
    """Cut examples into shards that each know few labels: the non-IID case of federated learning.

    Sorted by label, cut into two slices for each shard, dealt so that the two lie far apart
    (McMahan et al., arXiv:1602.05629, section 3). Each example is in exactly one shard.

    Raises:
        ValueError: fewer than two examples for a shard.
    """
    if shards < 1 or len(y) < 2 * shards:
        raise ValueError(f"cannot cut {len(y)} examples into {shards} shards")
    slices = np.array_split(np.argsort(y, kind="stable"), 2 * shards)
    picks = [np.sort(np.concatenate([slices[n], slices[n + shards]])) for n in range(shards)]
    return [(x[pick], y[pick]) for pick in picks]
