"""What a node books where a newcomer that somebody has answered for is found false, and keeps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import msgspec
import pytest

from dhtnode.app.standing import Standing
from dhtnode.identity import Identity
from dhtnode.manifest import Terms
from dhtnode.records import Body, Signed, sign
from dhtnode.reputation import ReputationSection
from dhtnode.reward import RewardSection
from dhtnode.store import Store
from rewards.accounts import Account
from rewards.book import Book
from rewards.entries import Kind, raw_key, unpacked
from rewards.ledger import rules_of
from tests.unit.outsiders import folded, records_of, shown_by
from tests.unit.parties import CHUNKS, SWARM, commit, core, people, person, terms
from tests.unit.rounds import founding, next_round
from training.chain import Certificate
from training.events import Adopt, RecordArrived
from training.in_force import TermsInForce
from training.messages import WHOLE
from validation.cases import Case, equivocation_case, majority_case
from validation.events import CaseShown, Convict, Vouched
from validation.messages import Verdict
from validation.voucher import Voucher

FIRST = people(4)
ME, OTHER, ANSWERING, HALF = FIRST
NEWCOMER = person(20)
TERMS = msgspec.structs.replace(
    terms(),
    reward=RewardSection(epoch_rounds=4, vesting_rounds=40, compute_micro=10**9),
    reputation=ReputationSection(entry_bits=8, probation_rounds=3, voucher_micro=5, open_rounds=8),
)
BOND = 7
VOTES = {ME.peer_id: WHOLE, OTHER.peer_id: WHOLE, ANSWERING.peer_id: WHOLE, HALF.peer_id: 1}
PARAMETERS = 10**6


def history(rounds: int, joins: int) -> list[Adopt]:
    """A founding and rounds of four, from one on with the newcomer."""
    adopted = [founding(ME)]
    for number in range(rounds):
        members = [*FIRST, NEWCOMER] if number >= joins else FIRST
        adopted.append(next_round(adopted[-1].certificate.head, members, halves=VOTES))
    return adopted


HISTORY = history(10, joins=3)


def voucher(by: Identity = ANSWERING, round_no: int = 3, bond: int = BOND) -> Signed[Voucher]:
    return sign(by, SWARM, Voucher(round=round_no, newcomer=NEWCOMER.peer_id, bond_micro=bond))


def false_in(round_no: int) -> Case:
    """A majority says that the newcomer's work of a round is false."""
    closed = HISTORY[round_no + 1]
    work = next(one for one in closed.works if one.signer == NEWCOMER.peer_id)
    return majority_case(closed.certificate, work, [said(judge, closed.certificate, work) for judge in FIRST])


def said(judge: Identity, certificate: Certificate, work: Signed[Body]) -> Signed[Verdict]:
    verdict = Verdict(
        round=certificate.head.number - 1,
        base=certificate.id,
        about="work",
        target=work.id,
        worker=work.signer,
        outcome="fail",
        distance=None,
        role="jury",
        preimage=bytes(32),
        replayed=bytes(32),
        device="cpu/unit",
    )
    return sign(judge, SWARM, verdict)


class Node:
    """What a node keeps of all this."""

    def __init__(self, store: Store, swarm_terms: Terms = TERMS) -> None:
        self.store = store
        self.standing = Standing(
            *(store, TermsInForce(swarm_terms), SWARM, ME), parameters=PARAMETERS, sizes_K=[256] * CHUNKS
        )
        self.core = core(ME, swarm_terms, self.standing.bonds)

    def go(self, *adopted: Adopt) -> Node:
        for effect in adopted:
            number = effect.certificate.head.number
            self.core.holdings.begin(number)
            self.standing.adopted(effect, self.core)
            self.core.vouchers.begin(number, self.core.holdings.since)
            self.core.member.certificate = effect.certificate
        return self

    def hear(self, *heard: Signed[Voucher] | Case) -> Node:
        """Records, as they come from neighbours."""
        for one in heard:
            event = CaseShown(one) if isinstance(one, Case) else RecordArrived(one, OTHER.peer_id)
            for effect in self.core.on(event, 0.0):
                if isinstance(effect, Vouched):
                    self.standing.vouched(effect.voucher)
                elif isinstance(effect, Convict):
                    self.standing.convicted(effect.case)
        return self

    def account(self, of: Identity) -> Account:
        account = self.standing._balances.member(of.peer_id)
        assert account is not None
        return account

    @property
    def root(self) -> bytes:
        return Book(self.store, rules_of(TERMS, PARAMETERS)).root()

    @property
    def bonds(self) -> list[tuple[int, bytes]]:
        """Round and voucher of each that is booked."""
        packed = self.store.entries(b"", b"\xff" * 8)
        return [(one.round, one.record) for one in unpacked(packed) if one.kind == Kind.BOND]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Store]]:
    opened = [Store.open(tmp_path / f"{number}.db") for number in range(6)]
    yield opened
    for store in opened:
        store.close()


def test_a_newcomers_fault_on_probation_burns_the_bond(stores: list[Store]) -> None:
    node = Node(stores[0]).go(*HISTORY[:6]).hear(voucher())
    assert node.core.vouchers.by(NEWCOMER.peer_id) == voucher()
    before = node.account(ANSWERING).stake.at_stake
    node.hear(false_in(4))
    assert node.bonds == [(4, voucher().id)]
    after = node.account(ANSWERING)
    assert (after.stake.burned, after.stake.at_stake, after.lost) == (
        BOND,
        before - BOND,
        {raw_key(NEWCOMER.peer_id)},
    )
    assert node.core.vouchers.by(NEWCOMER.peer_id) is None
    assert node.standing.bonds.has_lost(ANSWERING.peer_id)


def test_all_have_one_ledger_whatever_came_first(stores: list[Store]) -> None:
    heard: list[Signed[Voucher] | Case] = [voucher(), voucher(OTHER, 2), false_in(4)]
    nodes = [
        Node(store).go(*HISTORY[:6]).hear(*order)
        for store, order in zip(stores, permutations(heard), strict=True)
    ]
    assert len({node.root for node in nodes}) == 1
    assert sorted(nodes[0].bonds) == sorted([(4, voucher().id), (4, voucher(OTHER, 2).id)])
    assert len({tuple(node.core.vouchers.held) for node in nodes}) == 1
    assert all(node.account(OTHER).lost and node.account(ANSWERING).lost for node in nodes)


def test_what_comes_before_its_round_has_closed_is_booked_when_it_has(stores: list[Store]) -> None:
    early = Node(stores[0]).go(*HISTORY[:5]).hear(voucher())
    early.standing.convicted(false_in(4))
    assert early.bonds == []
    early.go(HISTORY[5])
    late = Node(stores[1]).go(*HISTORY[:6]).hear(voucher(), false_in(4))
    assert early.root == late.root
    assert early.bonds == [(4, voucher().id)]


def test_a_fault_after_probation_costs_nobody_else(stores: list[Store]) -> None:
    node = Node(stores[0]).go(*HISTORY).hear(voucher(), false_in(6))
    assert node.core.vouchers.lets_in(NEWCOMER.peer_id) is False, "it was found false"
    assert node.bonds, "it is in the set: the fold says that it counts for nothing"
    assert node.account(ANSWERING).lost == set()
    assert node.account(ANSWERING).stake.burned == 0


def test_when_probation_is_served_its_member_may_answer_for_another(stores: list[Store]) -> None:
    node = Node(stores[0]).go(*HISTORY[:6]).hear(voucher())
    assert node.core.vouchers.open_of(ANSWERING.peer_id) == [voucher()]
    node.go(*HISTORY[6:9])
    assert node.standing.bonds.has_served(NEWCOMER.peer_id)
    assert node.core.vouchers.open_of(ANSWERING.peer_id) == []
    assert node.core.gate.may_enter(NEWCOMER.peer_id), "who has served needs nobody's word"


@pytest.mark.parametrize(
    "given",
    [voucher(HALF), voucher(person(99)), voucher(round_no=0), voucher(round_no=8)],
    ids=["half a vote", "a stranger", "before there were votes", "a round to come"],
)
def test_only_who_had_a_whole_vote_in_that_round_is_heard(
    stores: list[Store], given: Signed[Voucher]
) -> None:
    node = Node(stores[0]).go(*HISTORY[:6]).hear(given, false_in(4))
    assert node.core.vouchers.held == []
    assert node.bonds == []
    assert given.id not in node.core.holdings.tree


def test_more_than_the_stake_lets_nobody_in_and_burns_what_there_is(stores: list[Store]) -> None:
    node = Node(stores[0]).go(*HISTORY[:6])
    stake = node.standing.bonds.stake_micro(ANSWERING.peer_id)
    assert stake
    node.hear(voucher(bond=stake + 1))
    assert not node.core.gate.may_enter(NEWCOMER.peer_id)
    node.hear(false_in(4))
    assert node.account(ANSWERING).stake.burned > 0
    assert node.account(ANSWERING).lost


def test_who_contradicts_itself_costs_the_bond_in_whatever_round_it_says(stores: list[Store]) -> None:
    founded = HISTORY[0].certificate.head
    pair = commit(NEWCOMER, founded), commit(NEWCOMER, founded, tokens=81)
    node = Node(stores[0]).go(*HISTORY[:6]).hear(voucher(), equivocation_case(*pair))
    assert node.bonds == [(3, voucher().id)]
    assert node.account(ANSWERING).stake.burned == BOND


def test_a_restart_changes_nothing(stores: list[Store]) -> None:
    before = Node(stores[0]).go(*HISTORY[:6]).hear(voucher(), voucher(OTHER, 2))
    held, root = before.core.vouchers.held, before.core.holdings.held
    again = Node(stores[0])
    again.standing.restore(again.core, [])
    again.standing.stand_on(HISTORY[5].certificate)
    assert again.core.vouchers.held == held
    assert again.core.holdings.held == root
    assert again.core.gate.may_enter(NEWCOMER.peer_id)
    again.core.member.certificate = HISTORY[5].certificate
    again.hear(false_in(4))
    assert len(again.bonds) == 2

    once_more = Node(stores[0])
    once_more.standing.restore(once_more.core, [false_in(4)])
    once_more.core.remember([false_in(4)])
    once_more.standing.stand_on(HISTORY[5].certificate)
    assert once_more.bonds == again.bonds
    assert not once_more.core.gate.may_enter(NEWCOMER.peer_id)
    assert once_more.standing.bonds.has_lost(OTHER.peer_id)


@pytest.mark.parametrize("given", [voucher(), voucher(HALF)], ids=["burns", "worth nothing"])
def test_an_outsider_folds_the_same_from_what_members_show(
    stores: list[Store], given: Signed[Voucher]
) -> None:
    node = Node(stores[0]).go(*HISTORY[:6]).hear(given, false_in(4))
    evidence = shown_by([*records_of(HISTORY[:6]), given, false_in(4)])
    outside = folded(evidence, TERMS)
    assert outside.entries.root == node.root
    assert (given.id in outside.used) == bool(node.bonds)
    account = outside.ledger().account(raw_key(ANSWERING.peer_id))
    assert (account.stake.burned, account.lost) == (
        node.account(ANSWERING).stake.burned,
        node.account(ANSWERING).lost,
    )


def test_what_is_too_old_to_be_compared_goes_from_the_store(stores: list[Store]) -> None:
    node = Node(stores[0]).go(*HISTORY[:6]).hear(voucher())
    assert voucher().id in node.core.holdings.tree
    longer = history(20, joins=3)
    node.go(*longer[6:17])
    assert node.core.vouchers.held == []
    assert voucher().id not in node.core.holdings.tree
    assert stores[0].all_records(Voucher.KIND) == []


def test_another_branch_knows_nothing_of_a_vote_on_this_one(stores: list[Store]) -> None:
    node = Node(stores[0]).go(*HISTORY[:6]).hear(voucher())
    node.standing.adopted(founding(OTHER), node.core)
    assert node.core.vouchers.held == []
    assert node.core.holdings.tree.root == Node(stores[1]).core.holdings.tree.root
