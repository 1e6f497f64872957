"""The ledger on the disk says what the ledger in memory says, and reads little to say it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.store import Store
from rewards.book import Book, FoldedAwayError
from rewards.data import Claim, Registry
from rewards.entries import ANY_HEAD, EntrySet, Kind, epoch_of, unpacked
from rewards.ledger import DATA, Ledger
from rewards.snapshot import balances_digest
from tests.unit.bookings import (
    FOLLOWED,
    KEYS,
    OTHER_BRANCH,
    ROUNDS,
    RULES,
    SECTION,
    before,
    case,
    fold,
    histories,
    reduction,
    work,
)

EPOCH = SECTION.epoch_rounds
STEADY = [work(round_no, who).packed for round_no in range(ROUNDS) for who in range(3)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "node.db") as store:
        yield store


class Spy(Book):
    """Notes which epochs are read from the disk."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, RULES)
        self.read: list[int] = []

    def entries(self, epoch: int) -> bytes:
        self.read.append(epoch)
        return super().entries(epoch)


@settings(max_examples=25)
@given(st.lists(histories, max_size=4))
def test_the_disk_agrees_with_memory(pieces: list[list[bytes]]) -> None:
    with TemporaryDirectory() as folder, Store.open(Path(folder) / "node.db") as store:
        book, memory = Book(store, RULES), EntrySet(EPOCH)
        for piece in pieces:
            assert book.add(piece) == memory.add(piece)
            assert book.root() == memory.root
            assert balances_digest(book.ledger(FOLLOWED)) == balances_digest(fold(memory.packed))


def test_a_known_root_is_loaded_without_the_entries(store: Store) -> None:
    Book(store, RULES).add(STEADY)
    first = Book(store, RULES).root()
    cold = Spy(store)
    assert cold.root() == first
    assert cold.read == []


def test_a_new_entry_costs_the_digest_of_its_own_epoch(store: Store) -> None:
    book = Spy(store)
    book.add(STEADY)
    before = book.root()
    book.read.clear()
    book.add([case(9, 0).packed])
    assert book.root() != before
    assert book.read == [9 // EPOCH]


def test_a_fold_goes_on_from_the_newest_snapshot(store: Store) -> None:
    Book(store, RULES).ledger(FOLLOWED)
    book = Spy(store)
    book.add(STEADY)
    book.ledger(FOLLOWED)
    book.read.clear()
    assert balances_digest(book.ledger(FOLLOWED)) == balances_digest(fold(b"".join(sorted(STEADY))))
    assert book.read == []
    book.add([case(14, 0).packed])
    book.ledger(FOLLOWED)
    assert book.read == [3, 4, 5], "what is before the late entry stays as it was"


def test_an_epoch_that_has_not_closed_is_read_every_time(store: Store) -> None:
    book = Spy(store)
    book.add(STEADY)
    open_ = {round_no: head for round_no, head in FOLLOWED.items() if round_no < ROUNDS - 1}
    book.ledger(open_)
    book.read.clear()
    book.ledger(open_)
    assert book.read == [5]


def test_a_round_that_was_not_heard_of_yet_leaves_no_trace(store: Store) -> None:
    """A newcomer knows the newest heads before it knows the old ones."""
    book = Book(store, RULES)
    book.add(STEADY)
    book.ledger({round_no: head for round_no, head in FOLLOWED.items() if round_no >= 6})
    assert balances_digest(book.ledger(FOLLOWED)) == balances_digest(fold(b"".join(sorted(STEADY))))


def test_a_newcomer_goes_on_from_snapshots_too(store: Store) -> None:
    """It has no entries of the rounds before it came, and never knew their heads."""
    mine = [entry for entry in STEADY if next(unpacked(entry)).round >= 6]
    known = {round_no: head for round_no, head in FOLLOWED.items() if round_no >= 6}
    book = Spy(store)
    book.add(mine)
    book.ledger(known)
    book.read.clear()
    assert balances_digest(book.ledger(known)) == balances_digest(fold(b"".join(sorted(mine))))
    assert book.read == []
    book.add(STEADY)
    assert balances_digest(book.ledger(FOLLOWED)) == balances_digest(fold(b"".join(sorted(STEADY))))


def test_on_another_chain_snapshots_of_the_first_do_not_hold(store: Store) -> None:
    book = Book(store, RULES)
    book.add(STEADY)
    book.ledger(FOLLOWED)
    moved = {
        round_no: digest("elsewhere", round_no) if round_no >= 10 else head
        for round_no, head in FOLLOWED.items()
    }
    reference = Ledger(RULES)
    reference.fold(b"".join(sorted(STEADY)), moved)
    assert balances_digest(book.ledger(moved)) == balances_digest(reference)
    assert balances_digest(book.ledger(FOLLOWED)) == balances_digest(fold(b"".join(sorted(STEADY))))


def test_recent_changes_of_a_key_are_listed(store: Store) -> None:
    book = Book(store, RULES)
    book.add(STEADY)
    book.ledger(FOLLOWED)
    changes = book.ledger(FOLLOWED, watched=(KEYS[1], 17)).changes
    assert [change.round for change in changes] == list(range(16, ROUNDS))


def test_an_entry_that_is_lost_on_the_disk_is_noticed(store: Store) -> None:
    book = Book(store, RULES)
    book.add(STEADY)
    assert book.root()
    assert all(book.is_sound(epoch) for epoch in range(ROUNDS // EPOCH))
    store._write("DELETE FROM entry WHERE packed = ?", work(9, 0).packed)
    assert [book.is_sound(epoch) for epoch in range(ROUNDS // EPOCH)] == [True, True, False, True, True, True]


def test_an_epoch_that_is_over_can_be_told_again(store: Store) -> None:
    book = Book(store, RULES)
    book.add(STEADY)
    newest, root = balances_digest(book.ledger(FOLLOWED)), book.root()
    earlier = sorted(line for line in STEADY if epoch_of(line, EPOCH) <= 2)
    assert balances_digest(book.ledger(FOLLOWED, last_epoch=2)) == balances_digest(fold(b"".join(earlier)))
    assert book.root(last_epoch=2) == EntrySet(EPOCH, earlier).root
    assert (balances_digest(book.ledger(FOLLOWED)), book.root()) == (newest, root)


# Old epochs


def test_what_is_folded_away_stays_in_root_and_balances(store: Store) -> None:
    book = Book(store, RULES)
    book.add(STEADY)
    newest, root = balances_digest(book.ledger(FOLLOWED)), book.root()
    assert book.fold_away(3, FOLLOWED)
    assert b"".join(map(book.entries, range(4))) == b""
    assert (balances_digest(book.ledger(FOLLOWED)), book.root()) == (newest, root)
    assert all(map(book.is_sound, range(ROUNDS // EPOCH)))


def test_what_comes_for_an_epoch_that_is_folded_away_is_not_taken_in(store: Store) -> None:
    book = Book(store, RULES)
    book.add(STEADY)
    newest, root = balances_digest(book.ledger(FOLLOWED)), book.root()
    book.fold_away(3, FOLLOWED)
    assert book.add([STEADY[0], case(9, 0).packed]) == 0
    assert (balances_digest(book.ledger(FOLLOWED)), book.root()) == (newest, root)
    book.add([case(17, 0).packed])
    whole = b"".join(sorted([*STEADY, case(17, 0).packed]))
    assert balances_digest(book.ledger(FOLLOWED)) == balances_digest(fold(whole))


def test_a_shard_of_an_epoch_that_is_folded_away_is_paid_from_the_next_one_on(store: Store) -> None:
    book = Book(store, RULES)
    book.add(STEADY)
    book.ledger(FOLLOWED)
    book.fold_away(3, FOLLOWED)
    claim = Claim(round=9, record=digest("shard"), key=KEYS[0], domain="prose", size=1, duplicate_ppm=0)
    book.rules = replace(RULES, registry=Registry([claim], 1, SECTION))
    assert data_paid(book.ledger(FOLLOWED)) == 0, "by the rules of before, up to the newest snapshot"
    book.work_out_again(claim.round)
    whole, gone = (b"".join(sorted(part)) for part in (STEADY, before(STEADY, book.first_round)))
    owed = data_paid(fold(whole, book.rules)) - data_paid(fold(gone, book.rules))
    assert data_paid(book.ledger(FOLLOWED)) == owed > 0


def data_paid(ledger: Ledger) -> int:
    return ledger.account(KEYS[0]).by_term[DATA]


def test_an_epoch_without_balances_is_not_folded_away(store: Store) -> None:
    book = Book(store, RULES)
    book.add(STEADY)
    assert not book.fold_away(3, FOLLOWED)
    book.ledger(FOLLOWED)
    assert not book.fold_away(3, FOLLOWED | {15: digest("elsewhere")})
    assert book.first_epoch == 0


def test_what_can_not_be_told_any_more_is_not_made_up(store: Store) -> None:
    book = Book(store, RULES)
    book.add(STEADY)
    book.ledger(FOLLOWED)
    book.fold_away(3, FOLLOWED)
    with pytest.raises(FoldedAwayError, match="epochs before 4"):
        book.ledger(FOLLOWED | {round_no: digest("elsewhere", round_no) for round_no in range(10, ROUNDS)})
    with pytest.raises(FoldedAwayError):
        book.ledger(FOLLOWED, last_epoch=1)
    with pytest.raises(FoldedAwayError):
        book.ledger(FOLLOWED, watched=(KEYS[0], 2))


def test_what_another_chain_has_closed_otherwise_goes(store: Store) -> None:
    """And nothing else: rounds that are not known, and cases that count on any chain."""
    book = Book(store, RULES)
    astray = [work(round_no, 1, head=OTHER_BRANCH).packed for round_no in (5, 6)]
    unknown = work(ROUNDS - 1, 2, head=OTHER_BRANCH).packed
    outlaw = case(5, 0, head=ANY_HEAD).packed
    book.add([*STEADY, outlaw, unknown])
    book.ledger(FOLLOWED)
    before = book.root()
    book.add(astray)
    followed = {round_no: head for round_no, head in FOLLOWED.items() if round_no < ROUNDS - 1}
    assert book.root() != before
    assert book.leave(followed) == 2
    assert book.root() == before
    assert book.heads() == {*FOLLOWED.values(), OTHER_BRANCH}
    assert book.leave(followed) == 0


def test_rounds_that_are_missing_are_counted_beyond_folding(store: Store) -> None:
    book = Book(store, RULES)
    book.add(reduction(round_no, 0).packed for round_no in range(ROUNDS) if round_no != 2)
    booked = store.entry_rounds(Kind.REDUCTION)
    assert book.missing(FOLLOWED, booked, ROUNDS) == 1
    book.ledger(FOLLOWED)
    assert book.fold_away(1, FOLLOWED)
    assert book.first_round == 2 * EPOCH
    assert book.missing(FOLLOWED, store.entry_rounds(Kind.REDUCTION), ROUNDS) == 1
    assert book.missing(FOLLOWED, store.entry_rounds(Kind.REDUCTION) - {20}, ROUNDS) == 2
