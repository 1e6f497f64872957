"""Doubt has everybody look again, as long as its signer's word is worth that."""

from __future__ import annotations

import msgspec

from dhtnode.identity import Identity
from dhtnode.records import Signed, sign
from tests.unit.parties import SWARM, ids, people
from tests.unit.rounds import history, passed
from training.events import Adopt
from validation.docket import ROUNDS_KEPT, Trial
from validation.doubts import MOST_HEEDED, Doubts
from validation.evidence import of_refutation
from validation.messages import NOT_SHOWN, Outcome, Verdict

PEOPLE = people(8)
HISTORY = history(ROUNDS_KEPT + 2, PEOPLE)[1:]
DOUBTER, *OTHERS = PEOPLE


def trials(closed: Adopt) -> list[Trial]:
    return [Trial(closed.certificate, work) for work in closed.works if work.signer != DOUBTER.peer_id]


def said(
    judge: Identity, closed: Adopt, trial: Trial, outcome: Outcome, distance: int | None = None
) -> Signed[Verdict]:
    work = next(work for work in closed.works if work.id == trial.target.id)
    body = passed(judge, closed, work).body
    return sign(judge, SWARM, msgspec.structs.replace(body, outcome=outcome, distance=distance))


def heeded(doubts: Doubts, closed: Adopt, outcome: Outcome, distance: int | None) -> int:
    """Of how many records the doubter has everybody look at, if it says this of all."""
    found = trials(closed)
    for trial in found:
        effect = doubts.hear(said(DOUBTER, closed, trial, outcome, distance), trial)
        assert effect == doubts.calls(trial)
    return sum(doubts.calls(trial) for trial in found)


def test_of_what_one_member_doubts_in_a_round_a_few_records_are_looked_at() -> None:
    doubts = Doubts(lambda _: True)
    for closed in HISTORY:
        assert heeded(doubts, closed, "unsure", NOT_SHOWN) == MOST_HEEDED < len(OTHERS)
    assert not any(map(doubts.calls, trials(HISTORY[0]))), "nobody can look any more"
    assert heeded(Doubts(lambda _: True), HISTORY[0], "fail", 9) == MOST_HEEDED, "a distance can mislead"


def test_who_is_not_trusted_calls_nobody_unless_it_answers_for_what_it_says() -> None:
    doubts = Doubts(lambda peer: peer != DOUBTER.peer_id)
    assert heeded(doubts, HISTORY[0], "unsure", NOT_SHOWN) == 0
    assert heeded(doubts, HISTORY[1], "fail", None) == len(OTHERS)


def test_a_record_that_somebody_else_has_called_stays_called() -> None:
    doubts, [trial, *_] = Doubts(lambda peer: peer != DOUBTER.peer_id), trials(HISTORY[0])
    judge = next(one for one in OTHERS if one.peer_id != trial.target.signer)
    assert doubts.hear(said(judge, HISTORY[0], trial, "unsure", NOT_SHOWN), trial)
    assert not doubts.hear(said(DOUBTER, HISTORY[0], trial, "unsure", NOT_SHOWN), trial)
    assert doubts.calls(trial)


def test_a_majority_of_electors_refutes_a_doubt_and_nothing_less_does() -> None:
    closed, [trial, *_] = HISTORY[0], trials(HISTORY[0])
    judges = [one for one in OTHERS if one.peer_id != trial.target.signer]
    doubt = said(DOUBTER, closed, trial, "unsure", NOT_SHOWN)
    sound = [said(judge, closed, trial, "pass") for judge in judges[:5]]
    assert of_refutation([doubt, *sound[:4]], ids(PEOPLE)) == []
    assert of_refutation([doubt, *sound], ids(PEOPLE[:1])) == []
    [found] = of_refutation([doubt, *sound], ids(PEOPLE))
    assert (found.peer, found.context, found.term, found.record) == (
        DOUBTER.peer_id,
        "audit",
        "refuted",
        doubt.id,
    )
    assert found.teller == "", "it rests on a majority, on nobody's word"
    assert of_refutation([said(DOUBTER, closed, trial, "fail"), *sound], ids(PEOPLE)) == [], "that is a case"
