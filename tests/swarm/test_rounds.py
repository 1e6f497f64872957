"""Real nodes, undisturbed: equal to the bit, and equal to what a single process computes."""

from __future__ import annotations

import pytest

from tests.swarm.conftest import MakeSwarm

ROUNDS = 6


@pytest.mark.parametrize(
    "how",
    [
        {"wire.codec": "int8", "inner.moments": "reset"},
        {"wire.codec": "int4", "inner.moments": "averaged", "outer.momentum": 0.0},
    ],
    ids=["int8", "int4-moments"],
)
def test_four_nodes_end_with_the_state_that_one_process_computes(
    make_swarm: MakeSwarm, how: dict[str, object]
) -> None:
    """No node hands another a model: all compute the same one, and so does whoever repeats it."""
    swarm = make_swarm({**how, "round.min_deadline_s": 120}, rounds=ROUNDS, min_peers=4, inner_steps="5")
    for name in "abcd":
        swarm.start(name, "--stay")
    swarm.until_round(ROUNDS)
    swarm.assert_identical()
    statuses = [swarm.status(name) for name in "abcd"]
    assert [status.receipts.rounds for status in statuses if status] == [ROUNDS] * 4

    digests = swarm.rehearsed(*"abcd")
    assert digests == [done.state_digest for done in swarm.rounds("a").values()]
    assert {status.round.state_digest for status in statuses if status} == {digests[-1]}
