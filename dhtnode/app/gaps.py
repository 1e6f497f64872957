"""What gossip and absence have left out is asked for: rounds along the chain, and evidence where sets differ.

Rounds come first, since what is said about a round is checked against it. A neighbour is asked only while
what it shows is new and of use; bytes that break the protocol are blamed on it, and the next one is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dhtnode.app.standing import Standing
from dhtnode.driver import Driver
from dhtnode.net.network import Network
from dhtnode.net.streams import RefusedError
from dhtnode.quota import Quota
from rewards import rounds
from rewards.rounds import open_answer, question_for
from training.sync import Held
from validation import antientropy
from validation.cases import Case
from validation.events import CaseShown, NodeEffect, NodeEvent
from validation.holdings import Asking, Piece, sorted_by_time
from validation.validator import Validator

EVIDENCE, ROUNDS = "evidence", "rounds"
MAX_AT_ONCE = 4
"""Neighbours that are asked at a time. A guess."""
QUESTIONS_PER_S, QUESTIONS_AT_ONCE = 20.0, 600.0
"""That one neighbour may ask. A million records of which one in a hundred is lacking take 91. Guesses."""


class Gaps:
    """One node's.

    Args:
        network: started.
        validator: the core.
        standing: books, and knows what is booked.
        driver: performs what follows.
        swarm_id: signature domain.
        blamed: told of a peer, a reason and a detail.
    """

    def __init__(
        self,
        network: Network,
        validator: Validator,
        standing: Standing,
        driver: Callable[[], Driver[NodeEvent, NodeEffect]],
        swarm_id: bytes,
        blamed: Callable[[str, str, str], None],
    ) -> None:
        self._network = network
        self._validator = validator
        self._standing = standing
        self._driver = driver
        self._swarm_id = swarm_id
        self._blamed = blamed
        self._quota = Quota(QUESTIONS_PER_S, QUESTIONS_AT_ONCE)
        self._asked: set[str] = set()
        """Neighbours that are being asked."""
        self._walks = False
        """Whether one of them is asked for rounds: each step has one name, so others would send the same."""

    async def serve(self) -> None:
        """Answer neighbours from now on."""
        await self._network.on_request(EVIDENCE, antientropy.MAX_QUESTION_BYTES, self._answer_evidence)
        await self._network.on_request(ROUNDS, rounds.MAX_QUESTION_BYTES, self._answer_rounds)

    async def fill(self, peer: str, theirs: Held) -> None:
        """Ask a neighbour for what it may hold and this node lacks.

        Args:
            peer: the neighbour.
            theirs: what it has named as all that it holds.

        Raises:
            RemoteProtocolError: it broke the protocol.
            TransportError: it is gone.
        """
        if peer in self._asked or len(self._asked) >= MAX_AT_ONCE:
            return
        self._asked.add(peer)
        try:
            if not self._walks:
                await self._fetch_rounds(peer)
            if self._validator.holdings.differ(peer, theirs):
                await self._fetch_evidence(peer)
        finally:
            self._asked.discard(peer)

    async def _fetch_rounds(self, peer: str) -> None:
        self._walks = True
        try:
            before = None
            while (head := self._lacking()) is not None and head != before:
                question, before = question_for(head), head
                wire = await self._network.request(
                    peer, ROUNDS, question, max_reply_bytes=rounds.MAX_ANSWER_BYTES
                )
                steps = open_answer(wire, head, self._swarm_id, peer)
                self._standing.take_rounds(steps, self._validator)
        finally:
            self._walks = False

    def _lacking(self) -> bytes | None:
        return self._standing.lacking(self._validator.holdings.since)

    async def _fetch_evidence(self, peer: str) -> None:
        asking = Asking(self._validator.holdings, peer, self._swarm_id)
        try:
            while (question := asking.question()) is not None:
                wire = await self._network.request(
                    peer, EVIDENCE, question, max_reply_bytes=antientropy.MAX_ANSWER_BYTES
                )
                self._take(asking.on_answer(wire), peer)
        finally:
            asking.give_up()

    def _take(self, pieces: Iterable[Piece], peer: str) -> None:
        now, late = sorted_by_time(pieces, peer, self._validator.is_past)
        for shown in self._standing.take_late(late, peer, self._validator):
            if isinstance(shown, Case):
                now.append(CaseShown(shown))
            else:
                self._blamed(shown.peer, shown.reason, shown.detail)
        driver = self._driver()
        for event in now:
            driver.perform_all(self._validator.on(event, driver.now_s()))

    # Answers

    async def _answer_evidence(self, peer: str, question: bytes) -> bytes:
        self._admit(peer)
        return self._validator.on_question(question, peer, self._standing.record)

    async def _answer_rounds(self, peer: str, question: bytes) -> bytes:
        self._admit(peer)
        return self._standing.answer_rounds(question, peer)

    def _admit(self, peer: str) -> None:
        if not self._quota.admit(peer, self._driver().now_s()):
            raise RefusedError("too many questions; ask again later")
