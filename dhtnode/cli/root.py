"""The commands: their options, their help, and nothing of their work."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="Train a model together with machines that nobody owns together, with no central server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="""
    **To try it:** `dhtnode demo`

    **To start a swarm:** `dhtnode swarm new --task text --name mine`, then `dhtnode run swarm.toml`

    **To join one:** `dhtnode run swarm.toml --peer ADDRESS`, then `dhtnode status --watch`

    Exit codes: 0 done, 1 failed, 2 wrong command line, 3 manifest, 4 data, 5 home folder, 6 network, 7 disk,
    8 the swarm has adopted terms that this version can't play by.
    """,
)
swarm_app = typer.Typer(help="Write and read the manifest of a swarm.", no_args_is_help=True)
app.add_typer(swarm_app, name="swarm")

audit_app = typer.Typer(help="Who was found out, by whom, and the proof of it.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")

ledger_app = typer.Typer(
    help="Who has earned what, as a signed file for a payroll or a chain.", no_args_is_help=True
)
app.add_typer(ledger_app, name="ledger")

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        envvar="DHTNODE_HOME",
        help="The node's folder: key, checkpoints, memory. Left out: one of the swarm's name.",
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dhtnode {version('dhtnode')}")
        raise typer.Exit


@app.callback()
def _root(
    wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    del wanted


@swarm_app.command(
    "new",
    epilog="""
    **English text that every Python brings along:** `dhtnode swarm new --task text --name mine`

    **Your text:** `dhtnode swarm new --task text --data book.txt --name mine --inner-steps 2,20:8,60:25`

    **Your task:** `dhtnode swarm new --task mine.py:Task --name mine --set task.options.width=256`
    """,
)
def swarm_new(
    task: Annotated[str, typer.Option(metavar="TASK", help="text, digits, or FILE.py:Class for your own.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Letters, digits, '.', '_' and '-'.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="What all train on. Left out: the built-in text, or each member's own data."
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(metavar="N", help="Rounds until it is done.")] = None,
    min_peers: Annotated[
        int | None, typer.Option(metavar="N", help="Members that the first round waits for.")
    ] = None,
    inner_steps: Annotated[
        str | None,
        typer.Option(
            metavar="H",
            help="Steps between two synchronisations: 25, or 2,20:8,60:25 (8 from round 20, ...).",
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", help="Sequences or samples in one step.")] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="RATE", help="Learning rate of the inner steps.")
    ] = None,
    codec: Annotated[
        Literal["int8", "int4", "int2", "fp32"] | None, typer.Option(help="Form of the updates on the wire.")
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="MULTIADDR", help="A member that is usually up, with /p2p/. Repeatable."),
    ] = None,
    here: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MULTIADDR", help="Where your own node will be reached, for the members to dial first."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the manifest. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write it.")] = Path("swarm.toml"),
    home: HomeOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a manifest: what the swarm trains, on what, how. Signed with your node's key."""
    from dhtnode.cli.create import NewSwarm, new_swarm

    new_swarm(
        NewSwarm(
            task=task,
            name=name,
            data=data,
            rounds=rounds,
            min_peers=min_peers,
            inner_steps=inner_steps,
            batch=batch,
            lr=lr,
            codec=codec,
            peers=tuple(peer or ()),
            here=tuple(here or ()),
            settings=tuple(settings or ()),
        ),
        out,
        home,
        force=force,
    )


@swarm_app.command("show")
def swarm_show(
    manifest: Annotated[Path, typer.Argument(metavar="SWARM.TOML")],
    home: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A node's folder: show what its swarm has amended since."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Verify a manifest and print what its members agree on."""
    from dhtnode.cli.show import show_swarm

    show_swarm(manifest, home, as_json=as_json)


@app.command(
    epilog="""
    **Through the addresses in the manifest, or as the first node:** `dhtnode run swarm.toml`

    **Through a member you know:** `dhtnode run swarm.toml --peer /ip4/192.0.2.7/tcp/4117/p2p/12D3Koo...`

    **Ctrl-C** or SIGTERM leaves cleanly: the round is finished or left, the state is saved.
    A second one stops at once.
    """
)
def run(
    manifest: Annotated[Path, typer.Argument(metavar="SWARM.TOML")],
    home: HomeOption = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="MULTIADDR", help="A member to join through, with /p2p/. Repeatable."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MULTIADDR", help="Where to listen. Left out: /ip4/0.0.0.0/tcp/0, any free port."
        ),
    ] = None,
    announce: Annotated[
        list[str] | None,
        typer.Option(metavar="MULTIADDR", help="Where others reach you, if your router forwards a port."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The data, if you have it. Left out: fetched from the swarm."),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="CPU threads for training. Left out: all.")
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="On stderr.")
    ] = "info",
    json_log: Annotated[bool, typer.Option("--json-log", help="Log lines as JSON.")] = False,
    stay: Annotated[
        bool, typer.Option("--stay", help="After the last round, go on serving state and data.")
    ] = False,
) -> None:
    """Join a swarm and train until its rounds are done or you stop it."""
    from dhtnode.cli.run import run_node_here
    from dhtnode.config import RunOptions
    from dhtnode.home import Home, default_home
    from dhtnode.manifest import Manifest

    terms = Manifest.load(manifest)
    options = RunOptions(
        manifest=terms,
        home=Home.open(home or default_home(terms.terms.name)),
        peers=tuple(peer or ()),
        announce=tuple(announce or ()),
        folder=manifest.absolute().parent,
        data=data,
        device=device,
        threads=threads,
        stay=stay,
    )
    if listen:
        options = dataclasses.replace(options, listen=tuple(listen))
    raise typer.Exit(run_node_here(options, log_level=log_level.upper(), json_log=json_log))


@app.command()
def status(
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; docs/status.md describes it.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until Ctrl-C.")] = False,
) -> None:
    """Show what a node does and where it stands: round, work, trust, credits, and why."""
    from dhtnode.cli.status import show_status
    from dhtnode.home import find_home

    show_status(find_home(home), as_json=as_json, watch=watch)


@app.command(
    epilog="""
    **Why did I get that?** `dhtnode status` lists the last changes, each with its record;
    `dhtnode why 3fa9c1` then shows the record whose id begins so.
    """
)
def why(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="The first digits of its id do.")],
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print a signed record, verify its signature and what it rests on, and say what it is in the ledger."""
    from dhtnode.cli.why import show_why
    from dhtnode.home import find_home

    show_why(find_home(home), record, as_json=as_json)


@app.command()
def peers(
    sort: Annotated[
        Literal["trust", "peer", "audits", "bans"], typer.Option(help="What comes first.")
    ] = "trust",
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; docs/status.md describes it.")] = False,
) -> None:
    """List what this node thinks of the others: trust, vote, how often they are audited, bans."""
    from dhtnode.cli.peers import show_peers
    from dhtnode.home import find_home

    show_peers(find_home(home), sort, as_json=as_json)


@ledger_app.command(
    "export",
    epilog="""
    **First signer:** `dhtnode ledger export --epoch 3 --out epoch3.json --sign`

    **Every other one**, with a copy of that file: the same line. The node adds its signature only if it
    comes to the same balances itself.
    """,
)
def ledger_export(
    epoch: Annotated[int, typer.Option(metavar="N", min=0, help="An epoch that has ended, from 0.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write it, or what to sign.")],
    form: Annotated[Literal["json", "csv"], typer.Option("--format", help="Both hold the same.")] = "json",
    sign: Annotated[
        bool, typer.Option("--sign", help="With this node's key, if the manifest's export_keys name it.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Write all members' balances and shares at the end of an epoch, with a proof for each."""
    from dhtnode.cli.ledger import export_ledger
    from dhtnode.home import find_home

    export_ledger(find_home(home), epoch, form, out, sign=sign)


@ledger_app.command("prove")
def ledger_prove(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write it.")] = Path("own.share"),
    home: HomeOption = None,
) -> None:
    """Write this node's share of what has vested, with its proof, from the newest checkpoint."""
    from dhtnode.cli.shares import prove_share
    from dhtnode.home import find_home

    prove_share(find_home(home), out)


@ledger_app.command("verify")
def ledger_verify(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    manifest: Annotated[Path, typer.Argument(metavar="SWARM.TOML")] = Path("swarm.toml"),
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For a share: a checkpoint of its round that you trust."),
    ] = None,
    root: Annotated[str | None, typer.Option(metavar="HEX", help="The same: the root of its table.")] = None,
) -> None:
    """Check an exported epoch, or one member's share (*.share), offline: sums, proofs, signatures."""
    if file.suffix == ".share":
        from dhtnode.cli.shares import verify_share

        verify_share(file, manifest, root, checkpoint)
    else:
        from dhtnode.cli.ledger import verify_ledger

        verify_ledger(file, manifest)


@audit_app.command("show")
def audit_show(
    record: Annotated[
        str | None, typer.Argument(metavar="RECORD", help="Explain this one; the first digits of its id do.")
    ] = None,
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List keys that are out and the newest verdicts, or explain one of them in plain words."""
    from dhtnode.cli.audit import show_audits
    from dhtnode.home import find_home

    show_audits(find_home(home), record, as_json=as_json)


@audit_app.command("export")
def audit_export(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="The first digits of its id do.")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    home: HomeOption = None,
) -> None:
    """Write a case or verdict, with all that it rests on, into a file for others to verify."""
    from dhtnode.cli.audit import export_audit
    from dhtnode.home import find_home

    export_audit(find_home(home), record, out)


@audit_app.command("verify")
def audit_verify(file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Check an exported case or verdict from itself, offline, and say what it proves."""
    from dhtnode.cli.audit import verify_audit

    verify_audit(file)


@app.command()
def demo(
    task: Annotated[Literal["text", "digits"], typer.Option(help="What to train.")] = "text",
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Any text instead of the built-in one.")
    ] = None,
    nodes: Annotated[int, typer.Option(metavar="N", min=1, max=32, help="Nodes to start.")] = 4,
    rounds: Annotated[int | None, typer.Option(metavar="N", min=1, help="Rounds to train.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write a summary.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the homes and logs here.")] = None,
) -> None:
    """Train with a whole private swarm on this machine, and show that all nodes hold the same model."""
    from dhtnode.cli.demo import Demo, run_demo

    raise typer.Exit(run_demo(Demo(task, data, nodes, rounds, json_file, keep)))
