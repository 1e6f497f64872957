"""Nobody drowns the others, and nobody is punished for long."""

from __future__ import annotations

from dhtnode.quota import MAX_PEERS, Quota


def test_a_burst_is_admitted_and_then_only_the_rate() -> None:
    quota = Quota(rate_per_s=2, burst=5)
    assert [quota.admit("loud", 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert quota.admit("calm", 0.0)
    assert [quota.admit("loud", 1.0) for _ in range(3)] == [True, True, False]


def test_a_bucket_never_holds_more_than_a_burst() -> None:
    quota = Quota(rate_per_s=2, burst=5)
    quota.admit("peer", 0.0)
    assert [quota.admit("peer", 1e6) for _ in range(6)] == [True] * 5 + [False]


def test_memory_is_bounded() -> None:
    quota = Quota()
    for number in range(3 * MAX_PEERS):
        assert quota.admit(str(number), float(number))
    assert len(quota._left) == MAX_PEERS
