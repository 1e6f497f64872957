"""The real node with an attack in it: cheat.py ATTACK run SWARM.TOML ...

It commits to what the attack makes of its work, or reduces falsely, or judges as a dishonest judge
does. Everything else it does as an honest node does.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import replace

from dhtnode.cli import main
from tests.adversary.attacks import ATTACKS
from tests.adversary.judges import JUDGES
from tests.adversary.reducers import miscounted
from training.contribution import Contribution
from training.inner import LocalWork
from training.state import State
from training.worker import Worker
from validation.auditor import Auditor


def train_falsely(name: str) -> None:
    attack, honest = ATTACKS[name](), Worker._train

    def train(
        worker: Worker, state: State, base: bytes, steps: int, budget_s: float | None, halt: threading.Event
    ) -> tuple[LocalWork, Contribution] | None:
        done = honest(worker, state, base, steps, budget_s, halt)
        if done is None:
            return None
        work, _ = done
        update = attack(work.update_U)
        return replace(work, update_U=update), Contribution.of(
            worker._peer_id, base, update, worker._manifest.terms.wire
        )

    Worker._train = train  # type: ignore[method-assign]


def reduce_falsely() -> None:
    honest = Worker.reduce

    async def reduce(
        worker: Worker, senders: Sequence[tuple[int, Sequence[bytes]]], owned: Sequence[int]
    ) -> list[bytes]:
        reduced = await honest(worker, senders, owned)
        return miscounted(reduced) if isinstance(owned, range) else reduced

    Worker.reduce = reduce  # type: ignore[method-assign]


def judge_falsely(name: str) -> None:
    honest = Auditor.__init__

    def init(auditor: Auditor, *args: object) -> None:
        honest(auditor, *args)  # type: ignore[arg-type]
        JUDGES[name](auditor)

    Auditor.__init__ = init  # type: ignore[method-assign, assignment]


attack = sys.argv.pop(1)
if attack in ATTACKS:
    train_falsely(attack)
elif attack in JUDGES:
    judge_falsely(attack)
elif attack == "false-reducer":
    reduce_falsely()
else:
    sys.exit(f"no attack {attack}: {', '.join((*ATTACKS, *JUDGES, 'false-reducer'))}")
main()
