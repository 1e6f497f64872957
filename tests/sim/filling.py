"""How a simulated node asks for what gossip and absence have left out, as `dhtnode.app.gaps` does.

Questions go over streams: they arrive, or the neighbour is out of reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dhtnode.errors import RemoteProtocolError
from rewards.rounds import open_answer, question_for
from tests.sim.model import SWARM
from training.sync import Held
from validation.cases import Case
from validation.events import CaseShown
from validation.holdings import Asking, Piece, sorted_by_time

if TYPE_CHECKING:
    from tests.sim.shell import Node


class Filling:
    """One node's, for one life."""

    def __init__(self, node: Node) -> None:
        self.bytes = 0
        """Of all questions and answers."""
        self._node = node
        self._asked: set[str] = set()

    def fill(self, other: Node, theirs: Held) -> None:
        """Ask a neighbour for rounds along the chain, then for evidence if the sets differ."""
        if other.peer_id not in self._asked and self._node.validator is not None:
            self._asked.add(other.peer_id)
            self._walk(other, theirs, None)

    def _walk(self, other: Node, theirs: Held, before: bytes | None) -> None:
        validator, standing = self._node.validator, self._node.standing
        head = standing.lacking(validator.holdings.since) if standing and validator else None
        if validator is None or standing is None or head is None or head == before:
            self._compare(other, theirs)
            return

        def ask() -> None:
            if other.standing is None:
                self._asked.discard(other.peer_id)
                return
            question = question_for(head)
            answer = other.standing.answer_rounds(question, self._node.peer_id)
            self.bytes += len(question) + len(answer)
            standing.take_rounds(open_answer(answer, head, SWARM, other.peer_id), validator)
            self._walk(other, theirs, head)

        self._over_stream(other, ask, lambda: None)

    def _compare(self, other: Node, theirs: Held) -> None:
        validator = self._node.validator
        if validator is not None and validator.holdings.differ(other.peer_id, theirs):
            self._pull(Asking(validator.holdings, other.peer_id, SWARM), other)
        else:
            self._asked.discard(other.peer_id)

    def _pull(self, asking: Asking, other: Node) -> None:
        question = asking.question()
        if question is None:
            self._asked.discard(other.peer_id)
            return

        def ask() -> None:
            answer = other.show_evidence(question, self._node)
            assert answer is not None, "an honest question"
            self.bytes += len(question) + len(answer)
            try:
                pieces = asking.on_answer(answer)
            except RemoteProtocolError as error:
                self._node.world.blame(self._node, error.peer, error.reason, error.detail)
                asking.give_up()
                self._asked.discard(other.peer_id)
                return
            self._take(pieces, other)
            self._pull(asking, other)

        self._over_stream(other, ask, asking.give_up)

    def _take(self, pieces: Sequence[Piece], other: Node) -> None:
        node, validator = self._node, self._node.validator
        if validator is None:
            return
        now, late = sorted_by_time(pieces, other.peer_id, validator.is_past)
        for shown in node.standing.take_late(late, other.peer_id, validator) if node.standing else ():
            if isinstance(shown, Case):
                now.append(CaseShown(shown))
            else:
                node.world.blame(node, shown.peer, shown.reason, shown.detail)
        for event in now:
            node.on(event)

    def _over_stream(self, other: Node, ask: Callable[[], None], fail: Callable[[], None]) -> None:
        node = self._node

        def arrive() -> None:
            if node.world.reachable(node, other):
                ask()
            else:
                fail()
                self._asked.discard(other.peer_id)

        node.later(node.world.delay() * 2, arrive)
