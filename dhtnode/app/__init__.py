"""The composition root: the only place that knows all rooms, and nobody imports it but the CLI.

node.py      the life of the process: signals, daemon, start and end
session.py   the work in the swarm: puts core and shell together and runs them
effects.py   what each effect of the round core does in the world
judging.py   how this node looks at others' work, and shows its own; disputes.py: where work is called false;
             replayed.py: what a run comes to, in the words of commitments and verdicts
canaries.py  how far apart honest work on other devices may be
lookout.py   private mode: what can be seen without replay
joining.py   finding peers and staying in touch; entrance.py: what a newcomer pays; vouching.py: for whom
             this node's user answers
talk.py      gossip, and questions that fill its gaps; gaps.py: rounds and evidence that were missed
bulletin.py  the same for records of no round
dataset.py   where the node's data comes from
memory.py    what survives a crash
report.py    the node's account of itself
governing.py votes on the constants
shards.py    who has brought which data; wishes.py: what this node's user wants registered; dating.py: how
             old a registration is; sketches.py: whether its sketches are true
standing.py  ledger and table of trust; opinions.py: what others think of this node
balances.py  what the ledger comes to; bonds.py: what faults cost in it; page.py: how it looks to people
archive.py   the records that the ledger is made from; folding.py: how old ones go
disclosing.py shows anybody the records behind the ledger
"""

from __future__ import annotations

import os

from dhtnode.app.node import Node
from dhtnode.config import Progress, RunOptions
from dhtnode.store import Store


async def run_node(options: RunOptions, progress: Progress) -> int:
    """Run one node until its rounds are done or the user stops it.

    Args:
        options: what the operator decided; the home is claimed and locked.
        progress: called with a fresh status about once a second.

    Returns:
        The exit code.

    Raises:
        ConfigError: home, data or network can't be used.
    """
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads of one node leave the core to others
    with Store.open(options.home.store_path) as store:
        return await Node(options, progress, store).run()
