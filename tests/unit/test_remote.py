"""Standing from outside: the node's figures from records alone, and what lying members can do about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dhtnode.observer.evidence as evidence_module
from dhtnode.app.shards import Shards
from dhtnode.app.standing import Standing
from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, InnerSection, Manifest, OuterSection
from dhtnode.observer.chains import Chosen, link_fault
from dhtnode.observer.evidence import Evidence
from dhtnode.observer.folding import Folding, Model
from dhtnode.observer.page import UNKNOWN_IF_PRIVATE, Seen, document, page
from dhtnode.records import Signed, canonical, sign
from dhtnode.status import Status, SwarmPart
from dhtnode.store import Store
from rewards.book import Book
from rewards.data import SKETCH_BYTES, Registration
from rewards.disclosure import START, Place, Shown
from rewards.entries import ANY_HEAD, Kind, raw_key, unpacked
from rewards.ledger import rules_of
from rewards.statement import account_of, changes_of
from tests.unit.outsiders import HISTORY, MODEL, PARAMETERS, PEOPLE, TERMS, folded, records_of, shown_by
from tests.unit.parties import CHUNKS, SWARM, certified, commit, ids, people
from tests.unit.rounds import history, next_round, passed
from training.chain import found
from training.events import Adopt
from training.in_force import TermsInForce
from validation.cases import equivocation_case
from validation.messages import Verdict

ME, WORKER, OTHER, LATE = PEOPLE
ALL = records_of(HISTORY)
STRANGERS = people(12)[8:]


def verdicts() -> list[Signed[Verdict]]:
    """Three of four members have judged others' work."""
    return [
        passed(judge, closed, next(one for one in closed.works if one.signer == worker.peer_id))
        for judge, worker, closed in (
            (ME, WORKER, HISTORY[-1]),
            (WORKER, ME, HISTORY[-1]),
            (OTHER, ME, HISTORY[-2]),
        )
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "node.sqlite") as opened:
        yield opened


def standing(store: Store, adopted: Sequence[Adopt]) -> Standing:
    """A node that went through all this."""
    in_force = TermsInForce(TERMS)
    node = Standing(*(store, in_force, SWARM, ME), parameters=PARAMETERS, sizes_K=[256] * CHUNKS)
    for one in adopted:
        node.adopted(one, None)
    return node


def test_an_outsider_comes_to_the_node_s_own_account(store: Store) -> None:
    node = standing(store, HISTORY)
    case = equivocation_case(
        commit(OTHER, HISTORY[4].certificate.head), commit(OTHER, HISTORY[4].certificate.head, tokens=1)
    )
    for verdict in verdicts():
        node.judged(verdict)
    node.convicted(case)
    seen = folded(shown_by([*ALL, *verdicts(), case]))
    ledger, key = seen.ledger(raw_key(ME.peer_id)), raw_key(ME.peer_id)
    assert account_of(ledger, key, seen.number, seen.missing_rounds) == node.rewards()
    assert seen.entries.root == Book(store, rules_of(TERMS, PARAMETERS)).root()
    assert len(seen.verdicts) == 3
    assert seen.cases[OTHER.peer_id].id == case.id
    assert changes_of(ledger, seen.number)
    assert [one.body.round for one in seen.receipts(ME.peer_id)] == [0, 1, 2, 3, 4, 5]


def test_late_work_and_verdicts_on_verdicts_are_booked_as_a_node_books_them(store: Store) -> None:
    late = next_round(HISTORY[3].certificate.head, PEOPLE, late=[LATE])
    work = next(one for one in late.works if one.signer == WORKER.peer_id)
    first = passed(OTHER, late, work)
    again = passed(
        ME, late, work, about="audit", target=first.id, worker=OTHER.peer_id, replayed=digest("again")
    )
    node = standing(store, [*HISTORY[:4], late])
    node.judged(first)
    node.judged(again)
    seen = folded(shown_by([*records_of([*HISTORY[:4], late]), again, first]))
    assert {one.id for one in seen.verdicts} == {first.id, again.id}
    assert seen.entries.root == Book(store, rules_of(TERMS, PARAMETERS)).root()
    assert len(seen.receipts(LATE.peer_id)) == 3, "not the round that it was late in"


def test_registered_data_is_paid_as_a_node_pays_it_and_a_strangers_is_not(store: Store) -> None:
    """Private data of two members that round 1 dates. Somebody who was in no round claims a hundred times as
    much, and a member says afterwards that it had more in that round.
    """
    shards = [shard(ME, 1_000), shard(OTHER, 3_000)]
    undated = [shard(STRANGERS[0], 400_000), shard(OTHER, 400_000)]
    adopted = HISTORY[:2]
    for named in ({one.signer: one.id for one in shards}, {}, {}, {}):
        adopted = [*adopted, next_round(adopted[-1].certificate.head, PEOPLE, dated=named)]
    node = standing(store, adopted)
    board = Shards(*(store, ME, SWARM, TERMS.data, b""), node, lambda: adopted[-1].certificate.head)
    taken = [board.take(one, None) for one in (*shards, undated[0])]
    assert taken == [True, True, False]
    with pytest.raises(RemoteProtocolError, match="does not name it"):
        board.take(undated[1], None)
    seen = folded(shown_by([*records_of(adopted), *shards, *undated]))
    assert seen.entries.root == Book(store, rules_of(TERMS, PARAMETERS)).root()
    key = raw_key(ME.peer_id)
    account = account_of(seen.ledger(key), key, seen.number, seen.missing_rounds)
    assert account.by_term["data"] > 0
    assert account == node.rewards()


def test_data_of_a_round_that_nobody_shows_any_more_is_its_signers_word() -> None:
    """As for a node that came later; of a round in between that is held back, nothing is believed."""
    hidden = {HISTORY[1].certificate.id, HISTORY[2].certificate.id, HISTORY[4].results[0].id}
    claims = [shard(ME, 1_000, round_no=0), shard(OTHER, 3_000, round_no=3), shard(LATE, 2_000, round_no=5)]
    shown = [one for one in ALL if one.id not in hidden]
    seen = folded(shown_by([*shown, *claims]))
    assert set(seen.rounds) == {2, 4, 5}
    booked = {entry.record: entry.head for entry in unpacked(seen.entries.packed) if entry.kind == Kind.SHARD}
    assert booked == {claims[0].id: ANY_HEAD}


def shard(who: Identity, tokens: int, round_no: int = 1) -> Signed[Registration]:
    wish: dict[str, Any] = {
        "round": round_no,
        "tokens": tokens,
        "sketch": bytes([tokens % 251]) * SKETCH_BYTES,
    }
    body = Registration(domain="law", first=0, chunks=0, salt=bytes(16), **wish)
    return sign(who, SWARM, body)


@settings(max_examples=10)
@given(st.lists(st.integers(0, 2), min_size=len(ALL) + 3, max_size=len(ALL) + 3))
def test_what_one_member_holds_back_another_shows(given_to: list[int]) -> None:
    everything: list[Shown] = [*ALL, *verdicts()]
    shares: list[list[Shown]] = [[HISTORY[-1].certificate] for _ in range(3)]
    for one, member in zip(everything, given_to, strict=True):
        if one.id != HISTORY[-1].certificate.id:
            shares[member].append(one)
    assert folded(shown_by(*shares)).entries.root == folded(shown_by(everything)).entries.root


def test_the_order_in_which_members_are_read_changes_nothing() -> None:
    everything: list[Shown] = [*ALL, *verdicts()]
    one, other = folded(shown_by(ALL, everything)), folded(shown_by(everything, ALL[:1]))
    assert one.entries.root == other.entries.root


# What members hold back


def test_a_round_of_which_a_record_is_held_back_is_missing_and_counted() -> None:
    hidden = HISTORY[3].results[0]
    seen = folded(shown_by([one for one in ALL if one.id != hidden.id]))
    assert seen.missing_rounds == 1
    assert set(seen.rounds) == {0, 1, 3, 4, 5}


def test_who_shows_less_than_others_is_named_with_how_much() -> None:
    cut = [one for one in ALL if one.id not in {HISTORY[2].results[0].id, HISTORY[4].certificate.id}]
    honest, miser = sorted_parts(page_of(shown_by([*ALL, *verdicts()], cut)))
    assert (honest.lacking_rounds, honest.lacking_verdicts, honest.fault) == (0, 0, "")
    assert (miser.lacking_rounds, miser.lacking_verdicts, miser.fault) == (2, 3, "")


def test_who_holds_back_the_case_against_itself_is_named_too() -> None:
    head = HISTORY[5].certificate.head
    case = equivocation_case(commit(WORKER, head), commit(WORKER, head, tokens=1))
    seen = page_of(shown_by([*ALL, case], ALL))
    assert WORKER.peer_id in seen.audits.excluded
    assert [part.lacking_verdicts for part in sorted_parts(seen)] == [0, 1]


# What members make up


def forged(record: Signed[Any]) -> bytes:
    return record.wire[:-1] + bytes([record.wire[-1] ^ 1])


def a_page(*wires: bytes, **more: Any) -> bytes:
    return canonical({"records": list(wires), "next": None, **more})


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (a_page(forged(HISTORY[1].works[0])), "bad-signature"),
        (a_page(sign(ME, bytes(32), HISTORY[1].works[0].body).wire), "bad-signature"),
        (a_page(HISTORY[1].works[0].wire, HISTORY[1].works[0].wire), "bad-page"),
        (a_page(HISTORY[2].certificate.wire, HISTORY[1].certificate.wire), "bad-page"),
        (a_page(HISTORY[2].certificate.wire, next={"round": 1, "id": bytes(32)}), "bad-page"),
        (a_page(certified(PEOPLE[:1], HISTORY[2].certificate.head).wire), "bad-certificate"),
        (a_page(b"\x93\x01\x02\x03"), "bad-case"),
        (b"junk", "bad-page"),
        (bytes(2**19), "bad-page"),
    ],
)
def test_what_no_honest_member_shows_names_who_shows_it_and_changes_nothing(wire: bytes, reason: str) -> None:
    evidence = shown_by(ALL)
    before = folded(evidence).entries.root
    with pytest.raises(RemoteProtocolError) as refused:
        evidence.take(OTHER.peer_id, START, wire)
    assert (refused.value.peer, refused.value.reason) == (OTHER.peer_id, reason)
    assert evidence.faults[OTHER.peer_id].reason == reason
    assert folded(evidence).entries.root == before


@given(st.binary(max_size=300))
def test_junk_ends_in_one_kind_of_error(junk: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Evidence(SWARM).take(ME.peer_id, Place(round=0), junk)


def test_a_round_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_module, "MAX_OF_ROUND", 5)
    with pytest.raises(RemoteProtocolError, match="too-much"):
        shown_by(ALL)


def test_a_million_records_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_module, "MAX_RECORDS", 12)
    with pytest.raises(RemoteProtocolError, match="too-much"):
        shown_by(ALL)


def test_records_that_no_certified_head_leads_to_earn_nothing() -> None:
    head = HISTORY[3].certificate.head
    made_up = [commit(someone, head, tokens=10**9) for someone in STRANGERS]
    more = [commit(WORKER, head, tokens=10**9)]
    assert folded(shown_by([*ALL, *made_up, *more])).entries.root == folded(shown_by(ALL)).entries.root


@pytest.mark.parametrize(
    "changes",
    [
        {"preimage": digest("not its own")},
        {"base": digest("a head that nobody knows")},
        {"target": digest("a record that nobody knows")},
        {"worker": OTHER.peer_id},
        {"distance": 5},
    ],
)
def test_a_verdict_that_nodes_refuse_counts_for_nothing_here_either(changes: dict[str, Any]) -> None:
    bad = passed(ME, HISTORY[-1], HISTORY[-1].works[-1], **changes)
    seen = folded(shown_by([*ALL, bad]))
    assert seen.verdicts == []
    assert seen.entries.root == folded(shown_by(ALL)).entries.root


def test_a_judge_that_contradicts_itself_is_out_although_no_member_shows_a_case() -> None:
    closed = HISTORY[-1]
    work = next(one for one in closed.works if one.signer != OTHER.peer_id)
    both = [passed(OTHER, closed, work), passed(OTHER, closed, work, outcome="fail")]
    assert folded(shown_by([*ALL, *both])).cases[OTHER.peer_id].charge == "equivocation"


def test_a_majority_s_verdicts_put_a_cheat_out_although_no_member_shows_a_case() -> None:
    closed = HISTORY[-1]
    work = next(one for one in closed.works if one.signer == WORKER.peer_id)
    said = [passed(judge, closed, work, outcome="fail") for judge in (ME, OTHER, LATE)]
    seen = folded(shown_by([*ALL, *said]))
    assert seen.cases[WORKER.peer_id].charge == "work"
    balances = {one.key: one for one in seen.ledger().balances(seen.number)}
    assert balances[raw_key(WORKER.peer_id)].burned > 0


# Chains


def test_a_made_up_chain_of_more_tokens_loses_against_where_more_members_stand() -> None:
    made_up = history(9, STRANGERS)
    assert made_up[-1].certificate.head.tokens > HISTORY[-1].certificate.head.tokens
    evidence = shown_by(ALL, records_of(made_up), ALL[:20])
    chosen = Chosen(evidence.heads, evidence.stands)
    assert chosen.newest.id == HISTORY[-1].certificate.id
    assert chosen.elsewhere == [WORKER.peer_id]
    assert folded(evidence).entries.root == folded(shown_by(ALL)).entries.root


def test_members_that_a_liar_made_up_do_not_outweigh_those_that_the_user_has_named() -> None:
    made_up = records_of(history(9, STRANGERS))
    evidence = shown_by(ALL, made_up, made_up, made_up)
    assert Chosen(evidence.heads, evidence.stands).elsewhere == [ME.peer_id]
    chosen = Chosen(evidence.heads, evidence.stands, {ME.peer_id})
    assert chosen.newest.id == HISTORY[-1].certificate.id


def test_members_some_rounds_apart_stand_on_one_chain() -> None:
    evidence = shown_by(records_of(HISTORY[:3]), ALL, records_of(HISTORY[:5]))
    chosen = Chosen(evidence.heads, evidence.stands)
    assert chosen.newest.id == HISTORY[-1].certificate.id
    assert chosen.elsewhere == []
    assert set(chosen.followed) == set(range(6))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"members": ids(STRANGERS), "votes": (0,) * 4}, "no electors after it"),
        ({"number": 9}, "ends with head 9"),
        ({"branch": digest("elsewhere")}, "another branch"),
        ({"marks": 1}, "another branch"),
    ],
)
def test_a_head_that_honest_electors_do_not_make_names_who_stands_on_it(
    changes: dict[str, Any], why: str
) -> None:
    good = next_round(HISTORY[-1].certificate.head, PEOPLE).certificate.head
    head = msgspec.structs.replace(good, **changes)
    persons = STRANGERS if "members" in changes else PEOPLE
    false = certified([person for person in persons if person.peer_id in head.members], head)
    evidence = shown_by([*ALL, false], ALL)
    chosen = Chosen(evidence.heads, evidence.stands)
    assert why in chosen.faults[ME.peer_id].detail
    assert chosen.newest.id == HISTORY[-1].certificate.id
    alone = shown_by([*ALL, false])
    with pytest.raises(RemoteProtocolError, match="bad-chain"):
        Chosen(alone.heads, alone.stands)


def test_tokens_that_were_accepted_stay_so() -> None:
    before = HISTORY[-1].certificate.head
    good = next_round(before, PEOPLE).certificate.head
    assert link_fault(before, good) is None
    fewer = msgspec.structs.replace(good, tokens=before.tokens - 1)
    assert link_fault(before, fewer) == "accepted tokens went down"


def test_a_founding_after_a_stall_goes_on_from_where_the_chain_stood() -> None:
    before = HISTORY[-1].certificate.head
    alone = Adopt(found(ME, SWARM, before, before.state), ())
    then = next_round(alone.certificate.head, [ME])
    seen = folded(shown_by(records_of([*HISTORY, alone, then])))
    assert seen.missing_rounds == 0
    assert len(seen.receipts(ME.peer_id)) == 7
    assert len(seen.receipts(WORKER.peer_id)) == 6


# The page


def manifest(**changes: Any) -> Manifest:
    chosen = msgspec.structs.replace(TERMS, format=FORMAT, creator=ME.peer_id, **changes)
    return Manifest(chosen, bytes(64))


def page_of(evidence: Evidence, key: str = ME.peer_id, of: Manifest | None = None) -> Status:
    swarm = of or manifest()
    seen = Seen(
        at_s=1.0,
        answered=frozenset(evidence.shown_by),
        presences={},
        opinions=[],
        faults=list(evidence.faults.values()),
        notices=(),
    )
    chosen = Chosen(evidence.heads, evidence.stands)
    return page(swarm, key, evidence, chosen, Folding(evidence, chosen, swarm.terms, MODEL), seen)


def sorted_parts(status: Status) -> list[Any]:
    """What members have shown, in the order in which `shown_by` has asked them."""
    order = ids(PEOPLE)
    return sorted(status.outside.shown if status.outside else (), key=lambda part: order.index(part.peer))


def test_the_page_has_the_keys_of_a_node_s_and_null_for_what_no_outsider_knows() -> None:
    plain = document(page_of(shown_by([*ALL, *verdicts()])))
    empty = Status(running=True, saved_at_s=0.0, version="", swarm=SwarmPart(id="", name=""), peer_id="")
    node = msgspec.to_builtins(empty)
    assert plain.keys() == node.keys()
    for part in ("round", "training", "audits", "reputation", "rewards", "receipts"):
        assert plain[part].keys() == node[part].keys() or part == "rewards"
    assert plain["storage"] is plain["traffic"] is plain["round"]["phase"] is None
    assert plain["training"]["utilisation"] is plain["audits"]["replay_s"] is None
    assert plain["audits"]["of_me"] == {"passed": 2, "unsure": 0, "failed": 0}
    assert plain["audits"]["by_me"] == {"passed": 1, "unsure": 0, "failed": 0}
    assert plain["receipts"] == {"rounds": 6, "tokens": 480, "last_round": 5, "share_ppm": 250_000}
    assert plain["training"]["loss"] == 1.0


def test_a_private_swarm_s_page_says_that_its_data_are_unverified_and_nothing_of_suspicion() -> None:
    private = manifest(data=msgspec.structs.replace(TERMS.data, mode="private", digest=None))
    status = page_of(shown_by([*ALL, *verdicts()]), of=private)
    assert status.plausibility is not None
    assert status.audits.of_me.passed == 0, "nothing is replayed in such a swarm"
    plausibility = document(status)["plausibility"]
    assert set(plausibility.values()) == {None}
    assert len(plausibility) == len(UNKNOWN_IF_PRIVATE)


def test_a_fault_is_on_the_page_beside_the_name_of_who_showed_it() -> None:
    evidence = shown_by(ALL)
    with pytest.raises(RemoteProtocolError):
        evidence.take(
            OTHER.peer_id, START, a_page(HISTORY[0].certificate.wire, forged(HISTORY[1].results[0]))
        )
    status = page_of(evidence)
    assert sorted_parts(status)[1].fault.startswith("bad-signature")
    assert status.rejected_by_peer == {OTHER.peer_id: {"bad-signature": 1}}


@pytest.mark.parametrize(
    ("inner", "momentum", "length", "model"),
    [
        (InnerSection(), 0.9, 8 * 1000, Model(1000, 1000)),
        (InnerSection(), 0.0, 4 * 1000, Model(1000, 1000)),
        (InnerSection(moments="averaged"), 0.9, 16 * 1000, Model(1000, 3000)),
        (InnerSection(), 0.9, 8 * 1000 + 4, None),
        (InnerSection(), 0.9, 0, None),
    ],
)
def test_a_state_s_length_tells_the_model_s_size(
    inner: InnerSection, momentum: float, length: int, model: Model | None
) -> None:
    terms = msgspec.structs.replace(TERMS, inner=inner, outer=OuterSection(momentum=momentum))
    assert Model.of_state(terms, length) == model
