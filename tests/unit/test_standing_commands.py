"""`why`, `peers` and `ledger`: each number has a record, and each record can be checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from dhtnode.alias import alias_of
from dhtnode.app.standing import Standing
from dhtnode.cli import status
from dhtnode.cli.view import trust_table
from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.manifest import AuditSection, Manifest
from dhtnode.records import Signed, sign
from dhtnode.reward import RewardSection
from dhtnode.status import (
    OfMePart,
    PeerPart,
    ReputationPart,
    RewardsPart,
    Status,
    SwarmPart,
    TrustPart,
    WhyPart,
)
from dhtnode.store import Store, StoredRecord
from tests.unit.commandline import Command, refusal
from tests.unit.parties import CHUNKS, SWARM, commit, people, terms
from tests.unit.rounds import fetched, history, next_round, passed
from training.events import Adopt
from training.in_force import TermsInForce
from validation.cases import CASE, equivocation_case
from validation.entry import NONCE_BYTES, Entry
from validation.epochs import Summary
from validation.messages import Verdict

PEOPLE = people(4)
ME, WORKER, OTHER, LATE = PEOPLE
HISTORY = history(4, PEOPLE)
HISTORY.append(next_round(HISTORY[-1].certificate.head, PEOPLE, late=[LATE]))
CLOSED = HISTORY[2]
WORK = next(work for work in CLOSED.works if work.signer == WORKER.peer_id)
VERDICT = passed(ME, CLOSED, WORK)
PAID = sign(LATE, SWARM, Entry(nonce=bytes(NONCE_BYTES)))
SUMMED = sign(OTHER, SWARM, Summary(epoch=0, verdicts=3, folded=bytes(32), rows=()))
CASE_SHOWN = equivocation_case(
    commit(OTHER, HISTORY[4].certificate.head), commit(OTHER, HISTORY[4].certificate.head, tokens=1)
)
REWARD = RewardSection(
    epoch_rounds=2, vesting_rounds=2, export_keys=(ME.peer_id, OTHER.peer_id), export_quorum=2
)
MANIFEST = Manifest.create(
    msgspec.structs.replace(terms(), creator=ME.peer_id, reward=REWARD, audit=AuditSection(rate=0.5)), ME
)


@pytest.fixture(autouse=True)
def _of_the_test_swarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of `parties` are signed for a swarm that no manifest hashes to."""
    monkeypatch.setattr(Manifest, "swarm_id", SWARM)


def home_of(
    me: Identity, folder: Path, *adopted: Adopt, verdicts: Sequence[Signed[Verdict]] = (VERDICT,)
) -> Home:
    """A home in which a node has kept what it saw."""
    home = Home.open(folder)
    me.save(home.identity_path)
    home.claim(MANIFEST)
    (folder.parent / "swarm.toml").write_text(MANIFEST.dump())
    with Store.open(home.store_path) as store:
        standing = Standing(
            *(store, TermsInForce(MANIFEST.terms), SWARM, me),
            parameters=10**6,
            sizes_K=[256] * CHUNKS,
        )
        for effect in adopted or HISTORY:
            standing.adopted(effect, None)
        for verdict in verdicts:
            standing.judged(verdict)
        standing.convicted(CASE_SHOWN)
        _keep(store, VERDICT.id, "verdict", VERDICT.signer, VERDICT.wire)
        _keep(store, CASE_SHOWN.id, CASE, CASE_SHOWN.guilty, CASE_SHOWN.wire, round_no=4)
        _keep(store, PAID.id, Entry.KIND, PAID.signer, PAID.wire, round_no=0)
        _keep(store, SUMMED.id, Summary.KIND, SUMMED.signer, SUMMED.wire, round_no=0)
        store.save_status(STATUS)
    return home


def _keep(store: Store, id_: bytes, kind: str, signer: str, wire: bytes, round_no: int = 1) -> None:
    store.add_record(StoredRecord(id_, kind, round_no, signer, wire))


STATUS = Status(
    running=True,
    saved_at_s=1.7e9,
    version="0",
    swarm=SwarmPart(id=SWARM.hex(), name="unit"),
    peer_id=ME.peer_id,
    peers=(PeerPart(peer_id=WORKER.peer_id),),
    reputation=ReputationPart(
        of_me=OfMePart(median=650_000, lowest=410_000, observers=3),
        table=(
            TrustPart(peer=WORKER.peer_id, trust_ppm=300_000, vote=0.0, audit_rate=1.0),
            TrustPart(peer=LATE.peer_id, trust_ppm=800_000, vote=1.0, audit_rate=0.0625),
            TrustPart(peer=OTHER.peer_id, trust_ppm=0, vote=0.0, audit_rate=1.0, bans=1, banned_until=-1),
        ),
    ),
    rewards=RewardsPart(
        by_term={"compute": 2_500_000, "audit": 0}, vested=2_000_000, stake=500_000, ownership_ppm=250_000
    ),
    why=(
        WhyPart(round=4, change="+0.012300 credits", cause="its work in the round's state", record="ab" * 32),
    ),
)


# why


@pytest.mark.parametrize(
    ("record", "says", "ground", "booked"),
    [
        (WORK.id, "the round accepted it", "certified by", "work of 80 tokens, 100% of it in time"),
        (CLOSED.results[0].id, "reduced part", "certified by", "a reduction of"),
        (VERDICT.id, "pass: ", "a record of", "an audit of work of 80 tokens"),
        (CASE_SHOWN.id, "contradict each other", "signed by", "a proven fault"),
        (CLOSED.certificate.id, "the head of round 1, certified by 3 of its 4", "", "nothing"),
        (PAID.id, "a proof of work of ", "", "nothing"),
        (SUMMED.id, "its 3 verdicts on 0 members in epoch 0", "", "nothing"),
    ],
    ids=["commitment", "result", "verdict", "case", "head", "entry", "summary"],
)
def test_why_explains_each_kind_of_record(
    dhtnode: Command, tmp_path: Path, record: bytes, says: str, ground: str, booked: str
) -> None:
    home_of(ME, tmp_path / "home")
    shown = dhtnode("why --home home", record.hex()[:16])
    assert shown.code == 0, shown
    for words in (says, "its signature is good", "in the ledger: ", booked, ground):
        assert words in shown.out
    assert "\x1b" not in shown.out
    document = json.loads(dhtnode("why --json --home home", record.hex()).out)
    assert document["id"] == record.hex()
    assert all(one["here"] for one in document["rests_on"])


def test_a_fault_whose_record_is_not_here_is_shown_by_its_case(dhtnode: Command, tmp_path: Path) -> None:
    home_of(ME, tmp_path / "home")
    shown = dhtnode("why --home home", CASE_SHOWN.records[0].id.hex()).out
    assert f"case {CASE_SHOWN.id.hex()}" in shown
    assert "a proven fault" in shown


def test_work_that_was_late_says_so(dhtnode: Command, tmp_path: Path) -> None:
    home_of(ME, tmp_path / "home")
    plan = HISTORY[-1].plan
    assert plan is not None
    late = next(work for work in plan.commitments_N if work.signer == LATE.peer_id)
    assert "most parts of the round are without it" in dhtnode("why --home home", late.id.hex()).out


@pytest.mark.parametrize("record", ["00000000", "nonsense", "%"])
def test_why_knows_what_it_does_not_hold(dhtnode: Command, tmp_path: Path, record: str) -> None:
    home_of(ME, tmp_path / "home")
    assert f"no record with an id that begins with '{record}'" in refusal(
        dhtnode("why --home home", record), 2
    )


def test_a_record_that_was_changed_on_the_disk_is_refused(dhtnode: Command, tmp_path: Path) -> None:
    home = home_of(ME, tmp_path / "home")
    with Store.open(home.store_path) as store:
        changed = VERDICT.wire.replace(b"pass", b"fail")
        _keep(store, bytes(32), "verdict", VERDICT.signer, changed)
    assert "is not good: bad-signature" in refusal(dhtnode("why --home home", "00" * 32), 1)


def test_why_has_all_that_was_signed_and_all_that_was_taken_in(dhtnode: Command, tmp_path: Path) -> None:
    home_of(ME, tmp_path / "home")
    reduction = CLOSED.results[0]
    found = json.loads(dhtnode("why --json --home home", reduction.id.hex()).out)
    assert found["body"]["part"] == reduction.body.part
    assert found["body"]["root"] == reduction.body.root.hex()
    works = {work.id.hex() for work in CLOSED.works}
    assert works <= {ground["id"] for ground in found["rests_on"] if ground["here"]}


# peers and status


@pytest.mark.parametrize(
    ("order", "first"), [("trust", LATE), ("audits", WORKER), ("bans", OTHER), ("peer", None)]
)
def test_peers_come_in_the_order_that_was_asked_for(
    dhtnode: Command, tmp_path: Path, order: str, first: Identity | None
) -> None:
    home_of(ME, tmp_path / "home")
    listed = json.loads(dhtnode("peers --json --home home --sort", order).out)
    expected = first.peer_id if first else min(row.peer for row in STATUS.reputation.table)
    assert listed[0]["peer"] == expected
    assert len(listed) == 3


def test_peers_are_readable_without_colour(dhtnode: Command, tmp_path: Path) -> None:
    home_of(ME, tmp_path / "home")
    shown = dhtnode("peers --home home").out
    for words in (LATE.peer_id, "0.800", "6%", "for good", alias_of(LATE.peer_id)):
        assert words in shown
    assert "\x1b" not in shown


def test_on_a_narrow_terminal_no_column_of_the_table_is_cut() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(trust_table(STATUS, STATUS.reputation.table))
    text = captured.get()
    assert "…" not in text
    for words in (LATE.peer_id[-12:], alias_of(LATE.peer_id), "0.800", "for good"):
        assert words in text


def test_status_that_is_watched_by_a_program_is_written_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is there before the next is made."""
    written = []

    def thrice(home: Home) -> Iterator[bytes]:
        for _ in range(3):
            yield msgspec.json.encode(STATUS)
            written.append(capsys.readouterr().out)

    monkeypatch.setattr(status, "_every_second", thrice)
    status.show_status(home_of(ME, tmp_path / "home"), as_json=False, watch=True)
    assert [page.count("swarm unit") for page in written] == [1, 1, 1]


def test_status_says_where_the_node_stands_and_why(dhtnode: Command, tmp_path: Path) -> None:
    home_of(ME, tmp_path / "home")
    shown = dhtnode("status --home home").out
    for words in (
        "median 0.650, lowest 0.410, as 3 members say",
        "2.000 vested (25.00% of all), 0.500 at stake; earned by: compute 2.500",
        "+0.012300 credits",
        "its work in the round's state",
        "abababababab",
    ):
        assert words in shown
    assert "\x1b" not in shown


# ledger


def export(node: str, file: str = "epoch.json", more: str = "--sign") -> str:
    return f"ledger export --epoch 0 --out {file} --home {node} {more}"


@pytest.mark.parametrize("form", ["json", "csv"])
def test_two_nodes_sign_the_same_file_and_anybody_can_check_it(
    dhtnode: Command, tmp_path: Path, form: str
) -> None:
    home_of(ME, tmp_path / "mine")
    home_of(OTHER, tmp_path / "others")
    file = f"epoch.{form}"
    assert "1 of 2 signatures" in dhtnode(export("mine", file, f"--sign --format {form}")).out
    assert "1 good signatures" in refusal(dhtnode(f"ledger verify {file}"), 1)
    assert "2 of 2 signatures" in dhtnode(export("others", file, f"--sign --format {form}")).out
    good = dhtnode(f"ledger verify {file} swarm.toml")
    assert good.code == 0
    for words in ("epoch 0 of swarm 'unit', before round 2: good", "2 of its 2 keys", WORKER.peer_id):
        assert words in good.out


def test_a_file_with_one_digit_changed_is_refused(dhtnode: Command, tmp_path: Path) -> None:
    for number, me in enumerate((ME, OTHER)):
        home_of(me, tmp_path / str(number))
        dhtnode(export(str(number)))
    whole = (tmp_path / "epoch.json").read_text()
    for field in ("vested", "share_ppm", "round", "head", "entries_root"):
        at = whole.index(f'"{field}": ') + len(field) + 4
        at += whole[at] == '"'
        digit = "1" if whole[at] != "1" else "2"
        (tmp_path / "epoch.json").write_text(whole[:at] + digit + whole[at + 1 :])
        assert "epoch.json" in refusal(dhtnode("ledger verify epoch.json"), 1)


def test_an_epoch_that_has_not_ended_is_not_exported(dhtnode: Command, tmp_path: Path) -> None:
    home_of(ME, tmp_path / "home")
    asked = dhtnode("ledger export --epoch 2 --out late.json --home home")
    assert "epoch 2 ends with round 5, and here 5 rounds have closed" in refusal(asked, 1)
    assert not (tmp_path / "late.json").exists()


def test_who_was_away_exports_nothing(dhtnode: Command, tmp_path: Path) -> None:
    home_of(ME, tmp_path / "home", HISTORY[0], fetched(HISTORY[1]), *HISTORY[2:])
    assert "was not there for 1 rounds up to epoch 0" in refusal(dhtnode(export("home")), 1)


def test_only_named_keys_sign(dhtnode: Command, tmp_path: Path) -> None:
    home_of(WORKER, tmp_path / "home")
    assert "none of the manifest's reward.export_keys" in refusal(dhtnode(export("home")), 1)
    assert dhtnode(export("home", more="")).code == 0


def test_nobody_signs_what_it_has_not_counted_itself(dhtnode: Command, tmp_path: Path) -> None:
    home_of(ME, tmp_path / "mine")
    unheard = passed(LATE, CLOSED, WORK)
    home_of(OTHER, tmp_path / "others", verdicts=(VERDICT, unheard))
    dhtnode(export("mine"))
    before = (tmp_path / "epoch.json").read_bytes()
    assert "holds another export: its entries" in refusal(dhtnode(export("others")), 1)
    assert (tmp_path / "epoch.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ("none.json", 1, "cannot read none.json"),
        ("junk.json", 1, "junk.json is damaged or no export"),
        ("junk.json none.toml", 3, "cannot read none.toml"),
    ],
)
def test_what_is_no_export_is_refused_in_one_line(
    dhtnode: Command, tmp_path: Path, words: str, code: int, line: str
) -> None:
    (tmp_path / "swarm.toml").write_text(MANIFEST.dump())
    (tmp_path / "junk.json").write_text("{]")
    assert line in refusal(dhtnode("ledger verify", words), code)
