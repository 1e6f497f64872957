"""The real node with an attack in it: cheat.py ATTACK run SWARM.TOML ...

It works as the attack does, see `attacks.py`, or reduces falsely, or judges as a
dishonest judge does, or says or sends something else (`twists.py`), or bytes that no honest node sends
(`offences.py`), or spoils the ledger (`spoilers.py`), or its clock is wrong (`clocks.py`). Everything else it
does as an honest node does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from dhtnode.app.effects import Performer
from dhtnode.cli import main
from dhtnode.manifest import Manifest
from tests.adversary.attacks import ATTACKS, WORK_ATTACKS
from tests.adversary.clocks import CLOCKS
from tests.adversary.crooked import CrookedTrainer
from tests.adversary.judges import JUDGES
from tests.adversary.mole import offend
from tests.adversary.offences import OFFENCES
from tests.adversary.reducers import miscounted
from tests.adversary.spoilers import SPOILERS
from tests.adversary.twists import TWISTS
from training.inner import Trainer
from training.tasks import Shard, Task
from training.worker import Worker
from validation.auditor import Auditor
from validation.events import NodeEffect


def train_falsely(name: str) -> None:
    """It sees nobody's update before it commits; whom a copycat copies is the swarm's creator."""
    attack, honest = (ATTACKS | WORK_ATTACKS)[name](), Worker.__init__

    def init(
        self: Worker, manifest: Manifest, task: Task, shard: Shard, trainer: Trainer, peer_id: str
    ) -> None:
        crooked = CrookedTrainer(manifest, task, attack, others=[manifest.terms.creator])
        honest(self, manifest, task, shard, crooked, peer_id)

    Worker.__init__ = init  # type: ignore[method-assign]


def reduce_falsely() -> None:
    honest = Worker.reduce

    async def reduce(
        self: Worker, senders: Sequence[tuple[int, Sequence[bytes]]], owned: Sequence[int]
    ) -> list[bytes]:
        reduced = await honest(self, senders, owned)
        return miscounted(reduced) if isinstance(owned, range) else reduced

    Worker.reduce = reduce  # type: ignore[method-assign]


def judge_falsely(name: str) -> None:
    honest = Auditor.__init__

    def init(auditor: Auditor, *args: object) -> None:
        honest(auditor, *args)  # type: ignore[arg-type]
        JUDGES[name](auditor)

    Auditor.__init__ = init  # type: ignore[method-assign, assignment]


def perform_falsely(name: str) -> None:
    honest = Performer.perform

    def perform(self: Performer, effect: NodeEffect) -> None:
        for instead in TWISTS[name](self._judging._validator.member.context, effect):
            honest(self, instead)

    Performer.perform = perform  # type: ignore[method-assign]


def keep_time_falsely(name: str) -> None:
    """For all that reads a clock; timers of the event loop stay as they are."""
    true, rate = time.monotonic, CLOCKS[name]
    time.monotonic = lambda: rate * true()


attack = sys.argv.pop(1)
if attack in ATTACKS | WORK_ATTACKS:
    train_falsely(attack)
elif attack in JUDGES:
    judge_falsely(attack)
elif attack in TWISTS:
    perform_falsely(attack)
elif attack in SPOILERS:
    SPOILERS[attack]()
elif attack in CLOCKS:
    keep_time_falsely(attack)
elif attack in OFFENCES or attack == "mole":
    offend(attack)
elif attack == "false-reducer":
    reduce_falsely()
else:
    kinds = (ATTACKS, WORK_ATTACKS, JUDGES, TWISTS, SPOILERS, CLOCKS, OFFENCES)
    known = [name for kind in kinds for name in kind] + ["mole", "false-reducer"]
    sys.exit(f"no attack {attack}: {', '.join(known)}")
main()
