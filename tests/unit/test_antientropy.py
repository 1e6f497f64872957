"""Two nodes find out what the other lacks: they end with the union, whatever was lost or lied about."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import canonical, parse_canonical
from validation import antientropy
from validation.antientropy import (
    DIGEST_BYTES,
    MAX_ANSWER_BYTES,
    MAX_QUESTION_BYTES,
    NAME_BYTES,
    Pull,
    answer,
)
from validation.idtree import FANOUT, LEAF_IDS, IdTree

Responder = Callable[[bytes], bytes]


class Keeper:
    """A node with records; a record is any bytes, its id their digest."""

    def __init__(self, records: Iterable[bytes] = ()) -> None:
        self.records: dict[bytes, bytes] = {}
        self.tree = IdTree()
        for record in records:
            self.keep(record)

    def keep(self, record: bytes) -> None:
        self.records[open_id(record)] = record
        self.tree.add(open_id(record))

    def respond(self, question: bytes) -> bytes:
        return answer(question, "asker", self.tree, self.records.get)

    def pull(self, respond: Responder, claimed: set[bytes] | None = None) -> tuple[Pull, int]:
        """Ask until there is nothing more to ask. Returns the exchange and all bytes of both sides."""
        pull, size = Pull(self.tree, "neighbour", open_id, claimed), 0
        while not pull.is_done:
            question = pull.question()
            reply = respond(question)
            assert len(question) <= MAX_QUESTION_BYTES
            assert len(reply) <= MAX_ANSWER_BYTES
            size += len(question) + len(reply)
            for id_, record in pull.on_answer(reply):
                self.records[id_] = record
                self.tree.add(id_)
        return pull, size


def open_id(record: bytes) -> bytes:
    if not record.startswith(b"record"):
        raise RemoteProtocolError("neighbour", "bad-signature")
    return digest("test", record)


def records(numbers: Iterable[int]) -> list[bytes]:
    return [b"record %d" % number for number in numbers]


sets = st.lists(st.integers(0, 3000), max_size=300, unique=True)


@given(sets, sets)
def test_any_two_sets_become_the_union(left: list[int], right: list[int]) -> None:
    one, other = Keeper(records(left)), Keeper(records(right))
    one.pull(other.respond)
    other.pull(one.respond)
    assert set(one.records) == set(other.records) == set(Keeper(records({*left, *right})).records)
    assert one.tree.root == other.tree.root


def test_equal_sets_cost_one_small_question() -> None:
    one, other = Keeper(records(range(2000))), Keeper(records(range(2000)))
    pull, size = one.pull(other.respond)
    assert (pull.asked, pull.received) == (1, 0)
    assert size < 1000


def test_a_node_that_was_away_gets_everything() -> None:
    new, old = Keeper(), Keeper(records(range(5000)))
    pull, _ = new.pull(old.respond)
    assert pull.received == 5000
    assert new.tree.root == old.tree.root


def test_a_difference_of_one_in_a_hundred_costs_a_twentieth_of_everything() -> None:
    """As `bench-reputation` measures it for a million; the share is about the same at 20,000."""
    padding = b"x" * 280
    everything = [b"record %d " % number + padding for number in range(20_000)]
    one = Keeper(record for number, record in enumerate(everything) if number % 200)
    other = Keeper(record for number, record in enumerate(everything) if number % 200 != 100)
    spent = one.pull(other.respond)[1] + other.pull(one.respond)[1]
    assert one.tree.root == other.tree.root
    assert spent < 0.05 * sum(map(len, everything))


def test_gossip_that_loses_a_third_still_reaches_everybody() -> None:
    chance = random.Random(4)  # noqa: S311
    nodes = [Keeper() for _ in range(12)]
    for record in records(range(600)):
        nodes[chance.randrange(12)].keep(record)
        for node in nodes:
            if chance.random() >= 0.3:
                node.keep(record)
    assert len({node.tree.root for node in nodes}) == 12
    for _ in range(6):  # six times about a second, as neighbours ask each other
        for node in nodes:
            node.pull(chance.choice([other for other in nodes if other is not node]).respond)
    assert {node.tree.root for node in nodes} == {Keeper(records(range(600))).tree.root}


def test_two_neighbours_are_asked_for_different_records() -> None:
    full = Keeper(records(range(20_000)))
    asker, claimed, got = Keeper(), set[bytes](), [0, 0]
    pulls = [Pull(asker.tree, name, open_id, claimed) for name in ("a", "b")]
    while not all(pull.is_done for pull in pulls):
        for number, pull in enumerate(pulls):
            if pull.is_done:
                continue
            for id_, _ in pull.on_answer(full.respond(pull.question())):
                assert asker.tree.add(id_), "fetched twice"
                got[number] += 1
    assert asker.tree.root == full.tree.root
    assert min(got) > 5000


def test_what_a_silent_neighbour_was_asked_for_comes_from_another() -> None:
    full, asker, claimed = Keeper(records(range(50))), Keeper(), set[bytes]()
    silent = Pull(asker.tree, "silent", open_id, claimed)
    silent.on_answer(full.respond(silent.question()))
    assert len(claimed) == 50
    silent.give_up()
    assert asker.pull(full.respond, claimed)[0].received == 50
    assert claimed == set()


# Neighbours that lie


def test_a_neighbour_that_withholds_its_records_ends_the_exchange() -> None:
    full, asker = Keeper(records(range(5000))), Keeper(records(range(4000, 4010)))
    before = dict(asker.records)
    pull, _ = asker.pull(lambda question: answer(question, "asker", full.tree, lambda _: None))
    assert pull.is_done
    assert asker.records == before


def test_a_set_without_end_is_refused() -> None:
    def endless(question: bytes) -> bytes:
        prefixes = parse_canonical(question, MAX_QUESTION_BYTES)["prefixes"]
        buckets = [
            {"prefix": one, "digests": random.Random(0).randbytes(FANOUT * DIGEST_BYTES), "names": b""}  # noqa: S311
            for one in prefixes
        ]
        return canonical({"root": bytes(32), "buckets": buckets, "records": []})

    asker = Keeper(records(range(100)))
    with pytest.raises(RemoteProtocolError, match="a set without end"):
        asker.pull(endless)
    assert len(asker.records) == 100


def test_a_neighbour_that_always_finds_something_new_to_say_is_not_listened_to_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = iter(range(10**9))

    def talkative(question: bytes) -> bytes:
        """Always one bucket more that is not empty, and two names that nothing will ever come for."""
        prefixes = parse_canonical(question, MAX_QUESTION_BYTES)["prefixes"]
        forks = b"".join(digest("d", next(numbers)) for _ in range(2)) + EMPTY_CHILDREN
        bucket = {"prefix": prefixes[0], "digests": forks, "names": b""}
        if len(prefixes[0]) > 5:
            bucket = {"prefix": prefixes[0], "digests": b"", "names": random.Random(0).randbytes(NAME_BYTES)}  # noqa: S311
        return canonical({"root": bytes(32), "buckets": [bucket], "records": []})

    monkeypatch.setattr(antientropy, "MAX_QUESTIONS", 40)
    asker = Keeper(records(range(100)))
    pull, _ = asker.pull(talkative)
    assert pull.asked == 40
    assert len(asker.records) == 100


EMPTY_CHILDREN = b"".join(IdTree().digest_of((number,)) for number in range(2, FANOUT))

names = st.binary(max_size=3 * NAME_BYTES)
liars_buckets = st.fixed_dictionaries(
    {
        "prefix": st.binary(max_size=3),
        "digests": st.sampled_from([b"", bytes(FANOUT * DIGEST_BYTES)]) | names,
        "names": st.sampled_from([b"", bytes(NAME_BYTES)]) | names,
    }
)
answers = st.fixed_dictionaries(
    {
        "root": st.just(bytes(32)) | st.binary(max_size=33),
        "buckets": st.lists(liars_buckets, max_size=3),
        "records": st.lists(st.sampled_from([b"record 1", b"record 7000", b"junk"]), max_size=3),
    }
)


@given(st.lists(answers.map(canonical) | st.binary(max_size=60), max_size=20))
def test_no_answer_crashes_a_node_or_takes_anything_from_it(lies: list[bytes]) -> None:
    asker = Keeper(records(range(200)))
    before = dict(asker.records)
    pull = Pull(asker.tree, "liar", open_id)
    for lie in lies:
        if pull.is_done:
            break
        pull.question()
        try:
            for id_, record in pull.on_answer(lie):
                assert open_id(record) == id_
        except RemoteProtocolError as error:
            assert error.reason in ("bad-antientropy", "bad-signature")  # noqa: PT017
            assert pull.is_done
    assert asker.records == before


prefixes = st.lists(st.binary(max_size=4) | st.lists(st.integers(0, 15), max_size=64).map(bytes), max_size=5)
questions = st.fixed_dictionaries({"prefixes": prefixes, "wanted": names}).map(canonical)


@given(questions | st.binary(max_size=60))
def test_no_question_crashes_a_node(question: bytes) -> None:
    keeper = Keeper(records(range(200)))
    try:
        reply = keeper.respond(question)
    except RemoteProtocolError as error:
        assert error.reason == "bad-antientropy"  # noqa: PT017
    else:
        assert len(reply) <= MAX_ANSWER_BYTES


def test_the_largest_answer_keeps_its_bound_and_carries_the_largest_record() -> None:
    huge = [b"record %d " % number + b"x" * 118_000 for number in range(6)]
    full = Keeper([*huge, *records(range(20_000))])
    asker = Keeper()
    asker.pull(full.respond)
    assert asker.tree.root == full.tree.root


# The tree


@given(sets, sets, st.randoms())
def test_a_root_follows_from_the_set_alone(kept: list[int], removed: list[int], chance: Any) -> None:
    ids = [digest("id", number) for number in kept]
    grown, plain = IdTree(), IdTree()
    gone = [digest("id", number) for number in removed if number not in kept]
    both = [*ids, *gone]
    chance.shuffle(both)
    for id_ in both:
        assert grown.add(id_)
        _ = grown.root  # digests are cached, and must not go stale
    for id_ in gone:
        assert grown.discard(id_)
    for id_ in ids:
        plain.add(id_)
    assert grown.root == plain.root
    assert list(grown) == sorted(ids)
    assert all(id_ in grown and grown.find(id_[:NAME_BYTES]) == id_ for id_ in ids)
    assert not any(id_ in grown or grown.discard(id_) for id_ in gone)


def test_different_sets_have_different_roots() -> None:
    ids = [digest("id", number) for number in range(LEAF_IDS + 1)]
    roots = set()
    tree = IdTree()
    for id_ in ids:
        tree.add(id_)
        roots.add(tree.root)
    assert len(roots) == len(ids)
    assert not tree.add(ids[0])


def test_ids_that_somebody_has_made_to_be_alike_still_part() -> None:
    alike = [bytes(31) + bytes([number]) for number in range(200)]
    one, other = IdTree(), IdTree()
    for id_ in alike:
        one.add(id_)
    for id_ in reversed(alike):
        other.add(id_)
    assert one.root == other.root
    assert list(one) == alike


@given(st.integers(0, 400), st.lists(st.integers(0, 15), max_size=4))
def test_a_small_set_names_the_buckets_of_a_large_one(size: int, prefix: list[int]) -> None:
    """What a leaf says of a deeper bucket is what a tree of just those ids says."""
    ids = [digest("id", number) for number in range(size)]
    tree, just = IdTree(), IdTree()
    for id_ in ids:
        tree.add(id_)
        if id_.hex().startswith(bytes(prefix).hex()[1::2]):
            just.add(id_)
    if len(just) <= LEAF_IDS:
        assert tree.digest_of(tuple(prefix)) == just.root
