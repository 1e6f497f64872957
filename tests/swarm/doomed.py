"""The real node, which ends by SIGKILL: doomed.py WHERE run SWARM.TOML ...

WHERE is a phase: it dies in the first round that it begins as a member and in which it comes to that
phase, when all that this asks for has been started and nothing of it has been waited for. Or it is
the name of an effect: it dies when the first of that kind has been started.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from dhtnode.cli import main
from dhtnode.driver import Driver
from training.member import Member

where = sys.argv.pop(1)
perform_all = Driver.perform_all


def in_that_phase(member: Member) -> bool:
    now = member.round
    return (
        now is not None and now.phase.value == where and member.context.identity.peer_id in now.head.members
    )


def perform_all_and_die(self: Driver[Any, Any], effects: list[Any]) -> None:
    for effect in effects:
        perform_all(self, [effect])
        if type(effect).__name__ == where:
            os.kill(os.getpid(), signal.SIGKILL)
    if in_that_phase(self._core.member):  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGKILL)


Driver.perform_all = perform_all_and_die  # type: ignore[method-assign]
main()
