"""What is kept of all that is said on a round depends on what was said, not on who heard what first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.identity import Identity
from dhtnode.records import Signed, sign
from tests.unit.parties import SWARM, people
from validation.cases import is_whole
from validation.kept import MAX_SPARE, Kept
from validation.messages import Verdict

PEOPLE = people(4)
MODEST, *OTHERS = PEOPLE
MOST = 3


def said_by(judge: Identity, **changes: Any) -> Signed[Verdict]:
    plain: dict[str, Any] = {
        "round": 7,
        "base": digest("head"),
        "about": "work",
        "target": digest("work"),
        "worker": PEOPLE[-1].peer_id,
        "outcome": "pass",
        "distance": None,
        "role": "audit",
        "preimage": digest("preimage"),
        "replayed": digest("replayed"),
        "device": "cpu/unit",
    }
    return sign(judge, SWARM, Verdict(**{**plain, **changes}))


def on(judge: Identity, audit: Signed[Verdict], **changes: Any) -> Signed[Verdict]:
    return said_by(judge, about="audit", target=audit.id, worker=audit.signer, **changes)


ONE_EACH = [
    said_by(MODEST, target=digest("work", 0)),
    said_by(MODEST, target=digest("part"), about="reduction"),
    said_by(MODEST, target=digest("part"), about="reduction", role="jury"),
]
MANY = [
    said_by(judge, target=digest("work", number), distance=distance)
    for judge in OTHERS
    for number in range(2)
    for distance in range(4)
]
ON_RECORDS = [*ONE_EACH, *MANY]
BY_MODEST = [on(MODEST, audit) for audit in MANY[:MOST]]
ON_VERDICTS = BY_MODEST + [
    on(judge, audit, role=role)
    for judge in OTHERS
    for audit in ON_RECORDS[::2]
    if audit.signer != judge.peer_id
    for role in ("audit", "jury")
]
SAID = [*ON_RECORDS, *ON_VERDICTS]
PLACES = st.lists(st.integers(0, len(SAID) - 1), unique=True)


def tell(kept: Kept, said: Iterable[Signed[Verdict]]) -> None:
    """Say all of it, in this order; neighbours show again what was of no use when it came first."""
    before = None
    while before != kept.verdicts.keys():
        before = set(kept.verdicts)
        for verdict in said:
            if verdict.body.about != "audit":
                change = kept.add(verdict)
            elif (audited := kept.find(verdict.body.target, verdict.body.worker)) is not None:
                change = kept.add_on(audited, verdict)
            else:
                continue
            assert {one.id for one in change.taken} <= kept.verdicts.keys()
            assert not {one.id for one in change.dropped} & kept.verdicts.keys()


def expected(said: Iterable[Signed[Verdict]]) -> set[bytes]:
    """The rule, word by word."""
    everything = {verdict.id: verdict for verdict in said}
    least: dict[tuple[str, bytes, bool], bytes] = {}
    by_signer: dict[str, list[Signed[Verdict]]] = {}
    for id_, verdict in sorted(everything.items()):
        if verdict.body.about != "audit":
            least.setdefault((verdict.signer, verdict.body.target, is_whole(verdict)), id_)
        elif verdict.body.target in everything:
            by_signer.setdefault(verdict.signer, []).append(verdict)
    smallest = [verdict for own in by_signer.values() for verdict in own[:MOST]]
    judged = {verdict.body.target for verdict in smallest}
    return {*least.values(), *judged, *(verdict.id for verdict in smallest)}


def told(said: Sequence[Signed[Verdict]]) -> Kept:
    kept = Kept(MOST)
    tell(kept, said)
    return kept


def some(places: Iterable[int]) -> list[Signed[Verdict]]:
    """Of all that is said; what is about a verdict that nobody has is no use to anybody."""
    said = [SAID[place] for place in places]
    here = {verdict.id for verdict in said}
    return [verdict for verdict in said if verdict.body.about != "audit" or verdict.body.target in here]


@given(PLACES)
def test_in_whatever_order_it_comes_the_same_is_kept(places: list[int]) -> None:
    said = some(places)
    assert told(said).verdicts.keys() == told(said[::-1]).verdicts.keys() == expected(said)


@given(PLACES, PLACES, PLACES)
def test_who_shows_others_what_it_keeps_has_told_them_everything(
    one: list[int], other: list[int], third: list[int]
) -> None:
    first, second, last = (told(some(places)) for places in (one, other, third))
    tell(second, first.verdicts.values())
    tell(last, second.verdicts.values())
    assert last.verdicts.keys() == expected([*some(one), *some(other), *some(third)])
    tell(first, last.verdicts.values())
    assert first.verdicts.keys() == last.verdicts.keys()
    before = dict(first.verdicts)
    tell(first, first.verdicts.values())
    assert first.verdicts == before


@given(st.permutations(range(len(SAID))))
def test_who_says_no_more_than_is_kept_loses_nothing_by_what_others_say(places: list[int]) -> None:
    kept = told(some(places))
    assert {verdict.id for verdict in (*ONE_EACH, *BY_MODEST)} <= kept.verdicts.keys()
    assert {verdict.body.target for verdict in BY_MODEST} <= kept.verdicts.keys(), "with what they are about"
    assert not kept.has_room(MODEST.peer_id)


def test_what_is_not_kept_takes_up_little_room() -> None:
    kept = Kept(MOST)
    said = [said_by(MODEST, distance=distance) for distance in range(3 * MAX_SPARE)]
    tell(kept, said)
    assert kept.verdicts.keys() == {min(verdict.id for verdict in said)}
    found = [verdict for verdict in said if kept.find(verdict.id, MODEST.peer_id)]
    assert len(found) == MAX_SPARE + 1
