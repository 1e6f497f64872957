"""The decentralised all-reduce: who sends which part to whom, and who steps in for the dead.

Part k belongs to the member at place k of the roster, its primary reducer. Members send it their
chunks, it reduces what has come when all are in or time is up, and announces a signed `Result`;
everybody fetches the bytes from the reducer or from whoever has them. A part without a result is
sent to the next member in roster order, and so on in turn until there is one: each reduces from the
same commitments. A reducer that comes back from a crash without the bytes that it had announced
makes the same bytes again.

Two results of one part may then exist, made from different senders: the close of the round
chooses one. This file decides; the shell moves bytes and does the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Signed
from training.events import Effect, FetchResult, Plan, Publish, Reduce, SendPart
from training.messages import Result

FETCH_RETRY_S = 0.5
"""Pause before the same bytes are asked for again. A guess; peers answer in milliseconds."""


@dataclass
class _Part:
    """What is known of one part."""

    reducers: tuple[str, ...]
    """Primary first, then those who step in."""
    contributors: set[int] = field(default_factory=set)
    attempt: int = 0
    reducing: bool = False
    results: dict[bytes, Signed[Result]] = field(default_factory=dict)
    """Known result records; those asked for already come last."""
    fetching: set[bytes] = field(default_factory=set)
    retry_at_s: float = 0.0

    def any_of(self, held: set[bytes]) -> bool:
        return not held.isdisjoint(self.results)

    @property
    def asked(self) -> str:
        """The reducer whose turn it is."""
        return self.reducers[self.attempt % len(self.reducers)]

    def by(self, signer: str) -> list[Signed[Result]]:
        return [result for result in self.results.values() if result.signer == signer]


class Butterfly:
    """One member's side of a round's reduction.

    Args:
        plan: the certified roster and its partition.
        me: own peer id; a node outside the roster only collects results.
        limit_s: learned time for a part; those who step in wait for multiples of it.
        now_s: the caller's clock.
    """

    def __init__(self, plan: Plan, me: str, limit_s: float, now_s: float) -> None:
        self.plan = plan
        self._me = me
        self._place = plan.members.index(me) if me in plan.members else None
        self._limit_s = limit_s
        self._start_s = now_s
        self._held: set[bytes] = set()
        able = [member for member, owned in zip(plan.members, plan.ranges_N, strict=True) if len(owned)]
        self._parts: dict[int, _Part] = {}
        for part, owned in enumerate(plan.ranges_N):
            if len(owned):
                first = able.index(plan.members[part])
                self._parts[part] = _Part(tuple(able[first:] + able[:first]))
                if self._place is not None:
                    self._parts[part].contributors.add(self._place)

    def start(self) -> list[Effect]:
        if self._place is None:
            return []
        return [effect for part in self._parts for effect in self._send(part)]

    def complete(self) -> tuple[Signed[Result], ...] | None:
        """One held result for each part, in part order; None while one is missing."""
        chosen = []
        for part in self._parts.values():
            held = [result for id_, result in part.results.items() if id_ in self._held]
            if not held:
                return None
            chosen.append(held[0])
        return tuple(chosen)

    def select(self, ids: tuple[bytes, ...]) -> tuple[Signed[Result], ...] | None:
        """The held results with these ids, if they are one for each part in order."""
        if len(ids) != len(self._parts):
            return None
        chosen = [part.results.get(id_) for id_, part in zip(ids, self._parts.values(), strict=True)]
        return (
            tuple(result for result in chosen if result and result.id in self._held)
            if all(result is not None and result.id in self._held for result in chosen)
            else None
        )

    @property
    def undisturbed(self) -> bool:
        """Whether every part was reduced by its primary from everybody's work."""
        everybody = len(self.plan.members)
        return all(
            part.attempt == 0
            and all(len(result.body.included) == everybody for result in part.results.values())
            for part in self._parts.values()
        )

    def progress(self) -> str:
        done = sum(part.any_of(self._held) for part in self._parts.values())
        return f"{done} of {len(self._parts)} parts"

    def on_part(self, part_no: int, sender: str) -> None:
        part = self._parts.get(part_no)
        if part is not None and sender in self.plan.members:
            part.contributors.add(self.plan.members.index(sender))

    def on_send_failed(self, part_no: int, to: str) -> list[Effect]:
        part = self._parts[part_no]
        if part.any_of(self._held) or part.asked != to or part.attempt + 1 >= len(part.reducers):
            return []  # when all were tried, the next round of trying waits for its time
        return self._step_in(part_no)

    def on_reduced(self, part_no: int, result: Signed[Result]) -> list[Effect]:
        self._held.add(result.id)
        self.on_result(result)
        return [Publish(result)]

    def on_result(self, record: Signed[Result]) -> None:
        """Take in a result record; one for another roster is none of ours.

        Dishonest electors can have two rosters decided, so its signer may well be honest.

        Raises:
            RemoteProtocolError: the signer does not reduce this part, it names no such members, or it
                has announced another one; of those the second is kept all the same, since a close
                may name either.
        """
        body = record.body
        if body.roster != self.plan.roster:
            return
        part = self._parts.get(body.part)
        included = body.included
        if part is None or record.signer not in part.reducers:
            raise RemoteProtocolError(record.signer, "bad-result", "not a reducer of this part")
        if list(included) != sorted(set(included)) or included[-1] >= len(self.plan.members):
            raise RemoteProtocolError(record.signer, "bad-result", "included members")
        if not any(self.plan.weights[place] for place in included):
            raise RemoteProtocolError(record.signer, "bad-result", "nobody's work in it has a vote")
        earlier = [known for known in part.by(record.signer) if known.id != record.id]
        if len(earlier) < 2:
            part.results.setdefault(record.id, record)
        if earlier:
            raise RemoteProtocolError(record.signer, "equivocation", f"two results for part {body.part}")

    def on_fetched(self, result_id: bytes) -> None:
        self._held.add(result_id)
        for part in self._parts.values():
            part.fetching.discard(result_id)

    def on_missing(self, result_id: bytes, now_s: float) -> None:
        for part in self._parts.values():
            if result_id in part.fetching:
                part.fetching.discard(result_id)
                part.retry_at_s = now_s + FETCH_RETRY_S

    def advance(self, now_s: float, wanted: tuple[bytes, ...] = ()) -> list[Effect]:
        """Reduce what is due, step in where nobody answers, fetch what is announced.

        Args:
            wanted: results that the round's close names; they go before our own first choice.
        """
        effects: list[Effect] = []
        for part_no, part in self._parts.items():
            if self._place is not None and not part.any_of(self._held):
                effects += self._reduce_if_due(part_no, part, now_s)
                if now_s >= self._start_s + self._limit_s * (2 * part.attempt + 2):
                    effects += self._step_in(part_no)
            effects += self._fetch(part, now_s, wanted)
        return effects

    def _reduce_if_due(self, part_no: int, part: _Part, now_s: float) -> list[Effect]:
        if part.reducing or self._me not in part.reducers:
            return []
        said = part.by(self._me)
        if said:  # before a restart: never say another
            return self._reduce_again(part_no, part, said[0].body.included)
        turn = part.reducers.index(self._me)
        if turn > part.attempt and len(part.contributors) < 2:
            return []  # nobody has asked us to step in
        everybody = len(part.contributors) == len(self.plan.members)
        if not everybody and now_s < self._start_s + self._limit_s * (2 * turn + 1):
            return []
        part.reducing = True
        return [Reduce(self.plan, part_no, tuple(sorted(part.contributors)))]

    def _reduce_again(self, part_no: int, part: _Part, included: tuple[int, ...]) -> list[Effect]:
        if not part.contributors.issuperset(included):
            return []
        part.reducing = True
        return [Reduce(self.plan, part_no, included)]

    def _step_in(self, part_no: int) -> list[Effect]:
        self._parts[part_no].attempt += 1
        return self._send(part_no)

    def _send(self, part_no: int) -> list[Effect]:
        part = self._parts[part_no]
        to = part.asked
        return [] if to == self._me else [SendPart(self.plan, part_no, to)]

    def _fetch(self, part: _Part, now_s: float, wanted: tuple[bytes, ...]) -> list[Effect]:
        if part.fetching or now_s < part.retry_at_s:
            return []
        named = [id_ for id_ in wanted if id_ in part.results]
        lacking = [id_ for id_ in named if id_ not in self._held]
        if not named and not part.any_of(self._held):
            lacking = list(part.results)
        if not lacking:
            return []
        result = part.results[lacking[0]]
        part.fetching.add(result.id)
        part.results[result.id] = part.results.pop(result.id)  # asked last next time
        sources = dict.fromkeys((result.signer, *self.plan.members))
        sources.pop(self._me, None)
        return [FetchResult(self.plan, result, tuple(sources))]
