"""The command line: reads what the user asked for, calls the rooms below, shows what they say.

root.py      the commands and their help; govern.py: those that have the running node sign something
create.py    `swarm new`: writing a manifest; values.py: KEY=VALUE on a command line
show.py      `swarm show`: reading one
run.py       `run`: from options to a running node
progress.py  what `run` shows while it works
status.py    `status`: asking a node, or its store
audit.py     `audit`: cases and verdicts, and their proofs
peers.py     `peers`: what this node thinks of the others
why.py       `why`: one record, verified
ledger.py    `ledger`: an epoch's balances as a file, and its check; shares.py: one member's share
voting.py    `propose`, `vote`, `proposals`; vouching.py: `vouch`; shards.py: `data`
asking.py    asking the running node for them
demo.py      `demo`: a whole swarm on this machine
cluster.py   starting and stopping its nodes
view.py      status documents as tables
logs.py      where log lines go
"""

from __future__ import annotations

import sys

from dhtnode.errors import ConfigError


def main() -> None:
    """Entry point of the `dhtnode` program: every mistake of the user is one line and an exit code."""
    import dhtnode.cli.govern  # noqa: F401  adds its commands to `app`
    from dhtnode.cli.root import app

    try:
        app(prog_name="dhtnode")
    except ConfigError as error:
        print(f"dhtnode: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
