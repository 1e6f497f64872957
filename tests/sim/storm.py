"""A bad minute in the life of a swarm, from one seed: `python -m tests.sim.storm SEED` shows its end.

While the storm lasts, nodes crash (between two effects, with or without their newest head on the
disk), all lose power at once, leave and come back, join late, and the network splits and worsens.
Then it is over, and the swarm has CALM_S to come to its last round with one state.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial

from tests.sim.shell import Node
from tests.sim.world import NEVER_S, Weather, World

STORM_S = 40.0
CALM_S = 240.0
"""Several view changes and a stall fit in, a node that is stuck does not get away with it."""
ROUNDS = 8


class Storm:
    """The faults of one seed, over a world of its own.

    Args:
        seed: everything follows from it.
    """

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed * 7919 + 1)  # noqa: S311  repeatable
        count = 32 if seed % 200 == 199 else 16 if seed % 25 == 24 else rng.choice([4, 4, 4, 5, 6, 8])
        min_peers = rng.choice([1, 2, count])
        stall_s = 10.0 if rng.random() < 0.25 else NEVER_S
        self.world = World(seed, count, ROUNDS, min_peers, stall_s)
        self.world.weather = Weather(
            loss=rng.choice([0, 0.05, 0.2, 0.3]),
            repeat=rng.choice([0, 0.1, 0.3]),
            delay_s=rng.choice([0.01, 0.05, 0.3]),
            state_delays=rng.choice([2, 5, 20]),
        )
        self.late = set(rng.sample(range(1, count), rng.randrange(0, count // 2)))

    def run(self) -> World:
        """Let it rage and pass.

        Raises:
            AssertionError: something happened that never may, or the swarm did not recover.
        """
        world, rng = self.world, self.rng
        for node in world.nodes:
            begin_s = rng.uniform(5, STORM_S) if node.index in self.late else 0.0
            world.schedule(begin_s, partial(self._start, node))
        for fault, most in self._faults():
            for _ in range(rng.randrange(most)):
                world.schedule(rng.uniform(0, STORM_S), fault)
        world.run_for(STORM_S)
        world.heal()
        self._keep_up()
        world.run_until(lambda: world.done() and len(world.heads()) == 1, CALM_S)
        return world

    def _faults(self) -> list[tuple[Callable[[], None], int]]:
        """Each fault, and how often it may happen at most."""
        return [
            (self._crash, 6),
            (self._crash_within, 4),
            (self._split, 3),
            (self._blackout, 2),
            (self._leave, 2),
            (self._gust, 2),
        ]

    def _start(self, node: Node) -> None:
        if not node.up:
            node.start(founder=node.index == 0)

    def _keep_up(self) -> None:
        """Now and until the end: nothing crashes, and who has left comes back."""
        for node in self.world.nodes:
            node.fuse = None
            self._start(node)
        self.world.schedule(1.0, self._keep_up)

    def _back(self, node: Node) -> None:
        self.world.schedule(self.rng.uniform(0.5, 30), lambda: self._start(node))

    def _victim(self) -> Node | None:
        up = [node for node in self.world.nodes if node.up]
        return self.rng.choice(up) if up else None

    def _crash(self) -> None:
        if (node := self._victim()) is not None:
            node.crash(lose_newest=self.rng.random() < 0.5)
            self._back(node)

    def _crash_within(self) -> None:
        if (node := self._victim()) is not None:
            node.fuse = self.rng.randrange(8)
            self._back(node)

    def _blackout(self) -> None:
        for node in self.world.nodes:
            if node.up:
                node.crash(lose_newest=self.rng.random() < 0.5)
                self._back(node)

    def _leave(self) -> None:
        if (node := self._victim()) is not None:
            node.leave()
            self._back(node)

    def _split(self) -> None:
        places = self.world.shuffled(range(len(self.world.nodes)))
        cut = self.rng.randrange(1, len(places))
        self.world.split(set(places[:cut]), set(places[cut:]))
        self.world.schedule(self.rng.uniform(1, 20), self.world.heal)

    def _gust(self) -> None:
        calm, self.world.weather = self.world.weather, Weather(loss=0.6, repeat=0.5, delay_s=0.5)

        def pass_by() -> None:
            self.world.weather = calm

        self.world.schedule(self.rng.uniform(1, 8), pass_by)


if __name__ == "__main__":
    passed = Storm(int(sys.argv[1])).run()
    print(f"{passed.trace} after {passed.now_s:.1f} s, {passed.witness.records} records")
