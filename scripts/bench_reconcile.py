"""What two nodes pay to find out what the other lacks: the part of `bench-reputation` about records."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from validation.antientropy import Pull, answer  # noqa: E402
from validation.idtree import IdTree  # noqa: E402

RECORD_BYTES = 300


@dataclass(frozen=True)
class Merge:
    """Two sets that differ, made equal."""

    ids: int
    differ: int
    sent_bytes: int
    """Questions and answers of both sides, records included."""
    share: float
    """Of what sending all records would take."""
    questions: int
    seconds: float
    """Of both sides, without the building of the trees."""
    adds_per_s: float


def merge(ids: int, differ: int) -> Merge:
    """Reconcile two sets of which each lacks half of `differ` ids of the other.

    A record is 300 bytes here: its id, and padding.
    """
    names = [hashlib.sha256(b"%d" % number).digest() for number in range(ids)]
    half = differ // 2
    began_s = time.perf_counter()
    one, other = IdTree(), IdTree()
    for id_ in names[half:]:
        one.add(id_)
    for id_ in names[: ids - half]:
        other.add(id_)
    roots = {one.root, other.root}
    built_s = time.perf_counter() - began_s
    assert len(roots) == 2
    sent, questions, began_s = 0, 0, time.perf_counter()
    for asker, asked in ((one, other), (other, one)):
        pull = Pull(asker, "neighbour", lambda record: record[:32])
        while not pull.is_done:
            question = pull.question()
            reply = answer(question, "asker", asked, lambda id_: id_ + bytes(RECORD_BYTES - 32))
            sent, questions = sent + len(question) + len(reply), questions + 1
            for id_, _ in pull.on_answer(reply):
                asker.add(id_)
    took_s = time.perf_counter() - began_s
    assert one.root == other.root
    assert len(one) == ids
    return Merge(
        ids, differ, sent, sent / (ids * RECORD_BYTES), questions, took_s, 2 * (ids - half) / built_s
    )
