"""What a node makes of the rounds, verdicts and cases that pass through it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dhtnode.amendments import Amendment, Setting
from dhtnode.app.balances import Balances
from dhtnode.app.page import WHY_KEPT
from dhtnode.app.standing import LATE_ROUNDS, Standing
from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import AuditSection, Terms
from dhtnode.records import Signed, sign
from dhtnode.reward import RewardSection
from dhtnode.store import Store, StoredRecord
from rewards.book import Book
from rewards.entries import raw_key
from rewards.heads import Heads
from rewards.ledger import rules_of
from rewards.ownership import read_table
from rewards.rounds import Step, open_answer, question_for
from tests.unit.parties import CHUNKS, SWARM, commit, core, people, terms
from tests.unit.rounds import fetched, history, next_round, passed
from training.chain import found
from training.events import Adopt
from training.in_force import TermsInForce
from training.messages import Commitment
from validation.cases import Case, equivocation_case
from validation.docket import ROUNDS_KEPT
from validation.messages import Verdict
from validation.validator import Validator
from validation.witness import Witness

PEOPLE = people(4)
ME, WORKER, OTHER, LATE = PEOPLE
PARAMETERS = 10**6
TERMS = msgspec.structs.replace(
    terms(), reward=RewardSection(epoch_rounds=2, vesting_rounds=2), audit=AuditSection(rate=0.5)
)
HISTORY = history(6, PEOPLE)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Store]]:
    opened = [Store.open(tmp_path / f"{number}.db") for number in range(2)]
    yield opened
    for store in opened:
        store.close()


@pytest.fixture
def store(stores: list[Store]) -> Store:
    return stores[0]


def standing(store: Store, me: Identity = ME, swarm_terms: Terms = TERMS) -> Standing:
    return Standing(
        *(store, TermsInForce(swarm_terms), SWARM, me),
        parameters=PARAMETERS,
        sizes_K=[256] * CHUNKS,
    )


def went_through(store: Store, *adopted: Adopt, **how: Any) -> Standing:
    one = standing(store, **how)
    for effect in adopted:
        one.adopted(effect, None)
    return one


def root(store: Store) -> bytes:
    return Book(store, rules_of(TERMS, PARAMETERS)).root()


def fresh_core(me: Identity = ME) -> Validator:
    """The judging core of a node that has just started."""
    return core(me, TERMS)


def witness_of(*adopted: Adopt) -> Witness:
    witness = Witness(TERMS.reputation, ME.peer_id)
    for effect in adopted:
        witness.adopted(effect, set())
    return witness


def test_rounds_earn_credits_that_vest(store: Store) -> None:
    one = went_through(store, *HISTORY)
    rewards = one.rewards()
    assert rewards.by_term["compute"] > 0
    assert rewards.by_term["reduction"] > 0
    assert rewards.vested > 0
    assert rewards.stake > 0
    assert sum(rewards.by_term.values()) == rewards.vested + rewards.stake
    assert 0 < rewards.ownership_ppm < 1_000_000
    assert rewards.missing_rounds == 0


def test_all_nodes_have_the_same_ledger(stores: list[Store]) -> None:
    for store, me in zip(stores, (ME, OTHER), strict=True):
        one = went_through(store, *HISTORY, me=me)
        for judge, closed in ((WORKER, HISTORY[-1]), (OTHER, HISTORY[-2])):
            one.judged(passed(judge, closed, next(w for w in closed.works if w.signer == ME.peer_id)))
    assert root(stores[0]) == root(stores[1])


def test_a_restart_changes_no_figure(store: Store) -> None:
    before = went_through(store, *HISTORY[:5])
    after = standing(store)
    after.stand_on(HISTORY[4].certificate)
    assert after.rewards() == before.rewards()
    for one in (before, after):
        one.adopted(HISTORY[5], None)
    assert after.rewards() == before.rewards()


def test_a_round_that_is_adopted_twice_is_paid_once(store: Store) -> None:
    once = went_through(store, *HISTORY).rewards()
    assert went_through(store, *HISTORY).rewards() == once


def test_who_fetched_a_state_says_how_many_rounds_it_lacks(store: Store) -> None:
    one = went_through(store, *HISTORY[:3], *map(fetched, HISTORY[4:6]), HISTORY[6])
    rewards = one.rewards()
    assert rewards.missing_rounds == 3, "rounds 2, 3 and 4"
    assert rewards.by_term["compute"] > 0, "the rounds before the gap and after it still count"


def test_a_paid_audit_shows_up_with_its_record(store: Store) -> None:
    one = went_through(store, *HISTORY)
    closed = HISTORY[-1]
    verdict = passed(ME, closed, next(work for work in closed.works if work.signer == WORKER.peer_id))
    before = one.rewards()
    one.judged(verdict)
    assert one.rewards().by_term["audit"] > before.by_term["audit"]
    newest = next(part for part in one.why(witness_of().table) if part.record == verdict.id.hex())
    assert (newest.round, newest.cause) == (5, "an audit")
    assert newest.change.startswith("+")


@pytest.mark.parametrize(
    "changes",
    [
        {"preimage": digest("not its own")},
        {"base": digest("a head that nobody knows")},
        {"target": digest("a record that nobody knows")},
        {"about": "reduction"},
    ],
)
def test_a_verdict_that_earns_nothing_is_left_out(store: Store, changes: dict[str, Any]) -> None:
    one = went_through(store, *HISTORY)
    before, closed = root(store), HISTORY[-1]
    one.judged(passed(ME, closed, closed.works[-1], **changes))
    assert root(store) == before


def test_a_round_whose_records_do_not_fit_is_left_out_and_counted(store: Store) -> None:
    closed = HISTORY[1]
    odd = Adopt(closed.certificate, closed.works, closed.plan, closed.results[1:])
    assert went_through(store, HISTORY[0], odd).rewards().missing_rounds == 1


def test_a_case_burns_what_was_at_stake_and_says_so(store: Store) -> None:
    one = went_through(store, *HISTORY)
    at_stake = one.rewards().stake
    head = HISTORY[5].certificate.head
    case = equivocation_case(commit(ME, head), commit(ME, head, tokens=1))
    one.convicted(case)
    assert one.rewards().stake < at_stake
    fault = case.records[0].id
    burned = next(part for part in one.why(witness_of().table) if part.record == fault.hex())
    assert burned.change.startswith("-")
    assert burned.cause == "proven guilty of a fault in round 5"


def test_a_case_on_a_round_that_is_far_ahead_lets_nothing_vest(store: Store) -> None:
    one = went_through(store, *HISTORY)
    before = one.rewards()
    far = msgspec.structs.replace(HISTORY[5].certificate.head, number=10**9)
    one.convicted(equivocation_case(commit(WORKER, far), commit(WORKER, far, tokens=1)))
    assert one.rewards() == before


def test_a_case_on_the_round_in_progress_is_booked_when_that_closes(store: Store) -> None:
    one = went_through(store, *HISTORY)
    head = HISTORY[6].certificate.head
    one.convicted(equivocation_case(commit(ME, head), commit(ME, head, tokens=1)))
    assert one.rewards().stake > 0
    one.adopted(next_round(head, PEOPLE), None)
    assert one.rewards().stake == 0


def test_the_record_of_work_that_was_late_for_most_parts_is_kept(store: Store) -> None:
    late = next_round(HISTORY[3].certificate.head, PEOPLE, late=[LATE])
    went_through(store, *HISTORY[:4], late)
    assert late.plan is not None
    work = next(one for one in late.plan.commitments_N if one.signer == LATE.peer_id)
    assert work.id not in late.certificate.head.accepted
    kept = store.record(work.id)
    assert kept is not None
    assert kept.kind == work.body.KIND


def test_reasons_are_few_and_the_newest_come_first(store: Store) -> None:
    why = went_through(store, *history(30, PEOPLE)).why(witness_of().table)
    assert len(why) == WHY_KEPT
    assert [part.round for part in why] == sorted((part.round for part in why), reverse=True)
    assert why[0].round == 29


def test_a_loss_is_not_pushed_out_by_what_is_earned(store: Store) -> None:
    longer = history(30, PEOPLE)
    one = went_through(store, *longer)
    head = longer[-12].certificate.head
    one.convicted(equivocation_case(commit(ME, head), commit(ME, head, tokens=1)))
    why = one.why(witness_of().table)
    assert len(why) == WHY_KEPT
    assert [part.round for part in why if part.change.startswith("-")] == [head.number]
    assert [part.round for part in why] == sorted((part.round for part in why), reverse=True)


# The table, over a restart


def test_the_table_comes_back(store: Store) -> None:
    one, before = standing(store), fresh_core()
    for effect in HISTORY:
        before.witness.adopted(effect, set())
        one.adopted(effect, before)
    verdict = passed(ME, HISTORY[-1], work_of(HISTORY[-1], WORKER))
    before.witness.heard(verdict, {ME.peer_id: verdict}, HISTORY[-1].certificate.head.electors)
    _keep(store, verdict)
    after = fresh_core()
    standing(store).restore(after, [])
    assert after.witness.table.table() == before.witness.table.table()
    assert after.witness.table.round_no == before.witness.table.round_no


def test_cases_come_back_too(store: Store) -> None:
    went_through(store, *HISTORY)
    head = HISTORY[5].certificate.head
    case = equivocation_case(commit(WORKER, head), commit(WORKER, head, tokens=1))
    after, again = fresh_core(), standing(store)
    again.restore(after, [case])
    assert after.witness.table.trust(WORKER.peer_id, "work") == 0
    assert again.rewards() == went_through(store, *HISTORY).rewards(), "it is not this node that is guilty"


def test_a_verdict_that_was_kept_but_not_booked_is_booked_after_the_restart(stores: list[Store]) -> None:
    verdict = passed(OTHER, HISTORY[-1], work_of(HISTORY[-1], WORKER))
    went_through(stores[0], *HISTORY).judged(verdict)
    went_through(stores[1], *HISTORY)
    _keep(stores[1], verdict)
    assert root(stores[0]) != root(stores[1])
    standing(stores[1]).restore(fresh_core(), [])
    assert root(stores[0]) == root(stores[1])


# What happened while the node was away


def steps_of(shower: Standing, head: bytes) -> list[Step]:
    """What a neighbour shows that was there."""
    return open_answer(shower.answer_rounds(question_for(head), "asker"), head, SWARM, "shower")


def test_rounds_that_were_missed_are_booked_from_what_a_neighbour_shows(stores: list[Store]) -> None:
    there = went_through(stores[0], *HISTORY)
    away = went_through(stores[1], *HISTORY[:3], *map(fetched, HISTORY[4:6]), HISTORY[6])
    head = away.lacking(0)
    assert head == HISTORY[5].certificate.id, "the newest that it has not closed itself"
    away.take_rounds(steps_of(there, head), fresh_core())
    assert away.lacking(0) is None
    assert away.rewards() == there.rewards()
    assert root(stores[0]) == root(stores[1])


def test_a_newcomer_asks_for_nothing_that_is_too_old(stores: list[Store]) -> None:
    newcomer = went_through(stores[1], HISTORY[6])
    assert newcomer.lacking(6) is None
    assert newcomer.lacking(3) == HISTORY[5].certificate.id


def returned(stores: list[Store]) -> tuple[Standing, Standing, Validator]:
    """Who was there, and who has fetched the rounds from it that it had missed."""
    there = went_through(stores[0], *HISTORY)
    away, validator = went_through(stores[1], *HISTORY[:3], *map(fetched, HISTORY[4:])), fresh_core()
    while (head := away.lacking(0)) is not None:
        away.take_rounds(steps_of(there, head), validator)
    return there, away, validator


def test_verdicts_that_come_late_are_held_against_the_same_rules(stores: list[Store]) -> None:
    there, away, validator = returned(stores)
    good = passed(OTHER, HISTORY[4], work_of(HISTORY[4], WORKER))
    there.judged(good)
    bad = passed(OTHER, HISTORY[4], work_of(HISTORY[4], LATE), preimage=digest("not its own"))
    elsewhere = passed(OTHER, HISTORY[4], work_of(HISTORY[4], LATE), base=digest("another branch"))
    found = away.take_late([bad, elsewhere, good], ME.peer_id, validator)
    assert [type(one) for one in found] == [RemoteProtocolError]
    assert (found[0].peer, found[0].reason) == (OTHER.peer_id, "bad-verdict")  # type: ignore[union-attr]
    assert root(stores[0]) == root(stores[1])
    assert list(validator.holdings.tree) == [good.id]


def test_of_two_verdicts_by_one_member_on_one_record_the_same_is_kept_in_any_order(
    stores: list[Store],
) -> None:
    there, away, validator = returned(stores)
    work = work_of(HISTORY[4], WORKER)
    both = [passed(OTHER, HISTORY[4], work, role=role) for role in ("audit", "jury")]
    less, more = sorted(both, key=lambda verdict: verdict.id)
    before = root(stores[0])
    there.judged(more)
    assert root(stores[0]) != before
    there.displaced(more)
    assert root(stores[0]) == before
    there.judged(less)
    for late in (more, less, more):
        assert away.take_late([late], ME.peer_id, validator) == []
    assert root(stores[0]) == root(stores[1])
    again = fresh_core()
    standing(stores[1]).restore(again, [])
    assert list(validator.holdings.tree) == list(again.holdings.tree) == [less.id], "also after a restart"


def test_who_contradicts_itself_late_is_guilty_all_the_same(stores: list[Store]) -> None:
    _, away, validator = returned(stores)
    work = work_of(HISTORY[4], WORKER)
    assert away.take_late([passed(OTHER, HISTORY[4], work)], ME.peer_id, validator) == []
    false = passed(OTHER, HISTORY[4], work, outcome="fail")
    (case,) = away.take_late([false], ME.peer_id, validator)
    assert isinstance(case, Case)
    assert (case.charge, case.guilty) == ("equivocation", OTHER.peer_id)


def test_who_says_late_that_it_has_audited_is_not_paid(stores: list[Store]) -> None:
    """Nobody could check it any more."""
    there, away, validator = returned(stores)
    before = root(stores[0])
    late = passed(OTHER, HISTORY[4], work_of(HISTORY[4], WORKER))
    assert there.take_late([late], ME.peer_id, validator) == []
    assert root(stores[0]) == before, "who was there hears no more of it"
    assert away.take_late([late], OTHER.peer_id, validator) == []
    assert root(stores[1]) == before, "who was not hears it from others"
    for effect in more_rounds(HISTORY[-1], LATE_ROUNDS + 1):
        away.adopted(effect, validator)
    now = root(stores[1])
    assert away.take_late([late], ME.peer_id, validator) == []
    assert root(stores[1]) == now, "for some rounds"


def test_who_was_cut_off_may_have_spoken_in_time(store: Store) -> None:
    """It was not in the round in which the time was up, and that costs more than an audit brings."""
    one, validator = standing(store), fresh_core()
    rounds = [*HISTORY[:4], *more_rounds(HISTORY[3], ROUNDS_KEPT - 1, PEOPLE)]
    rounds += more_rounds(rounds[-1], 2, [ME, WORKER, LATE])
    for effect in rounds:
        one.adopted(effect, validator)
    before = root(store)
    present = passed(WORKER, HISTORY[3], work_of(HISTORY[3], LATE))
    assert one.take_late([present], ME.peer_id, validator) == []
    assert root(store) == before
    cut_off = passed(OTHER, HISTORY[3], work_of(HISTORY[3], WORKER))
    assert one.take_late([cut_off], OTHER.peer_id, validator) == []
    assert root(store) != before


def test_who_was_killed_hears_what_was_said_meanwhile(stores: list[Store]) -> None:
    there = went_through(stores[0], *HISTORY)
    late = passed(OTHER, HISTORY[6], work_of(HISTORY[6], WORKER))
    there.judged(late)
    went_through(stores[1], *HISTORY)
    again, validator = standing(stores[1]), fresh_core()
    again.restore(validator, [])
    assert again.take_late([late], ME.peer_id, validator) == []
    assert root(stores[0]) == root(stores[1])


def more_rounds(after: Adopt, count: int, persons: Sequence[Identity] = PEOPLE) -> list[Adopt]:
    rounds = [after]
    for _ in range(count):
        rounds.append(next_round(rounds[-1].certificate.head, persons))
    return rounds[1:]


def test_what_a_left_branch_was_worth_is_in_nobodys_root(stores: list[Store]) -> None:
    went_through(stores[0], *HISTORY)
    alone = Adopt(found(ME, SWARM, HISTORY[2].certificate.head, b""), ())
    astray = next_round(alone.certificate.head, PEOPLE[:1])
    one, validator = standing(stores[1]), fresh_core()
    for effect in (*HISTORY[:3], alone, astray, fetched(HISTORY[5]), HISTORY[6]):
        one.adopted(effect, validator)
    there = standing(stores[0])
    while (head := one.lacking(0)) is not None:
        one.take_rounds(steps_of(there, head), validator)
    assert root(stores[0]) == root(stores[1])


def work_of(closed: Adopt, worker: Identity) -> Signed[Commitment]:
    return next(work for work in closed.works if work.signer == worker.peer_id)


def _keep(store: Store, verdict: Signed[Verdict]) -> None:
    kept = StoredRecord(verdict.id, "verdict", verdict.body.round, verdict.signer, verdict.wire)
    store.add_record(kept)


# What is written beside a state, and what votes weigh


def test_a_checkpoint_has_the_table_of_shares(stores: list[Store]) -> None:
    last = HISTORY[-1].certificate
    both = zip(stores, (ME, OTHER), strict=True)
    notes = [went_through(store, *HISTORY, me=me).notes(last) for store, me in both]
    assert notes[0] == notes[1]
    table = read_table(notes[0], SWARM)
    assert table is not None
    assert (table.rows[0].round, table.rows[0].head) == (last.head.number, last.id)
    assert sum(row.share_ppm for row in table.rows) == 1_000_000


def test_a_ledger_that_lacks_rounds_writes_no_table_and_has_no_vote_to_weigh(store: Store) -> None:
    one = went_through(store, *HISTORY[:3], *map(fetched, HISTORY[4:6]), HISTORY[6])
    assert one.notes(HISTORY[6].certificate) == {}
    assert one.vested_before(6) is None
    assert one.vested_before(2) is not None


def test_another_chain_is_booked_by_the_prices_that_it_has_adopted(store: Store) -> None:
    """Also where both chains change the same one in the same round."""
    in_force = TermsInForce(TERMS)
    balances = Balances(store, in_force, SWARM, PARAMETERS, ME.peer_id, Heads(store))
    for price in (5, 7):
        change = Setting(key="reward.reduce_micro", value=str(price))
        amendment = sign(ME, SWARM, Amendment(round=0, effect=90, changes=(change,), why=""))
        in_force.learn(amendment)
        in_force.stand_on((amendment.id,), 91)
        balances.stand_on(91)
        assert balances.book.rules.at(90).section.reduce_micro == price
        assert balances.book.rules.at(89).section == TERMS.reward


def test_votes_weigh_what_had_vested_when_the_last_epoch_ended(store: Store) -> None:
    """Epochs of two rounds; what was earned less than four rounds before is at stake and has no vote."""
    slow = msgspec.structs.replace(TERMS, reward=RewardSection(epoch_rounds=2, vesting_rounds=4))
    one = went_through(store, *HISTORY, swarm_terms=slow)
    assert one.vested_before(0) == one.vested_before(1) == {}
    assert one.vested_before(2) == {}, "all of it is at stake"
    assert one.vested_before(4) == one.vested_before(5)
    fourth, sixth = one.vested_before(4), one.vested_before(6)
    assert fourth is not None
    assert sixth is not None
    assert fourth.keys() == {raw_key(person.peer_id) for person in PEOPLE}
    assert all(sixth[key] > fourth[key] > 0 for key in fourth)
