"""What a node holds of evidence about others, as one set that neighbours compare.

A case goes by who is guilty: a majority has many subsets, and any one of them will do; a proof of work goes
by whose it is. All else goes by the id of its record. What is about a round is in the set while the books of
that round are open, or of an epoch after it; the rest is in it for good. The set begins at the same round on
all nodes of one epoch.

What a neighbour shows need not be taken in: it may be about a round of another branch, or be worth nothing.
So names of what came are not asked for again in the same round, and who shows little else is not asked at
all in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from dhtnode.digest import digest
from dhtnode.records import Body, Signed, open_record
from training.events import RecordArrived
from training.sync import Held
from validation.antientropy import NAME_BYTES, Pull, answer
from validation.cases import Case, open_case
from validation.entry import Entry, entry_name
from validation.epochs import Summary
from validation.events import CaseShown, NodeEvent
from validation.idtree import IdTree
from validation.messages import Verdict
from validation.voucher import Voucher

RECORDS: dict[str, type[Body]] = {kind.KIND: kind for kind in (Verdict, Summary, Entry, Voucher)}
"""Kinds of records that are compared, beside cases. Whoever takes one in adds its name to the holdings, and
can show it again."""
MAX_USELESS = 128
"""Records of one neighbour that are looked at in vain in one exchange. A guess: 60 KB, 40 ms."""
_CASE_START = b"\x93"
"""A list of three in msgpack; a record is one of four."""

Piece = Case | Signed[Body]


def open_piece(
    wire: bytes, swarm_id: bytes, sender: str, records: Mapping[str, type[Body]] = RECORDS
) -> Piece:
    """Check from itself what somebody shows: a case, or a record of one of these kinds.

    Raises:
        RemoteProtocolError: that of `open_case` or `open_record`.
    """
    if wire[:1] == _CASE_START:
        return open_case(wire, swarm_id, sender)
    return open_record(wire, swarm_id, records, sender)


def case_name(case: Case) -> bytes:
    """What a case is compared by: who is guilty, and of which round if it is not out for good."""
    return digest("case-against", case.guilty, "" if case.is_for_good else case.round_no)


def name_of(piece: Piece) -> bytes:
    if isinstance(piece, Case):
        return case_name(piece)
    return entry_name(piece.signer) if isinstance(piece.body, Entry) else piece.id


def first_round(round_no: int, open_rounds: int) -> int:
    """The first round whose evidence is kept at this one: that of the epoch before."""
    return max(0, round_no // open_rounds - 1) * open_rounds


class Holdings:
    """One node's set.

    Args:
        open_rounds: the manifest's length of an epoch of evidence.
    """

    def __init__(self, open_rounds: int) -> None:
        self.tree = IdTree()
        self.since = 0
        self.claimed: set[bytes] = set()
        """Names not to be asked for: they are on their way, or came in vain."""
        self.tiresome: set[str] = set()
        """Neighbours that have shown too much in vain."""
        self._open_rounds = open_rounds
        self._rounds: dict[int, set[bytes]] = {}

    @property
    def held(self) -> Held:
        """Names the set."""
        return Held(self.since, self.tree.root)

    def begin(self, round_no: int) -> None:
        """The node has come to this round: what is too old goes, and who was tiresome may be asked again."""
        self.claimed.clear()
        self.tiresome.clear()
        self.since = first_round(round_no, self._open_rounds)
        for old in [number for number in self._rounds if number < self.since]:
            for name in self._rounds.pop(old):
                self.tree.discard(name)

    def add(self, name: bytes, round_no: int | None) -> None:
        """Something is held, for good or for as long as its round counts."""
        if round_no is not None:
            if round_no < self.since:
                return
            self._rounds.setdefault(round_no, set()).add(name)
        self.tree.add(name)

    def drop(self, name: bytes) -> None:
        """Something is held no more."""
        self.tree.discard(name)

    def leave_rounds(self) -> None:
        """The node follows another branch: nothing is held that is about a round."""
        for names in self._rounds.values():
            for name in names:
                self.tree.discard(name)
        self._rounds.clear()

    def differ(self, peer: str, theirs: Held) -> bool:
        """Whether a neighbour may hold something that is lacking here."""
        return theirs.since == self.since and theirs.root != self.tree.root and peer not in self.tiresome

    def answer(self, wire: bytes, sender: str, wire_of: Callable[[bytes], bytes | None]) -> bytes:
        """As `antientropy.answer`."""
        return answer(wire, sender, self.tree, wire_of)


class Asking:
    """One exchange with a neighbour whose set differs.

    Args:
        holdings: to which the caller adds what it takes in.
        peer: the neighbour.
        swarm_id: signature domain.
    """

    def __init__(self, holdings: Holdings, peer: str, swarm_id: bytes) -> None:
        self._holdings = holdings
        self._peer = peer
        self._swarm_id = swarm_id
        self._opened: dict[bytes, Piece] = {}
        """What the last answer has brought, by name."""
        self._useless = 0
        self._pull = Pull(holdings.tree, peer, self._open, holdings.claimed)

    def question(self) -> bytes | None:
        """The next question, once all of the last answer was looked at; None if there is no use in one."""
        self._useless += sum(name not in self._holdings.tree for name in self._opened)
        self._opened.clear()
        if self._useless > MAX_USELESS:
            self._holdings.tiresome.add(self._peer)
            self._pull.give_up()
        return None if self._pull.is_done else self._pull.question()

    def on_answer(self, wire: bytes) -> list[Piece]:
        """What is new in the answer, each checked from itself.

        Raises:
            RemoteProtocolError: the neighbour broke the protocol; the exchange is over.
        """
        found = self._pull.on_answer(wire)
        self._holdings.claimed.update(name[:NAME_BYTES] for name, _ in found)
        return [self._opened[name] for name, _ in found]

    def give_up(self) -> None:
        """The neighbour is gone."""
        self._pull.give_up()

    def _open(self, wire: bytes) -> bytes:
        piece = open_piece(wire, self._swarm_id, self._peer)
        name = name_of(piece)
        self._opened[name] = piece
        return name


def sorted_by_time(
    pieces: Iterable[Piece], peer: str, is_past: Callable[[Verdict], bool]
) -> tuple[list[NodeEvent], list[Signed[Body]]]:
    """What a neighbour has shown: events for the core, and what is about rounds that are judged no more.

    Args:
        pieces: of an answer.
        peer: the neighbour.
        is_past: as `Validator.is_past`.
    """
    now: list[NodeEvent] = []
    late: list[Signed[Body]] = []
    for piece in pieces:
        if isinstance(piece, Case):
            now.append(CaseShown(piece))
        elif isinstance(piece.body, Summary) or (isinstance(piece.body, Verdict) and is_past(piece.body)):
            late.append(piece)
        else:
            now.append(RecordArrived(piece, peer))
    return now, late
