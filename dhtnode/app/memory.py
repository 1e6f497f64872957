"""What a node remembers through a crash: what it said, what it holds, and work that is promised.

Own records bind the node, so each is on the disk before it is sent. A head is written after its
state: a crash in between loses a round that peers can give back, never a promise.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgpack

from dhtnode.digest import DIGEST_BYTES
from dhtnode.errors import DhtnodeError
from dhtnode.files import disk_errors, replacing
from dhtnode.home import Home
from dhtnode.records import Body, Signed, open_record
from dhtnode.store import Store, StoredRecord
from training.chain import Certificate, open_certificate
from training.checkpoint import DamagedCheckpointError, load_checkpoint, save_checkpoint
from training.contribution import Contribution
from training.exchange import Received
from training.messages import KINDS
from training.state import Shape, State
from validation.cases import CASE, Case, open_case
from validation.entry import MAX_PAID, Entry
from validation.messages import Verdict

log = logging.getLogger(__name__)

HEADS_KEPT = 3
WORK_KEPT = 8
"""Rounds whose work and received parts can still be shown to auditors: `docket.ROUNDS_KEPT`."""
_HEADS = "heads"


class Memory:
    """The durable side of one node.

    Args:
        home: the node's folder.
        store: its database, used from the event loop's thread only.
        swarm_id: signature domain.
        peer_id: whose records these are.
    """

    def __init__(self, home: Home, store: Store, swarm_id: bytes, peer_id: str) -> None:
        self._home = home
        self._store = store
        self._swarm_id = swarm_id
        self._peer_id = peer_id
        self._saving = asyncio.Lock()
        self._writing_results = threading.Lock()

    # What was said

    def keep_own(self, record: Signed[Body]) -> None:
        """Returns when the record is on the disk."""
        round_no: int = record.body.round  # type: ignore[attr-defined]
        self._store.journal(round_no, record.id.hex(), record.wire)

    def own(self) -> list[Signed[Body]]:
        """Own records of the rounds that may still matter: around every head on the disk.

        Who has changed to another branch stands on a head with a smaller number than the one before.
        """
        numbers = [self._open(wire).head.number for wire in self._head_wires()] or [0]
        wires = [
            wire
            for round_no in range(max(0, min(numbers) - HEADS_KEPT), max(numbers) + HEADS_KEPT + 1)
            for wire in self._store.journaled(round_no).values()
        ]
        return [open_record(wire, self._swarm_id, KINDS, self._peer_id) for wire in wires]

    # Work that a commitment promises

    def keep_work(self, base: bytes, work: Contribution, seals: Sequence[bytes]) -> None:
        """Write the encoded update of a round and its sealed boundaries; older ones go.

        Blocks: call it in a thread.
        """
        folder = self._folder("work")
        with replacing(folder / base.hex()) as draft:
            draft.write_bytes(msgpack.packb([list(work.chunks_K), list(seals)]))
        _keep_newest(folder, WORK_KEPT)

    def work(self, base: bytes) -> Contribution | None:
        """The encoded update of a round, if this node had promised one."""
        kept = self._read_work(base)
        return Contribution.of_chunks(self._peer_id, base, kept[0]) if kept else None

    def seals(self, base: bytes) -> tuple[bytes, ...] | None:
        """The boundaries that the own work of a round is committed to with."""
        kept = self._read_work(base)
        return tuple(kept[1]) if kept else None

    def _read_work(self, base: bytes) -> tuple[list[bytes], list[bytes]] | None:
        try:
            chunks, seals = msgpack.unpackb((self._home.root / "work" / base.hex()).read_bytes())
        except (OSError, ValueError):
            return None
        return chunks, seals

    # Parts that a result is made from

    def keep_parts(self, roster: bytes, part: int, received: Mapping[str, Received]) -> None:
        """Write what a part is reduced from, by sender, so that auditors can be shown it. Blocks."""
        folder = self._folder("parts")
        packed = {
            sender: [b"".join(one.leaves_K), one.owned[0], list(one.chunks)]
            for sender, one in received.items()
        }
        with replacing(folder / f"{roster.hex()}-{part}") as draft:
            draft.write_bytes(msgpack.packb(packed))
        _keep_newest(folder, WORK_KEPT)

    def part(self, roster: bytes, part: int, sender: str) -> Received | None:
        """What a sender sent for a part that this node has reduced."""
        try:
            packed = msgpack.unpackb((self._home.root / "parts" / f"{roster.hex()}-{part}").read_bytes())
            joined, first, chunks = packed[sender]
        except (OSError, ValueError, KeyError):
            return None
        leaves_K = [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]
        return Received(leaves_K, range(first, first + len(chunks)), chunks)

    # Results that a vote rests on

    def keep_results(self, base: bytes, results: dict[bytes, list[bytes]]) -> None:
        """Write reduced parts of a round beside those written before; older rounds go.

        Blocks: call it in a thread. A result record promises its bytes, and a vote for an outer step
        promises that its parts can be had. If all who hold them lost them in a crash, the round could
        never be closed.
        """
        path = self._folder("results") / base.hex()
        with self._writing_results:
            before = _read_results(path) if path.exists() else {}
            with replacing(path) as draft:
                draft.write_bytes(msgpack.packb({**before, **results}))
            _keep_newest(path.parent, HEADS_KEPT)

    def result(self, base: bytes, root: bytes) -> list[bytes] | None:
        """A reduced part of a recent round."""
        path = self._folder("results") / base.hex()
        return _read_results(path).get(root) if path.exists() else None

    def results(self) -> list[tuple[bytes, list[bytes]]]:
        """All reduced parts on disk, each with the base of its round. Read once, at the start."""
        found: list[tuple[bytes, list[bytes]]] = []
        folder = self._folder("results")
        for path in sorted(folder.glob("[!.]*")):  # a killed writer leaves a draft behind
            found += [(bytes.fromhex(path.name), chunks) for chunks in _read_results(path).values()]
        return found

    # What was found out about others' work

    def keep_verdict(self, verdict: Signed[Verdict]) -> None:
        self._store.add_record(
            StoredRecord(verdict.id, Verdict.KIND, verdict.body.round, verdict.signer, verdict.wire)
        )

    def keep_case(self, case: Case) -> None:
        """For good: the key stays out after a restart."""
        self._store.add_record(StoredRecord(case.id, CASE, case.round_no, case.guilty, case.wire))

    def cases(self) -> list[Case]:
        """All that were kept, in the order of their rounds."""
        return [
            open_case(record.wire, self._swarm_id, self._peer_id) for record in self._store.all_records(CASE)
        ]

    # Who has paid for its entry

    def keep_entry(self, entry: Signed[Entry]) -> None:
        """Up to a crowd that is no use: who is beyond it shows its entry again with each `Ready`."""
        if self._store.count_records(Entry.KIND) >= MAX_PAID:
            return
        self._store.add_record(StoredRecord(entry.id, Entry.KIND, 0, entry.signer, entry.wire))

    def entries(self) -> list[Signed[Entry]]:
        """All that were kept, this node's own among them."""
        return [
            open_record(record.wire, self._swarm_id, {Entry.KIND: Entry}, self._peer_id)
            for record in self._store.all_records(Entry.KIND)
        ]

    # Heads and their states

    async def keep_head(
        self, certificate: Certificate, state: State, notes: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Write a state, with notes beside it, and then the head that certifies it; forget older ones."""
        async with self._saving:
            await asyncio.to_thread(save_checkpoint, self._path(state.digest), state, notes)
            heads = [wire for wire in self._head_wires() if wire != certificate.wire]
            heads = [*heads, certificate.wire][-HEADS_KEPT:]
            self._store.set_fact(_HEADS, msgpack.packb(heads))
            kept = {self._path(self._open(wire).head.state) for wire in heads}
            for path in self._home.checkpoints.iterdir():
                if path not in kept:
                    path.unlink(missing_ok=True)

    def newest_head(self, shape: Shape) -> tuple[Certificate, State] | None:
        """The newest head whose state is whole.

        Raises:
            ConfigError: the checkpoint can't be read, or belongs to another swarm.
        """
        for wire in reversed(self._head_wires()):
            certificate = self._open(wire)
            try:
                state = load_checkpoint(self._path(certificate.head.state), self._swarm_id, shape)
            except DamagedCheckpointError as error:
                log.warning("%s; going back to an older one", error)
                continue
            if state is not None:
                return certificate, state
        return None

    def newest_round(self) -> int:
        """Number of the newest head on disk, 0 if there is none."""
        return max((self._open(wire).head.number for wire in self._head_wires()), default=0)

    def _head_wires(self) -> list[bytes]:
        packed = self._store.fact(_HEADS)
        heads: list[Any] = msgpack.unpackb(packed) if packed else []
        return heads

    def _open(self, wire: bytes) -> Certificate:
        try:
            return open_certificate(wire, self._swarm_id, self._peer_id)
        except DhtnodeError as error:
            raise AssertionError(f"an own certificate on disk does not verify: {error}") from error

    def _folder(self, name: str) -> Path:
        folder = self._home.root / name
        with disk_errors(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _path(self, digest: bytes) -> Path:
        return self._home.checkpoints / f"{digest.hex()}.safetensors"


def _read_results(path: Path) -> dict[bytes, list[bytes]]:
    try:
        parts: dict[bytes, list[bytes]] = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
    except ValueError:
        log.warning("%s is damaged and ignored", path)
        return {}
    return parts


def _keep_newest(folder: Path, count: int) -> None:
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in files[:-count]:
        old.unlink(missing_ok=True)
