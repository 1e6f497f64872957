"""The command line: what a person types, what comes back, and with which exit code."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from dhtnode.cli.create import parse_schedule
from dhtnode.cli.demo import ddp_bytes
from dhtnode.cli.view import duration, size
from dhtnode.control import control_server
from dhtnode.errors import ConfigError
from dhtnode.home import Home, data_cache, homes_folder
from dhtnode.manifest import Manifest
from dhtnode.status import PeerPart, RoundPart, Status, SwarmPart, TrainingPart
from dhtnode.store import Store
from tests.unit.commandline import Command, refusal

STANDING = ("why", "peers", "ledger", "ledger export", "ledger verify")

OWN_TASK = """
from training.tasks.digits import Digits

class Task(Digits):
    pass
"""


def some_status(home: Home, manifest: Manifest) -> Status:
    return Status(
        running=True,
        saved_at_s=1.7e9,
        version="0",
        pid=4711,
        swarm=SwarmPart(id=manifest.swarm_id.hex(), name=manifest.terms.name),
        peer_id=home.identity().peer_id,
        addresses=("/ip4/192.0.2.7/tcp/4117",),
        peers=(PeerPart(peer_id="12D3KooWother-peer", round=5),),
        round=RoundPart(number=6, phase="commit", reason="waiting for 2 of 4 commitments, 3.1 s left"),
        training=TrainingPart(eval_loss=2.25),
        rejected={"garbage": 3},
        rejected_by_peer={"12D3KooWmallory": {"garbage": 3}},
    )


def test_a_text_swarm_with_nothing_but_a_name(dhtnode: Command, tmp_path: Path) -> None:
    made = dhtnode("swarm new --task text --name mine")
    assert made.code == 0
    assert "dhtnode run swarm.toml --peer ADDRESS" in made.out
    manifest = Manifest.load(tmp_path / "swarm.toml")
    assert manifest.terms.task.options["dim"] == 128, "sizes belong in the manifest"
    assert manifest.terms.data.mode == "shared"
    cached = data_cache() / str(manifest.terms.data.digest)
    assert cached.stat().st_size == manifest.terms.data.total_bytes
    home = Home.open(homes_folder() / "mine")
    assert home.identity().peer_id == manifest.terms.creator


def test_wishes_end_up_in_the_manifest(dhtnode: Command, tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("It was a bright cold day in April. " * 500)
    made = dhtnode(
        "swarm new --task text --data book.txt --name mine --rounds 7 --min-peers 3",
        "--inner-steps 2,20:8 --batch 4 --lr 0.01 --codec fp32 --out s.toml --home first",
        "--peer /ip4/192.0.2.7/tcp/1/p2p/12D3 --here /ip4/192.0.2.8/tcp/2",
        "--set outer.lr=0.5 --set inner.optimizer=SGD --set task.options.dim=32 --set seed=9",
    )
    assert made.code == 0
    terms = Manifest.load(tmp_path / "s.toml").terms
    assert (terms.seed, terms.round.rounds, terms.round.min_peers, terms.outer.lr) == (9, 7, 3, 0.5)
    assert (terms.inner.steps, terms.inner.batch_size) == (((0, 2), (20, 8)), 4)
    assert (terms.inner.optimizer, terms.inner.options) == ("SGD", {"lr": 0.01})
    assert (terms.wire.codec, terms.task.options["dim"]) == ("fp32", 32)
    assert terms.data.total_bytes == text.stat().st_size
    creator = Home.open(tmp_path / "first").identity().peer_id
    assert terms.network.bootstrap == (
        "/ip4/192.0.2.7/tcp/1/p2p/12D3",
        f"/ip4/192.0.2.8/tcp/2/p2p/{creator}",
    )


def test_private_data_stays_out_of_the_manifest(dhtnode: Command, tmp_path: Path) -> None:
    made = dhtnode("swarm new --task digits --name mine")
    assert "dhtnode run swarm.toml --data FILE" in made.out
    terms = Manifest.load(tmp_path / "swarm.toml").terms
    assert (terms.data.mode, terms.data.digest, terms.data.chunks) == ("private", None, ())
    assert terms.reduce.rule == "mean", "shards that differ look like cheats"


def test_a_task_of_ones_own_is_named_by_its_digest(dhtnode: Command, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text(OWN_TASK)
    assert dhtnode("swarm new --task code/mine.py:Task --name mine").code == 0
    task = Manifest.load(tmp_path / "swarm.toml").terms.task
    assert task.kind == "mine.py:Task"
    assert task.code_digest == hashlib.sha256(OWN_TASK.encode()).hexdigest()
    assert (tmp_path / "mine.py").read_text() == OWN_TASK, "members find it beside the manifest"
    (tmp_path / "code" / "mine.py").write_text(OWN_TASK + "# changed")
    again = dhtnode("swarm new --task code/mine.py:Task --name other --force")
    assert "mine.py is another file than code/mine.py; remove one" in refusal(again, 2)


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ("--task text --data none.txt", 4, "cannot read the data none.txt"),
        ("--task text --data empty.txt", 4, "empty.txt is empty"),
        ("--task text --data short.txt", 4, "the text has 18 bytes to train on"),
        ("--task nothing", 3, "task.kind `nothing` is unknown; use text, digits or FILE.py:Class"),
        ("--task none.py:Task", 3, "cannot read the task none.py"),
        ("--task digits --inner-steps soon", 2, "--inner-steps soon: 'soon' is not STEPS or ROUND:STEPS"),
        ("--task digits --inner-steps 5:3", 3, "inner.steps must begin at round 0"),
        ("--task digits --set wire.codec", 2, "--set wire.codec has no '='"),
        ("--task digits --set wire.kodec=int8", 2, "unknown key `kodec` at `wire`"),
        ("--task digits --set wire=5", 2, "at `wire`"),
        ("--task digits --set name.first=x", 2, "--set name.first"),
        ("--task digits --set task.options.depth=3", 3, "unknown key `depth`; this task knows: hidden"),
        ("--task digits --set outer.lr=much", 2, "Expected `float`, got `str` at `outer.lr`"),
        ("--task digits --batch 0", 2, ">= 1 at `inner.batch_size`"),
        ("--task digits --out here.toml", 2, "here.toml exists; give another --out, or --force"),
        ("--task digits --home empty.txt", 5, "cannot write"),
        ("--task digits --out missing/swarm.toml", 5, "cannot write"),
    ],
)
def test_a_bad_wish_is_refused_in_one_line(
    dhtnode: Command, tmp_path: Path, words: str, code: int, line: str
) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("not much of a book!!")
    (tmp_path / "here.toml").write_text("precious")
    assert line in refusal(dhtnode("swarm", "new", "--name", "mine", words), code)
    assert not (tmp_path / "swarm.toml").exists()
    assert (tmp_path / "here.toml").read_text() == "precious"


def test_a_home_has_one_swarm(dhtnode: Command, tmp_path: Path) -> None:
    dhtnode("swarm new --task digits --name mine")
    Home.open(homes_folder() / "mine").claim(Manifest.load(tmp_path / "swarm.toml"))
    again = dhtnode("swarm new --task digits --name mine --force")
    assert "belongs to swarm 'mine' already; give another --name or --home" in refusal(again, 5)


def test_show_verifies(dhtnode: Command, tmp_path: Path) -> None:
    dhtnode("swarm new --task digits --name mine --rounds 7")
    shown = dhtnode("swarm show swarm.toml")
    assert shown.code == 0
    assert "swarm 'mine': the signature is good" in shown.out
    document = json.loads(dhtnode("swarm show swarm.toml --json").out)
    manifest = Manifest.load(tmp_path / "swarm.toml")
    assert (document["swarm_id"], document["round"]["rounds"]) == (manifest.swarm_id.hex(), 7)
    (tmp_path / "swarm.toml").write_text(manifest.dump().replace("rounds = 7", "rounds = 8"))
    assert "has a bad signature" in refusal(dhtnode("swarm show swarm.toml"), 3)
    assert "cannot read none.toml" in refusal(dhtnode("swarm show none.toml"), 3)


def test_run_refuses_before_it_loads_anything_heavy(dhtnode: Command, tmp_path: Path) -> None:
    assert "cannot read swarm.toml" in refusal(dhtnode("run swarm.toml"), 3)
    dhtnode("swarm new --task digits --name one --out one.toml")
    dhtnode("swarm new --task digits --name two --out two.toml")
    home = Home.open(tmp_path / "home")
    home.claim(Manifest.load(tmp_path / "one.toml"))
    foreign = dhtnode("run two.toml --home home")
    assert "belongs to swarm 'one'" in refusal(foreign, 5)
    with home.locked():
        assert "is in use by pid" in refusal(dhtnode("run one.toml --home home"), 5)


def test_status_without_any_node(dhtnode: Command) -> None:
    assert "no node has run here" in refusal(dhtnode("status"), 5)
    assert "no node has run in" in refusal(dhtnode("status --home somewhere"), 5)


def test_status_of_a_node_that_stopped(dhtnode: Command, tmp_path: Path) -> None:
    dhtnode("swarm new --task digits --name mine")
    manifest = Manifest.load(tmp_path / "swarm.toml")
    home = Home.open(homes_folder() / "mine")
    home.claim(manifest)
    never = json.loads(dhtnode("status --json").out)
    assert (never["running"], never["round"]["reason"]) == (False, "no round finished yet")
    with Store.open(home.store_path) as store:
        store.save_status(some_status(home, manifest))
        store.count_rejected("12D3KooWmallory", "oversized")
        document = json.loads(dhtnode("status --json").out)
    assert (document["running"], document["round"]["number"]) == (False, 6)
    assert document["rejected"] == {"oversized": 1}, "counted after the document was saved"
    shown = dhtnode("status").out
    assert "no node runs in this home; saved" in shown
    assert "waiting for 2 of 4 commitments, 3.1 s left" in shown


async def test_status_asks_the_running_node(dhtnode: Command, tmp_path: Path) -> None:
    dhtnode("swarm new --task digits --name mine")
    manifest = Manifest.load(tmp_path / "swarm.toml")
    home = Home.open(homes_folder() / "mine")
    home.claim(manifest)
    with Store.open(home.store_path) as store:
        store.save_status(some_status(home, manifest))
    now = msgspec.structs.replace(some_status(home, manifest), round=RoundPart(number=9, phase="reduce"))

    async def answer() -> object:
        return now

    async with control_server(home.control_path, {"status": answer}):
        document = json.loads((await asyncio.to_thread(dhtnode, "status", "--json")).out)
        shown = (await asyncio.to_thread(dhtnode, "status")).out
    assert (document["running"], document["round"]["number"]) == (True, 9)
    for words in ("running, pid 4711", "round 9  reduce", "/ip4/192.0.2.7/tcp/4117", "2.2500", "garbage 3"):
        assert words in shown


def test_wrong_words_are_a_usage_error(dhtnode: Command) -> None:
    for words in ("dance", "run", "status --colour", "swarm new --task text"):
        outcome = dhtnode(words)
        assert outcome.code == 2
        assert "Usage: dhtnode" in outcome.err


def test_version_and_help(dhtnode: Command) -> None:
    assert dhtnode("--version").out.startswith("dhtnode 0.")
    for words in ("", "swarm", "swarm new", "swarm show", "run", "status", "demo", *STANDING):
        assert "Usage: dhtnode" in dhtnode(words, "--help").out


def test_quick_commands_load_nothing_heavy() -> None:
    """`status` is asked often; torch and hivemind take seconds to load."""
    code = (
        "import sys, dhtnode.cli.root, dhtnode.cli.status, dhtnode.cli.show, dhtnode.cli.run;"
        "import dhtnode.cli.peers;"
        "print([name for name in ('torch', 'hivemind', 'numpy', 'libp2p') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_records_and_ledgers_are_checked_without_torch_or_a_network() -> None:
    code = (
        "import sys, dhtnode.cli.audit, dhtnode.cli.why, dhtnode.cli.ledger;"
        "print([name for name in ('torch', 'hivemind', 'libp2p') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_a_reader_that_leaves_early_does_no_harm(dhtnode: Command, tmp_path: Path) -> None:
    dhtnode("swarm new --task digits --name mine")
    command = [sys.executable, "-P", "-m", "dhtnode.cli", "swarm", "show", "swarm.toml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        shown.stdout.close()
        assert shown.stderr.read() == b""


@pytest.mark.parametrize(
    ("text", "schedule"), [("25", [[0, 25]]), ("2,20:8,60:25", [[0, 2], [20, 8], [60, 25]])]
)
def test_schedules(text: str, schedule: list[list[int]]) -> None:
    assert parse_schedule(text) == schedule


@pytest.mark.parametrize("text", ["", ",", "2,", "a:b", "1:2:3", ":", "2.5"])
def test_schedules_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="write for example 2,20:8"):
        parse_schedule(text)


def test_numbers_for_people() -> None:
    assert [size(count) for count in (0, 999, 1000, 466_200, 10**9, 10**13)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "466.2 kB",
        "1.0 GB",
        "10.0 TB",
    ]
    assert [duration(seconds) for seconds in (0, 119, 120, 7199, 7200, 200_000)] == [
        "0 s",
        "119 s",
        "2 min",
        "120 min",
        "2 h",
        "2 d",
    ]


def test_what_averaging_each_step_would_have_sent() -> None:
    """Ring all-reduce: each of n nodes sends 2 (n-1) pieces of d/n floats."""
    assert ddp_bytes(1_000, 4, 10) == 10 * 6 * 250 * 4
    assert ddp_bytes(1_000, 1, 10) == 0
    assert ddp_bytes(None, 4, 10) is None
