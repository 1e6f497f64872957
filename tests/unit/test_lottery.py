"""The audit lottery: links chain, tickets follow from what was fixed before, rates are kept."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.identity import Identity
from validation.lottery import EPOCH, Chain, is_one_epoch, obliged, opens, preimage_from

SWARM = digest("swarm", "lottery")
ROUNDS = st.integers(min_value=0, max_value=3 * EPOCH)


def chain(seed: int = 1, swarm_id: bytes = SWARM) -> Chain:
    return Chain(Identity.from_seed(bytes([seed]) * 32), swarm_id)


@given(ROUNDS)
def test_a_preimage_opens_its_own_link_and_no_other(round_no: int) -> None:
    mine = chain()
    assert opens(mine.preimage(round_no), mine.link(round_no))
    assert not opens(mine.preimage(round_no), mine.link(round_no + 1))
    assert not opens(chain(2).preimage(round_no), mine.link(round_no))


def test_the_next_commitment_shows_the_preimage_of_the_one_before() -> None:
    mine = chain()
    for round_no in (0, 1, 17, EPOCH - 2):
        assert mine.link(round_no + 1) == mine.preimage(round_no)


@pytest.mark.parametrize("epoch", [0, 2])
def test_all_links_of_an_epoch_hang_together(epoch: int) -> None:
    mine, first = chain(), epoch * EPOCH
    preimages = [mine.preimage(first + place) for place in range(EPOCH)]
    assert len(set(preimages)) == EPOCH
    assert all(opens(later, earlier) for earlier, later in pairwise(preimages))


@given(ROUNDS, st.integers(min_value=1, max_value=40))
def test_links_of_one_member_are_of_one_chain(round_no: int, later: int) -> None:
    mine, other = chain(), chain(2)
    if is_one_epoch(round_no, round_no + later):
        shown = preimage_from(mine.link(round_no + later), round_no + later, round_no)
        assert shown == mine.preimage(round_no)
        made_up = preimage_from(other.link(round_no + later), round_no + later, round_no)
        assert not opens(made_up, mine.link(round_no))


def test_a_restart_has_the_same_chain_and_another_swarm_has_another() -> None:
    assert chain().link(5) == chain().link(5)
    assert chain().link(5) != chain(swarm_id=digest("swarm", "other")).link(5)


@pytest.mark.parametrize("rate", [0.0, 1 / 16, 0.5, 1.0])
def test_tickets_are_drawn_at_the_rate(rate: float) -> None:
    preimage, draws = chain().preimage(3), 20_000
    drawn = sum(obliged(preimage, digest("head", n), b"target", rate) for n in range(draws))
    deviation = (rate * (1 - rate) / draws) ** 0.5
    assert abs(drawn / draws - rate) <= 5 * deviation


def test_a_ticket_depends_on_all_that_it_is_drawn_from() -> None:
    one, other = chain().preimage(3), chain().preimage(4)
    draws = [
        (one, b"head", b"target"),
        (other, b"head", b"target"),
        (one, b"tail", b"target"),
        (one, b"head", b"t"),
    ]
    drawn = {
        draw: [obliged(*draw[:1], digest(str(n), draw[1]), draw[2], 0.5) for n in range(64)] for draw in draws
    }
    assert len({tuple(hits) for hits in drawn.values()}) == len(draws)
