"""A member shows its share to somebody who has a checkpoint, or just a root: no network, no ledger."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest
from rewards.accounts import Balance
from rewards.entries import raw_key
from rewards.ownership import ROOT, TABLE, noted, ownership, read_table
from tests.unit.commandline import Command, refusal
from tests.unit.parties import SWARM, person, terms
from tests.unit.test_checkpoint import SHAPES, state_of
from training.checkpoint import load_checkpoint, read_notes, save_checkpoint

OWNERS = [person(number) for number in range(5)]


def table_at(round_no: int) -> dict[str, str]:
    """The notes of a checkpoint: five members own one to five parts of fifteen."""
    balances = [
        Balance(raw_key(who.peer_id), (1 + place) * 1_000_000, 0, 0, 0, (0, 0, 0, 0))
        for place, who in enumerate(OWNERS)
    ]
    return noted(ownership(balances, SWARM, round_no, bytes(32)))


@pytest.fixture(autouse=True)
def _of_the_test_swarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Manifest, "swarm_id", SWARM)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Of the last owner, which has two checkpoints; `other` is another node's of the newer round."""
    return home_of(OWNERS[4], tmp_path, tmp_path / "other.safetensors")


def home_of(me: Identity, folder: Path, other: Path) -> Home:
    manifest = Manifest.create(msgspec.structs.replace(terms(), creator=person(0).peer_id), person(0))
    (folder / "swarm.toml").write_text(manifest.dump())
    made = Home.open(folder / "home")
    me.save(made.identity_path)
    made.claim(manifest)
    for round_no in (3, 4):
        state = state_of(round_no=round_no)
        save_checkpoint(made.checkpoints / f"{round_no}.safetensors", state, table_at(round_no))
    save_checkpoint(other, state_of(round_no=4), table_at(4))
    return made


@pytest.mark.usefixtures("home")
def test_a_share_is_shown_offline(dhtnode: Command) -> None:
    made = dhtnode("ledger prove --home home --out mine.share")
    assert made.code == 0, made
    assert "owns 33.3333%, 5.000000 credits, before round 4" in made.out
    for anchor in ("--checkpoint other.safetensors", f"--root {table_at(4)[ROOT]}"):
        checked = dhtnode("ledger verify mine.share swarm.toml", anchor)
        assert checked.code == 0, checked
        assert f"{OWNERS[4].peer_id} owns 33.3333%" in checked.out


@pytest.mark.usefixtures("home")
def test_what_proves_nothing_is_refused(dhtnode: Command, tmp_path: Path) -> None:
    dhtnode("ledger prove --home home --out mine.share")
    share = tmp_path / "mine.share"
    other_round = f"--root {table_at(3)[ROOT]}"
    assert "proves nothing" in refusal(dhtnode("ledger verify mine.share", other_round), 1)
    assert "a table that you trust" in refusal(dhtnode("ledger verify mine.share"), 2)
    assert "can't be checked" in refusal(dhtnode("ledger verify mine.share --root zz"), 1)
    assert "can't be checked" in refusal(dhtnode("ledger verify mine.share --checkpoint swarm.toml"), 1)
    share.write_bytes(share.read_bytes().replace(b"\x4c\x4b\x40", b"\x4c\x4b\x41"))  # 5,000,001 micro-credits
    anchor = "--checkpoint other.safetensors"
    assert "proves nothing" in refusal(dhtnode("ledger verify mine.share", anchor), 1)
    share.write_bytes(b"{}")
    assert "can't be checked" in refusal(dhtnode("ledger verify mine.share", anchor), 1)


def test_who_owns_nothing_has_nothing_to_show(dhtnode: Command, tmp_path: Path) -> None:
    home = home_of(person(9), tmp_path, tmp_path / "other.safetensors")
    assert "owns nothing yet" in refusal(dhtnode("ledger prove --home home"), 1)
    for path in home.checkpoints.iterdir():
        path.unlink()
    assert "no checkpoint has a table of shares yet" in refusal(dhtnode("ledger prove --home home"), 1)


def test_notes_do_not_touch_the_state(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, state_of(), table_at(3))
    loaded = load_checkpoint(path, state_of().swarm_id, SHAPES[0])
    assert loaded is not None
    assert loaded.digest == state_of().digest
    assert read_notes(path)[ROOT] == table_at(3)[ROOT]


def test_a_table_is_read_as_it_was_written() -> None:
    notes = table_at(3)
    table = read_table(notes, SWARM)
    assert table is not None
    assert noted(table) == notes
    assert read_table({}, SWARM) is None
    assert noted(ownership([], SWARM, 3, bytes(32))) == {}
    with pytest.raises(ValueError, match="does not have the root"):
        read_table({**notes, TABLE: notes[TABLE].replace("5000000", "5000001")}, SWARM)
