"""Names to say keys by: everybody comes to the same, and there are enough for a swarm."""

from __future__ import annotations

from dhtnode.alias import ANIMALS, COLOURS, MOODS, alias_of
from tests.unit.parties import ids, people


def test_a_key_has_the_same_name_everywhere() -> None:
    assert alias_of("12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X") == "curious-auburn-horse"
    assert alias_of("") == ""


def test_all_words_are_used_and_alike_likely() -> None:
    for words in (MOODS, COLOURS, ANIMALS):
        assert len(words.split()) == len(set(words.split())) == 64


def test_the_members_of_a_full_round_have_names_of_their_own() -> None:
    peers = ids(people(64))
    assert len({alias_of(peer) for peer in peers}) == len(peers)
