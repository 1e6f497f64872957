"""A member that keeps what is said against it to itself, on a simulated node.

It shows nobody a verdict or case that names it: neither does it say any, nor is one in what it answers. It
can go about that in two ways. One that denies takes none in, so its set has none of their names. One that
boasts has them all in its set, and who asks it for them gets nothing.
"""

from __future__ import annotations

from typing import Any

from dhtnode.records import Body, Signed, canonical, parse_canonical
from tests.sim.model import SWARM
from tests.sim.shell import Node
from training.events import RecordArrived
from validation.antientropy import MAX_ANSWER_BYTES
from validation.cases import Case
from validation.events import CaseShown, Declare, NodeEffect, NodeEvent
from validation.holdings import open_piece
from validation.messages import Verdict


class Withholder:
    """Makes a node that is up one of them, for the rest of its life.

    Args:
        node: dishonest.
        denies: whether it has not even the names in its set.
    """

    def __init__(self, node: Node, denies: bool) -> None:
        assert node.validator is not None
        self.asked_by: set[str] = set()
        """Who has asked it for evidence."""
        self._me = node.peer_id
        self._answer, self._on = node.validator.on_question, node.on
        node.validator.on_question = self._on_question  # type: ignore[method-assign]
        node.twist = self._unsaid
        if denies:
            node.on = self._unheard  # type: ignore[method-assign]

    def _names_me(self, piece: Case | Signed[Body]) -> bool:
        if isinstance(piece, Case):
            return piece.guilty == self._me
        return isinstance(piece.body, Verdict) and piece.body.worker == self._me

    def _on_question(self, wire: bytes, sender: str, wire_of: Any) -> bytes:
        self.asked_by.add(sender)
        answer = parse_canonical(self._answer(wire, sender, wire_of), MAX_ANSWER_BYTES)
        shown = [one for one in answer["records"] if not self._names_me(open_piece(one, SWARM, self._me))]
        return canonical({**answer, "records": shown})

    def _unsaid(self, effect: NodeEffect) -> list[NodeEffect]:
        said = effect.verdict if isinstance(effect, Declare) else None
        return [] if said is not None and self._names_me(said) else [effect]

    def _unheard(self, event: NodeEvent) -> None:
        heard: Case | Signed[Body] | None = event.record if isinstance(event, RecordArrived) else None
        if isinstance(event, CaseShown):
            heard = event.case
        if heard is None or not self._names_me(heard):
            self._on(event)
