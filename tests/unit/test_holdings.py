"""What is held of evidence: one name for equal sets, as long as it counts, and nobody is asked in vain."""

from __future__ import annotations

import pytest

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed, sign
from tests.unit.parties import SWARM, people
from tests.unit.rounds import history, passed
from tests.unit.test_cases import CASES
from training.sync import Held
from validation.antientropy import MAX_ANSWER_BYTES
from validation.cases import Case
from validation.entry import Entry
from validation.holdings import MAX_USELESS, Asking, Holdings, case_name, first_round, name_of, open_piece

OPEN = 16
PEOPLE = people(4)
HISTORY = history(40, PEOPLE)
VERDICTS = [
    passed(judge, closed, work)
    for closed in HISTORY[1:]
    for work in closed.works
    for judge in PEOPLE
    if judge.peer_id != work.signer
]


def holding(*pieces: Case | Signed[Body]) -> Holdings:
    holdings = Holdings(OPEN)
    for piece in pieces:
        add(holdings, piece)
    return holdings


def add(holdings: Holdings, piece: Case | Signed[Body]) -> None:
    holdings.add(name_of(piece), None if isinstance(piece, Case) else getattr(piece.body, "round", None))


def wires(*pieces: Case | Signed[Body]) -> dict[bytes, bytes]:
    return {name_of(piece): piece.wire for piece in pieces}


def pull(here: Holdings, there: Holdings, stored: dict[bytes, bytes], takes: bool = True) -> int:
    """One exchange; how many records came."""
    asking, count = Asking(here, "teller", SWARM), 0
    while (question := asking.question()) is not None:
        for piece in asking.on_answer(there.answer(question, "asker", stored.get)):
            count += 1
            if takes:
                add(here, piece)
    return count


def test_equal_sets_have_one_name_and_nothing_to_ask() -> None:
    one, other = holding(*VERDICTS, *CASES), holding(*CASES[::-1], *VERDICTS[::-1])
    assert one.held == other.held
    assert not one.differ("teller", other.held)
    assert holding(*VERDICTS[1:], *CASES).differ("teller", one.held)


def test_who_lacks_something_gets_it_and_nothing_else() -> None:
    here, there = holding(*VERDICTS[5:], *CASES[2:]), holding(*VERDICTS[:-3], *CASES)
    lacking = set(map(case_name, CASES[:2])) - set(map(case_name, CASES[2:]))
    assert pull(here, there, wires(*VERDICTS, *CASES)) == 5 + len(lacking)
    assert not here.differ("teller", holding(*VERDICTS, *CASES).held)


def test_a_case_goes_by_who_is_guilty() -> None:
    assert name_of(CASES[0]) == case_name(CASES[0])
    assert open_piece(CASES[0].wire, SWARM, "teller") == CASES[0]


def test_what_is_too_old_goes_and_cases_stay() -> None:
    holdings = holding(*VERDICTS, CASES[0])
    holdings.begin(3 * OPEN - 1)
    assert holdings.since == OPEN
    kept = [verdict for verdict in VERDICTS if verdict.body.round >= OPEN]
    assert holdings.held.root == holding(*kept, CASES[0]).held.root
    add(holdings, VERDICTS[0])
    assert VERDICTS[0].id not in holdings.tree


@pytest.mark.parametrize(("round_no", "first"), [(0, 0), (15, 0), (31, 0), (32, 16), (47, 16), (48, 32)])
def test_an_epoch_counts_until_the_one_after_it_has_ended(round_no: int, first: int) -> None:
    assert first_round(round_no, OPEN) == first


def test_nodes_of_two_epochs_have_nothing_to_compare() -> None:
    here = holding(*VERDICTS[:3])
    assert not here.differ("teller", Held(OPEN, bytes(32)))


def test_who_leaves_a_branch_holds_nothing_about_its_rounds() -> None:
    holdings = holding(*VERDICTS, CASES[0])
    holdings.leave_rounds()
    assert holdings.held.root == holding(CASES[0]).held.root


def test_what_came_in_vain_is_not_asked_for_again_in_this_round() -> None:
    here, there = holding(), holding(*VERDICTS[:20])
    assert pull(here, there, wires(*VERDICTS), takes=False) == 20
    assert pull(here, there, wires(*VERDICTS), takes=False) == 0
    here.begin(1)
    assert pull(here, there, wires(*VERDICTS)) == 20


def test_who_shows_only_what_is_of_no_use_is_left_alone_for_this_round() -> None:
    here, there = holding(), holding(*VERDICTS)
    came = pull(here, there, wires(*VERDICTS), takes=False)
    assert MAX_USELESS < came <= len(VERDICTS)
    assert not here.differ("teller", there.held)
    assert here.differ("another", there.held)
    here.begin(1)
    assert here.differ("teller", there.held)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"garbage", "bad-antientropy"), (bytes(MAX_ANSWER_BYTES + 1), "bad-antientropy")],
)
def test_bad_bytes_are_blamed_on_who_sent_them(answer: bytes, reason: str) -> None:
    asking = Asking(holding(), "teller", SWARM)
    asking.question()
    with pytest.raises(RemoteProtocolError) as caught:
        asking.on_answer(answer)
    assert (caught.value.peer, caught.value.reason) == ("teller", reason)
    assert asking.question() is None


def test_a_forged_record_is_blamed_on_who_sent_it() -> None:
    damaged = bytearray(VERDICTS[0].wire)
    damaged[-1] ^= 1
    there, here = holding(VERDICTS[0]), holding()
    with pytest.raises(RemoteProtocolError) as caught:
        pull(here, there, {VERDICTS[0].id: bytes(damaged)})
    assert (caught.value.peer, caught.value.reason) == ("teller", "bad-signature")
    assert len(here.tree) == 0


def test_a_proof_of_work_goes_by_whose_it_is() -> None:
    """A key may find many numbers; two nodes that have seen different ones hold the same."""
    first, again, other = (
        sign(who, SWARM, Entry(nonce=bytes([number] * 8)))
        for who, number in ((PEOPLE[0], 0), (PEOPLE[0], 1), (PEOPLE[1], 0))
    )
    assert holding(first).held == holding(again).held != holding(other).held
    here, there = holding(first), holding(again, other)
    assert pull(here, there, wires(again, other)) == 1
    assert here.held == there.held
