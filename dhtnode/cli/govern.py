"""The commands that have the running node sign something: votes, vouchers, registrations, as in `root`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from dhtnode.cli.root import HomeOption, app


class Choice(StrEnum):
    """What a ballot can say."""

    YES = "yes"
    NO = "no"


@app.command(
    epilog="""
    **A smaller learning rate:** `dhtnode propose inner.options.lr=0.001 --why "the loss jumps"`

    **Longer training, from a round that you name:** `dhtnode propose round.rounds=2000 --round 640`
    """
)
def propose(
    settings: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="Keys of the manifest and their new values.")
    ],
    round_no: Annotated[
        int | None,
        typer.Option(
            "--round", metavar="N", min=1, help="First round under them. Left out: in two epochs' time."
        ),
    ] = None,
    why: Annotated[str, typer.Option(metavar="TEXT", help="For the others to read.")] = "",
    home: HomeOption = None,
) -> None:
    """Propose other constants for the running swarm. Your own vote is for it."""
    from dhtnode.cli.voting import say_proposal
    from dhtnode.home import find_home

    say_proposal(find_home(home), settings, round_no, why)


@app.command()
def vote(
    proposal: Annotated[str, typer.Argument(metavar="PROPOSAL", help="The first digits of its id do.")],
    choice: Annotated[Choice, typer.Argument(metavar="yes|no", help="A yes can't be taken back.")],
    home: HomeOption = None,
) -> None:
    """Sign a ballot on a proposal. It weighs what your key has vested, up to the manifest's cap."""
    from dhtnode.cli.voting import say_vote
    from dhtnode.home import find_home

    say_vote(find_home(home), proposal, choice.value)


@app.command()
def proposals(
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List what is voted on and what was adopted: weight so far, what is needed, when it takes effect."""
    from dhtnode.cli.voting import show_proposals
    from dhtnode.home import find_home

    show_proposals(find_home(home), as_json=as_json)


@app.command(
    epilog="""
    **A newcomer whose operator you know:** `dhtnode vouch 12D3KooW...`, its `dhtnode status` shows the id

    **With more at stake than the swarm asks for:** `dhtnode vouch 12D3KooW... --bond 5`
    """
)
def vouch(
    peer: Annotated[str, typer.Argument(metavar="PEER", help="The newcomer's peer id, all of it.")],
    bond: Annotated[
        str,
        typer.Option(
            metavar="CREDITS", help="Credits of yours that burn if it is false. Left out: the swarm's least."
        ),
    ] = "",
    home: HomeOption = None,
) -> None:
    """Answer for a newcomer with part of your stake: it needs no proof of work then.

    For that your node needs a whole vote, and enough credits that have not vested yet. It may answer for a
    few newcomers at a time, each until it has taken part in as many rounds as a probation has. If one of
    them is found false before, your bond burns, and you may vouch no more.
    """
    from dhtnode.cli.vouching import say_voucher
    from dhtnode.home import find_home

    say_voucher(find_home(home), peer, bond)


data_app = typer.Typer(help="Who has brought which part of the data.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command(
    "register",
    epilog="""
    **A part of the swarm's data that you have brought:** `dhtnode data register law --chunks 0:16`

    **Your own data, in private mode:** `dhtnode data register medicine`
    """,
)
def data_register(
    domain: Annotated[
        str, typer.Argument(metavar="DOMAIN", help="What it is about: rare domains are worth more.")
    ],
    chunks: Annotated[
        str, typer.Option(metavar="FIRST:COUNT", help="Which chunks of the swarm's data. Left out: all.")
    ] = "",
    home: HomeOption = None,
) -> None:
    """Register data as yours with the next round: from then on, what training uses of it earns credits.

    A chunk counts for who was first.
    """
    from dhtnode.cli.shards import register_shard
    from dhtnode.home import find_home

    register_shard(find_home(home), domain, chunks)


@data_app.command("list")
def data_list(
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List all registrations, in the order in which they count, and yours that wait for the next round."""
    from dhtnode.cli.shards import show_shards
    from dhtnode.home import find_home

    show_shards(find_home(home), as_json=as_json)
