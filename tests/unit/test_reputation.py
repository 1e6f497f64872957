"""One node's table: what each rule adds, what it decides, and that arrival order is no evidence."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import LocalProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Signed, sign
from dhtnode.reputation import ReputationSection, TermSection
from tests.unit.parties import SWARM, certified, commit, head_of, ids, people
from training.chain import Certificate
from validation import reputation
from validation.cases import equivocation_case
from validation.evidence import (
    CAUSES,
    TOLD,
    Context,
    Evidence,
    Term,
    of_absence,
    of_agreement,
    of_case,
    of_round,
    of_verdict,
)
from validation.halflife import MICRO
from validation.messages import Subject, Verdict
from validation.reputation import Reputation

SECTION = ReputationSection()


def piece(
    term: Term,
    round_no: int = 0,
    peer: str = "worker",
    teller: str = "",
    context: Context = "work",
    about: int = 0,
) -> Evidence:
    name = digest("about", peer, term, round_no, about)
    return Evidence(peer, context, term, round_no, name, digest("record", name, teller), teller)


def table(*pieces: Evidence, now: int = 0) -> Reputation:
    made = Reputation(SECTION)
    made.begin(max([now, *(one.round_no for one in pieces)]))
    for one in pieces:
        made.add(one)
    return made


def member(peer: str = "worker", rounds: int = 100, audits: int = 12) -> list[Evidence]:
    """A member that has taken part for a while and passed audits of this node."""
    taken = [piece("accepted", number, peer) for number in range(rounds)]
    return taken + [piece("passed", number, peer) for number in range(rounds - audits, rounds)]


# The rules, one by one


@pytest.mark.parametrize(
    ("term", "good", "bad"),
    [
        ("passed", 1_000_000, 0),
        ("accepted", 50_000, 0),
        ("late", 0, 250_000),
        ("unsure", 0, 500_000),
        ("refuted", 0, 4_000_000),
        ("upheld", 0, 20_000_000),
    ],
)
def test_what_one_piece_of_evidence_adds(term: Term, good: int, bad: int) -> None:
    contexts: dict[Term, Context] = {"late": "liveness", "refuted": "audit"}
    context = contexts.get(term, "work")
    found = table(piece(term, context=context))
    assert found.pair("worker", context) == (good, bad)
    assert found.trust("worker", context) == (good + 400_000) * MICRO // (good + bad + 2_000_000)


def test_nobody_is_unknown_and_half_is_left_after_a_half_life() -> None:
    found = table(piece("passed"))
    assert found.trust("stranger", "work") == 200_000
    found.begin(500)
    assert found.pair("worker", "work") == (500_000, 0)


def test_an_upheld_fail_leaves_a_tenth_and_the_second_one_bans() -> None:
    found = table(*member(audits=30), now=100)
    good, _ = found.pair("worker", "work")
    found.add(piece("upheld", 100))
    assert found.pair("worker", "work")[0] in (good // 10, good // 10 - 1)
    assert found.bans("worker") == (0, 0)
    found.add(piece("upheld", 100, about=1))
    assert found.bans("worker") == (1, 300)
    found.add(piece("upheld", 100, about=2))
    assert found.bans("worker") == (1, 300)  # one ban for all that was false before it was found out


def test_bans_lengthen_and_only_new_proof_bans_again() -> None:
    found = table(piece("upheld", 0))
    assert found.bans("worker") == (1, 200)
    found.begin(200)
    assert found.trust("worker", "work") < 100_000
    assert found.bans("worker")[1] <= found.round_no  # the ban is served, though trust is still low
    for number, until in ((200, 600), (600, 1400), (1400, 3000)):
        found.begin(number)
        found.add(piece("upheld", number))
        assert found.bans("worker")[1] == until
    assert found.bans("worker")[0] == 4


def test_a_ban_outlives_the_books_and_starts_probation_again() -> None:
    found = table(*member(rounds=60, audits=0), now=60)
    assert not opinion(found).on_probation
    for about in range(2):
        found.add(piece("upheld", 60, about=about))
    for number in range(260, 259 + SECTION.probation_rounds):
        found.begin(number)
        found.add(piece("accepted", number))
    assert opinion(found).on_probation
    found.begin(3000)
    assert opinion(found).on_probation
    found.add(piece("accepted", 3000))
    assert not opinion(found).on_probation
    assert found.bans("worker") == (1, 260)


def opinion(found: Reputation, peer: str = "worker") -> reputation.Opinion:
    known = found.opinion(peer)
    assert known is not None
    return known


def test_a_proof_ends_all_trust_whatever_came_before_and_however_late_it_is() -> None:
    found = table(*member(), now=100_000)
    found.add(piece("proven", 3))
    assert [found.trust("worker", context) for context in ("work", "audit", "liveness")] == [0, 0, 0]
    assert opinion(found).banned_until == -1


def test_a_case_counts_once_and_is_never_too_late() -> None:
    found = table(now=5000)
    assert found.add(piece("passed", 3)) is None
    assert found.add(piece("upheld", 3)) is not None
    found.begin(5600)
    assert found.add(piece("upheld", 3)) is None
    assert found.bans("worker")[0] == 1


def test_being_late_or_unclear_bans_nobody() -> None:
    for term, context in (("late", "liveness"), ("unsure", "work"), ("refuted", "audit")):
        found = table(*[piece(term, number, context=context) for number in range(400)])  # type: ignore[arg-type]
        assert found.bans("worker") == (0, 0)
        assert found.trust("worker", "work") >= 100_000


def test_as_many_verdicts_found_right_make_up_for_doubts_that_were_refuted() -> None:
    found = table()
    assert found.judges_well("worker"), "nobody knows anything"
    for number in range(5):
        found.add(piece("refuted", context="audit", about=number))
        assert not found.judges_well("worker")
        found.add(piece("passed", context="audit", about=number))
        assert found.judges_well("worker")


def test_evidence_counts_while_its_books_are_open() -> None:
    found = table(now=600)
    assert found.add(piece("passed", 601)) is None
    assert found.add(piece("passed", 600 - SECTION.open_rounds - 1)) is None
    assert found.add(piece("passed", 600 - SECTION.open_rounds)) is not None
    assert found.add(piece("passed", 600 - SECTION.open_rounds)) is None


# Others' word


def trusted_teller(teller: str = "teller", checks: int = 6) -> list[Evidence]:
    contexts: list[Context] = ["audit", "work"]
    return [piece("passed", number, teller, context=contexts[number % 2]) for number in range(checks)]


def told(count: int, teller: str = "teller", peer: str = "worker", round_no: int = 10) -> list[Evidence]:
    return [piece("passed", round_no, peer, teller, about=number) for number in range(count)]


def test_the_word_of_somebody_never_checked_is_worth_nothing() -> None:
    crowd = [one for teller in range(100) for one in told(5, f"teller-{teller}")]
    assert table(*crowd).trust("worker", "work") == 200_000


def test_a_word_weighs_what_the_tellers_record_weighs() -> None:
    found = table(*trusted_teller(), *told(1))
    good = found.earned("teller")
    assert found.share("teller") == good * MICRO // (good + 2_000_000)
    assert found.pair("worker", "work")[0] == found.share("teller")


def test_a_teller_gives_away_at_most_twice_what_it_has_earned() -> None:
    found = table(*trusted_teller(), *(one for peer in range(50) for one in told(3, peer=f"sybil-{peer}")))
    good = found.earned("teller")
    gained = sum(found.pair(f"sybil-{peer}", "work")[0] for peer in range(50))
    assert 0.99 * 2 * good <= gained <= 2 * good


def test_all_tellers_together_add_ten_or_what_was_seen_here() -> None:
    words = [
        one for teller in range(40) for one in [*trusted_teller(f"t{teller}", 40), *told(1, f"t{teller}")]
    ]
    assert table(*words, now=40).pair("worker", "work")[0] == 10_000_000
    own = [piece("passed", 40, about=100 + number) for number in range(15)]
    seen = table(*words, *own)
    assert 25_000_000 < seen.pair("worker", "work")[0] <= 2 * 15_000_000


def test_when_a_teller_is_banned_all_that_it_ever_said_counts_for_nothing() -> None:
    found = table(*trusted_teller(checks=20), *told(5, round_no=20))
    assert found.pair("worker", "work")[0] > 0
    for about in range(2):
        found.add(piece("upheld", 20, "teller", context="audit", about=about))
    assert found.pair("worker", "work")[0] == 0


def test_nobody_speaks_for_itself() -> None:
    assert table().add(piece("passed", peer="teller", teller="teller")) is None


# What it decides


def test_the_punctual_and_the_trusted_are_taken_up_first() -> None:
    found = table(
        *[piece("accepted", 0, peer, context="liveness") for peer in ("a", "b", "c")],
        piece("late", 0, "b", context="liveness"),
        piece("passed", 0, "c"),
    )
    assert found.matched(["a", "b", "c", "d"]) == ["c", "a", "d", "b"]


def test_every_change_names_its_record_and_its_cause() -> None:
    found = table(*trusted_teller(), *told(1), piece("passed", 10), piece("upheld", 10))
    newest = {change.term: change for change in found.why("worker")}
    assert newest["upheld"].delta_micro < 0 < newest["passed"].delta_micro
    assert newest["upheld"].record == piece("upheld", 10).record
    assert newest["upheld"].cause == "a majority of the round found its work false"
    assert any(change.cause.startswith("teller says: ") for change in found.why("worker"))


def test_a_flood_of_small_changes_hides_no_great_one() -> None:
    found = table(piece("upheld", 0), *[piece("accepted", number) for number in range(300)])
    assert "upheld" in {change.term for change in found.why("worker")}
    assert len(found.why("worker")) == 1 + reputation.CHANGES_KEPT


def test_the_table_is_bounded_and_forgets_the_idle_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reputation, "MAX_ACCOUNTS", 3)
    found = table(piece("upheld", 0, "cheat"), piece("passed", 1, "idle"), piece("passed", 2, "b"), now=5)
    found.add(piece("passed", 5, "c"))
    assert [row[0] for row in found.table()] == ["b", "c", "cheat"]


# The same evidence gives the same table

peers = st.sampled_from(["a", "b", "c", "d"])
kinds = st.sampled_from([kind for kind in CAUSES if kind[1] != "proven"])
pieces = st.builds(
    lambda kind, round_no, peer, teller, about: piece(
        kind[1], round_no, peer, teller if kind[1] in TOLD else "", kind[0], about
    ),
    kinds,
    st.integers(0, 300),
    peers,
    st.sampled_from(["", "", "a", "b", "c"]),
    st.integers(0, 3),
)


@given(st.lists(pieces, max_size=40), st.randoms())
def test_two_nodes_with_the_same_evidence_have_the_same_table_to_the_bit(
    evidence: list[Evidence], random: Any
) -> None:
    shuffled = [*evidence, *evidence[:5]]
    random.shuffle(shuffled)
    one, other = table(*evidence, now=300), table(*shuffled, now=300)
    assert one.table() == other.table()
    for reader in (one, other):
        reader.begin(900)  # all books are closed
    assert one.table() == other.table()


@given(st.lists(pieces, max_size=40))
def test_a_node_that_reads_along_has_the_table_of_one_that_is_told_afterwards(
    evidence: list[Evidence],
) -> None:
    along = Reputation(SECTION)
    for one in sorted(evidence, key=lambda one: one.round_no):
        along.begin(one.round_no)
        along.add(one)
        along.table()
    along.begin(300)
    assert along.table() == table(*evidence, now=300).table()


@given(st.lists(pieces, max_size=40), st.integers(0, 300))
def test_a_node_that_was_restarted_has_the_table_of_one_that_was_not(
    evidence: list[Evidence], stopped: int
) -> None:
    section = msgspec.structs.replace(SECTION, open_rounds=50)
    in_order = sorted(evidence, key=lambda one: one.round_no)

    def play(found: Reputation, since: int, until: int) -> Reputation:
        for one in in_order:
            if since <= one.round_no <= until:
                found.begin(one.round_no)
                found.add(one)
        found.begin(until)
        return found

    stored = play(Reputation(section), 0, stopped).closed_books()
    again = play(Reputation.reopened(section, stored), max(0, stopped - 50), stopped)
    for found in (again, whole := play(Reputation(section), 0, stopped)):
        play(found, stopped + 1, 300)
    assert again.table() == whole.table()


def test_a_proof_is_not_forgotten_over_a_restart() -> None:
    late, old = piece("upheld", 3, "late"), piece("upheld", 3, "old")
    found = table(old)
    found.begin(2000)
    for one in (piece("proven", 3, "outlaw"), piece("passed", 2000), late):
        found.add(one)
    again = Reputation.reopened(SECTION, found.closed_books())
    assert again.add(old) is None  # all cases are shown again after a restart
    again.add(late)
    again.begin(2000)
    again.add(piece("passed", 2000))
    assert again.table() == found.table()


# Evidence from records

PEOPLE = people(4)
BEFORE = head_of(PEOPLE)
WORK = [commit(someone, BEFORE) for someone in PEOPLE[:3]]


def closed() -> Certificate:
    head = head_of(PEOPLE[:3], number=8, parent=BEFORE.id, accepted=tuple(work.id for work in WORK[:2]))
    return certified(PEOPLE[:3], head)


def test_a_closed_round_tells_whose_work_it_took_in_and_who_was_not_there() -> None:
    taken = of_round(closed(), WORK)
    assert {(one.peer, one.context, one.term) for one in taken} == {
        (peer, context, "accepted") for peer in ids(PEOPLE[:2]) for context in ("work", "liveness")
    }
    assert [one.peer for one in of_absence(BEFORE, closed(), ())] == [PEOPLE[3].peer_id]
    assert of_absence(BEFORE, closed(), {PEOPLE[3].peer_id}) == []


def test_two_commitments_in_one_round_prove_themselves() -> None:
    case = equivocation_case(WORK[0], commit(PEOPLE[0], BEFORE, loss_micro=7))
    shown = of_case(case)
    assert (shown.peer, shown.term, shown.record) == (PEOPLE[0].peer_id, "proven", case.id)
    assert case.records[0].swarm_id == SWARM


def verdict(judge: Identity, **changes: Any) -> Signed[Verdict]:
    plain = Verdict(
        round=BEFORE.number,
        base=closed().id,
        about="work",
        target=WORK[0].id,
        worker=PEOPLE[0].peer_id,
        outcome="pass",
        distance=None,
        role="audit",
        preimage=bytes(32),
        replayed=bytes(32),
        device="unit/fp32",
    )
    return sign(judge, SWARM, msgspec.structs.replace(plain, **changes))


@pytest.mark.parametrize(
    ("changes", "context", "term"),
    [
        ({}, "work", "passed"),
        ({"about": "reduction"}, "work", "passed"),
        ({"about": "audit", "outcome": "unsure", "distance": 9}, "audit", "unsure"),
    ],
)
def test_what_a_verdict_says_and_whose_word_it_is(changes: dict[str, Any], context: str, term: str) -> None:
    said = verdict(PEOPLE[1], **changes)
    heard = of_verdict(said, PEOPLE[2].peer_id)
    assert heard is not None
    assert (heard.peer, heard.context, heard.term) == (PEOPLE[0].peer_id, context, term)
    assert (heard.teller, heard.record) == (PEOPLE[1].peer_id, said.id)
    own = of_verdict(said, PEOPLE[1].peer_id)
    assert own is not None
    assert own.teller == ""


def test_a_fail_that_nobody_upholds_is_no_evidence() -> None:
    for about in get_args(Subject):
        assert of_verdict(verdict(PEOPLE[1], about=about, outcome="fail"), PEOPLE[1].peer_id) is None


def test_who_finds_the_same_has_judged_well() -> None:
    own, other = verdict(PEOPLE[1]), verdict(PEOPLE[2])
    agreed = of_agreement(own, other)
    assert agreed is not None
    assert (agreed.peer, agreed.context, agreed.term) == (PEOPLE[2].peer_id, "audit", "passed")
    assert of_agreement(own, own) is None
    assert of_agreement(own, verdict(PEOPLE[2], outcome="fail")) is None
    assert of_agreement(own, verdict(PEOPLE[2], target=WORK[1].id)) is None
    doubt = verdict(PEOPLE[1], outcome="unsure", distance=9)
    assert of_agreement(doubt, verdict(PEOPLE[2], outcome="unsure", distance=9)) is None


def test_there_is_no_evidence_of_what_can_not_be() -> None:
    with pytest.raises(LocalProtocolError, match="nothing is late in the context work"):
        piece("late")
    with pytest.raises(LocalProtocolError, match="rests on nobody's word"):
        piece("upheld", teller="teller")


# The constants are held against each other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"late": TermSection(add_milli=1, most_milli=1, half_life_rounds=1, sign=1)}, "late.sign"),
        ({"passed": TermSection(add_milli=2, most_milli=1, half_life_rounds=1, sign=1)}, "passed.add_milli"),
        ({"good_prior_milli": 2000}, "good_prior_milli"),
        ({"ban_percent": 21}, "must rise"),
        ({"half_vote_percent": 75}, "must rise"),
        (
            {"unsure": TermSection(add_milli=500, most_milli=2001, half_life_rounds=9, sign=-1)},
            "unsure.most_milli",
        ),
        (
            {"upheld": TermSection(add_milli=1000, most_milli=2000, half_life_rounds=9, sign=-1)},
            "upheld.add_milli",
        ),
        (
            {"accepted": TermSection(add_milli=50, most_milli=1200, half_life_rounds=9, sign=1)},
            "accepted.most_milli",
        ),
    ],
)
def test_constants_that_do_not_go_together_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ReputationSection(**change)
