"""Where a node's data comes from: the command line, the home, this machine's cache, Python, peers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from dhtnode.config import RunOptions
from dhtnode.digest import derive
from dhtnode.errors import ConfigError, Exit, TransportError
from dhtnode.files import replacing
from dhtnode.home import data_cache
from dhtnode.net.network import Network
from training.data import builtin_text, check_section, pack_arrays, read_file, split_by_label, verify
from training.library import fetch_dataset

log = logging.getLogger(__name__)

RETRY_S = 2.0
DEFAULT_SHARDS = 5
"""Shards of scikit-learn's digits; a node that names no data takes the one its peer id falls on."""


def local_dataset(options: RunOptions, peer_id: str) -> bytes | None:
    """The node's data as far as this machine has it; None: it has to come from peers.

    Raises:
        ConfigError: the data that was named can't be read or is not the swarm's (DATA).
    """
    section = options.manifest.terms.data
    if section.mode == "private":
        return _private(options, peer_id)
    check_section(section)
    if options.data is not None:
        content = read_file(options.data)
        verify(content, section, str(options.data))
        return content
    for path in (options.home.data / str(section.digest), data_cache() / str(section.digest)):
        if path.exists():
            content = read_file(path)
            try:
                verify(content, section, str(path))
            except ConfigError as error:
                log.warning("%s", error)
                continue
            return content
    content = builtin_text()
    try:
        verify(content, section, "the built-in text")
    except ConfigError:
        return None
    return content


async def dataset_from_peers(options: RunOptions, network: Network, tell: Callable[[str], None]) -> bytes:
    """Fetch the swarm's dataset, patiently, and keep it in the home.

    Raises:
        ConfigError: it can't be written.
    """
    section = options.manifest.terms.data
    while True:
        try:
            content = await fetch_dataset(
                network.streams,
                list(network.connected_peers()),
                section,
                lambda here, wanted: tell(f"fetching the dataset: {here} of {wanted} chunks"),
            )
        except TransportError as error:
            tell(f"waiting for peers that have the dataset: {error}")
            await asyncio.sleep(RETRY_S)
            continue
        with replacing(options.home.data / str(section.digest)) as draft:
            draft.write_bytes(content)
        return content


def _private(options: RunOptions, peer_id: str) -> bytes:
    if options.data is not None:
        return read_file(options.data)
    if options.manifest.terms.task.kind != "digits":
        raise ConfigError("this swarm trains on each node's own data; name yours with --data", Exit.DATA)
    from training.tasks.digits import public_split

    train, _ = public_split()
    shards = split_by_label(*train, DEFAULT_SHARDS)
    return pack_arrays(*shards[derive("shard", peer_id) % DEFAULT_SHARDS])
