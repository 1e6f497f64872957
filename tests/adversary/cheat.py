"""The real node with an attack in it: cheat.py ATTACK run SWARM.TOML ...

It commits to what the attack makes of its work. Everything else it does as an honest node does.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

from dhtnode.cli import main
from tests.adversary.attacks import ATTACKS
from training.contribution import Contribution
from training.inner import LocalWork
from training.state import State
from training.worker import Worker

attack = ATTACKS[sys.argv.pop(1)]()
honest_train = Worker._train


def cheating_train(
    worker: Worker, state: State, base: bytes, steps: int, budget_s: float | None, halt: threading.Event
) -> tuple[LocalWork, Contribution] | None:
    done = honest_train(worker, state, base, steps, budget_s, halt)
    if done is None:
        return None
    work, _ = done
    update = attack(work.update_U)
    return replace(work, update_U=update), Contribution.of(
        worker._peer_id, base, update, worker._manifest.terms.wire
    )


Worker._train = cheating_train  # type: ignore[method-assign]
main()
