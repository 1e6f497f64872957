"""What each effect of the round core does in the world. One method for each kind of effect.

The core asks in order; what takes time runs as a task of the driver and comes back as an event.
Durable things are done before the next effect is looked at: own records are on the disk before
they are sent, and results before they are announced or an outer step that rests on them is reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from dhtnode.app.judging import Judging
from dhtnode.app.lookout import Lookout
from dhtnode.app.memory import Memory
from dhtnode.app.replayed import loss_micro
from dhtnode.app.report import Report
from dhtnode.driver import Driver
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.net.network import Network
from training.chain import Certificate
from training.contribution import Contribution
from training.events import (
    Adopt,
    Applied,
    Apply,
    AskPeer,
    Blame,
    CannotFollow,
    FetchResult,
    FetchState,
    Finished,
    Halt,
    OpenReduce,
    Plan,
    Publish,
    Reduce,
    Reduced,
    ResultFetched,
    ResultMissing,
    SendFailed,
    SendPart,
    StateFetched,
    StateMissing,
    Train,
    Trained,
    Work,
)
from training.exchange import Exchange, Received
from training.library import Library
from training.messages import Head
from training.segments import seal_all, segments_root
from training.state import State
from training.worker import Worker
from validation.events import (
    Admit,
    AskSeals,
    Compare,
    Convict,
    Declare,
    Displaced,
    Judged,
    NodeEffect,
    NodeEvent,
    Replay,
    ReplaySegment,
    Rereduce,
    Show,
    Vouched,
)

log = logging.getLogger(__name__)

TOPIC = "records"


class Performer:
    """Performs effects.

    Args:
        driver: where events go.
        network: started.
        memory: what survives a crash.
        exchange: parts and results.
        library: states.
        worker: the arithmetic.
        report: told of what people want to know.
        ask: exchanges records with a peer.
        judging: looks at others' work.
        lookout: looks at others' parts where nothing can be replayed, else None.
        fetch_amendments: gets those that a head names.
        cannot_follow: told why this node is out.
    """

    def __init__(
        self,
        driver: Callable[[], Driver[NodeEvent, NodeEffect]],
        network: Network,
        memory: Memory,
        exchange: Exchange,
        library: Library,
        worker: Worker,
        report: Report,
        ask: Callable[[str], None],
        judging: Judging,
        lookout: Lookout | None,
        fetch_amendments: Callable[[Head], Awaitable[None]],
        cannot_follow: Callable[[str], None],
    ) -> None:
        self._driver = driver
        self._network = network
        self._memory = memory
        self._exchange = exchange
        self._library = library
        self._worker = worker
        self._report = report
        self._ask = ask
        self._judging = judging
        self._lookout = lookout
        self._fetch_amendments = fetch_amendments
        self._cannot_follow = cannot_follow
        self._work: dict[bytes, Contribution] = {}
        self._applied: dict[bytes, State] = {}
        self._owed: set[asyncio.Task[None]] = set()

    def perform(self, effect: NodeEffect) -> None:
        """Start one effect; returns at once."""
        self._report.note_phase()
        spawn = self._driver().spawn
        match effect:
            case Publish(record):
                self._memory.keep_own(record)
                self._see_through(self._publish(record.wire))
            case Train(head, steps, budget_s):
                spawn(self._train(head, steps, budget_s))
            case Halt(base):
                self._worker.halt(base)
            case OpenReduce(plan):
                self._exchange.open_plan(plan)
            case SendPart(plan, part, to):
                spawn(self._send_part(plan, part, to))
            case Reduce(plan, part, included):
                spawn(self._reduce(plan, part, included))
            case FetchResult(plan, result, sources):
                spawn(self._fetch_result(FetchResult(plan, result, sources)))
            case Apply():
                spawn(self._apply(effect))
            case FetchState(certificate):
                spawn(self._fetch_state(certificate))
            case Adopt(certificate, _):
                self._adopt(effect, certificate)
            case AskPeer(peer):
                self._ask(peer)
            case Blame(peer, reason, detail):
                self._report.blamed(peer, reason, detail)
            case Finished(why):
                self._report.finished(why)
            case CannotFollow(why):
                self._cannot_follow(why)
            case Replay() | AskSeals() | ReplaySegment() | Compare() | Rereduce():
                spawn(self._judging.look(effect))
            case Declare(verdict):
                self._memory.keep_verdict(verdict)
                self._see_through(self._publish(verdict.wire))
            case Judged(verdict):
                self._report.judged(verdict)
            case Displaced(verdict):
                if self._report.standing is not None:
                    self._report.standing.displaced(verdict)
            case Convict(case):
                self._memory.keep_case(case)
                self._report.convicted(case)
            case Admit(entry):
                self._memory.keep_entry(entry)
            case Vouched(voucher):
                if self._report.standing is not None:
                    self._report.standing.vouched(voucher)
            case Show(record):
                self._see_through(self._publish(record.wire))

    async def settled(self) -> None:
        """Returns when all that was said has been sent, and every head that was reached is on the disk."""
        while self._owed:
            await asyncio.wait(self._owed)

    def _see_through(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._driver().spawn(work)
        if task is not None:
            self._owed.add(task)
            task.add_done_callback(self._owed.discard)

    def _post(self, event: NodeEvent) -> None:
        self._driver().post(event)

    async def _publish(self, wire: bytes) -> None:
        try:
            await self._network.publish(TOPIC, wire)
        except TransportError as error:
            log.warning("a record was not gossiped, neighbours will ask for it: %s", error)

    async def _train(self, head: Head, steps: int, budget_s: float | None) -> None:
        state = self._library.state(head.state)
        if state is None:
            return  # another head was adopted meanwhile
        done = await self._worker.train(state, head.id, steps, budget_s)
        if done is None:
            return
        work, contribution = done
        seals = seal_all(contribution.signer, head.id, work.boundaries)
        await asyncio.to_thread(self._memory.keep_work, head.id, contribution, seals)
        self._work = {head.id: contribution}
        self._report.trained(work)
        self._post(
            Trained(
                head.id,
                Work(
                    steps=work.steps,
                    tokens=work.units,
                    weight=work.weight,
                    parts=contribution.root,
                    loss_micro=loss_micro(work),
                    bandwidth=self._exchange.bandwidth,
                    segments=segments_root(seals),
                ),
            )
        )

    def _own_work(self, base: bytes) -> Contribution | None:
        """Own encoded update of a round; from the disk after a restart."""
        if base not in self._work:
            work = self._memory.work(base)
            if work is None:
                return None
            self._work = {base: work}
        return self._work[base]

    async def _send_part(self, plan: Plan, part: int, to: str) -> None:
        own = self._own_work(plan.base)
        if own is None:
            return
        try:
            await self._exchange.send_part(plan, part, to, own)
        except TransportError as error:
            log.info("part %d of round %d not sent: %s", part, plan.round, error)
            self._post(SendFailed(plan.base, plan.roster, part, to))

    async def _reduce(self, plan: Plan, part: int, included: tuple[int, ...]) -> None:
        owned = plan.ranges_N[part]
        senders, present = [], []
        received: dict[str, Received] = {}
        for place in included:
            commitment = plan.commitments_N[place]
            if commitment.signer == self._network.peer_id:
                own = self._own_work(plan.base)
                if own is None:
                    continue
                chunks: Sequence[bytes] = [own.chunks_K[index] for index in owned]
            else:
                theirs = self._exchange.part(plan.roster, part, commitment.signer)
                if theirs is None:
                    return  # another roster has taken this one's place
                received[commitment.signer] = theirs
                chunks = theirs.chunks
            senders.append((plan.weights[place], chunks))
            present.append(place)
        if not any(weight for weight, _ in senders):
            return  # nothing of it counts
        reduced = await self._worker.reduce(senders, owned)
        root = self._exchange.keep_result(plan.base, reduced)
        await asyncio.to_thread(self._memory.keep_parts, plan.roster, part, received)
        await asyncio.to_thread(self._memory.keep_results, plan.base, {root: reduced})
        self._post(Reduced(plan.base, plan.roster, part, tuple(present), root))
        if self._lookout is not None:
            sizes = [self._exchange.sizes_K[index] for index in owned]
            sent = [
                (plan.commitments_N[place].signer, chunks)
                for place, (_, chunks) in zip(present, senders, strict=True)
            ]
            await self._lookout.look(plan, owned, sizes, sent)

    async def _fetch_result(self, wish: FetchResult) -> None:
        try:
            await self._exchange.fetch_result(wish.plan, wish.result, wish.sources)
        except TransportError as error:
            log.info("round %d: %s", wish.plan.round, error)
            self._post(ResultMissing(wish.plan.base, wish.result.id))
        except RemoteProtocolError as error:
            self._report.blamed(error.peer, error.reason, error.detail)
            self._post(ResultMissing(wish.plan.base, wish.result.id))
        else:
            self._post(ResultFetched(wish.plan.base, wish.result.id))

    async def _apply(self, wish: Apply) -> None:
        head_state = wish.plan.commitments_N[0].body.start
        state = self._library.state(head_state)
        if state is None:
            return
        roots = [result.body.root for result in wish.results]
        parts = [self._exchange.result(root) for root in roots]
        joined = [chunk for chunks in parts for chunk in chunks]
        after = await self._worker.apply(state, joined)
        if self._lookout is not None:
            self._lookout.remember(after.digest, joined)
        await asyncio.to_thread(
            self._memory.keep_results, wish.plan.base, dict(zip(roots, parts, strict=True))
        )
        self._applied[after.digest] = after
        self._post(Applied(wish.plan.base, tuple(result.id for result in wish.results), after.digest))

    async def _fetch_state(self, certificate: Certificate) -> None:
        head = certificate.head
        if self._library.state(head.state) is None and head.state not in self._applied:
            try:
                sources = list(self._network.connected_peers())
                await self._library.fetch_state(
                    self._network.streams, sources, head.number, head.state, self._fetched
                )
            except (TransportError, ValueError) as error:
                self._report.notice(f"state of round {head.number} not fetched yet: {error}")
                self._post(StateMissing(certificate.id))
                return
        await self._fetch_amendments(head)
        self._post(StateFetched(certificate.id))

    def _fetched(self, here: int, wanted: int) -> None:
        log.info("fetching the swarm's state: %d of %d chunks", here, wanted)

    def _adopt(self, effect: Adopt, certificate: Certificate) -> None:
        digest = certificate.head.state
        state = self._applied.get(digest) or self._library.state(digest)
        if state is None:
            raise AssertionError("the core adopts a state that is not here")
        self._applied.clear()
        self._library.add_state(state)
        self._report.adopted(effect, state)
        standing = self._report.standing
        notes = standing.notes(certificate) if standing else {}
        self._see_through(self._memory.keep_head(certificate, state, notes))
