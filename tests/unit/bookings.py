"""Made-up entries for the tests of the ledger: a swarm of a few members, and what happens in it."""

from __future__ import annotations

from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.reputation import ReputationSection
from dhtnode.reward import PPM, RewardSection
from rewards.entries import ANY_HEAD, NOBODY, Entry, Kind, unpacked
from rewards.ledger import Ledger, Rules

SECTION = RewardSection(epoch_rounds=4, vesting_rounds=16, uptime_rounds=8)
PARAMETERS = 10**6
REPUTATION = ReputationSection(probation_rounds=3)
RULES = Rules(SECTION, PARAMETERS, audit_rate_ppm=PPM // 16, reputation=REPUTATION)
KEYS = [digest("key", number) for number in range(5)]
ROUNDS = 24
FOLLOWED = {round_no: digest("head", round_no) for round_no in range(ROUNDS)}
OTHER_BRANCH = digest("head", "of another branch")
TOKENS = 100_000


def work(round_no: int, who: int, tokens: int = TOKENS, quality: int = PPM, head: bytes = b"") -> Entry:
    return _entry(Kind.WORK, round_no, who, NOBODY, tokens, quality, head)


def audit(round_no: int, who: int, worker: int, passed: bool = True, head: bytes = b"") -> Entry:
    return _entry(Kind.AUDIT, round_no, who, KEYS[worker], TOKENS, PPM * passed, head)


def reduction(round_no: int, who: int, byte_count: int = 10**9, head: bytes = b"") -> Entry:
    return _entry(Kind.REDUCTION, round_no, who, NOBODY, byte_count, 0, head)


def case(round_no: int, who: int, head: bytes = b"") -> Entry:
    return _entry(Kind.CASE, round_no, who, NOBODY, 0, 0, head)


def bond(round_no: int, who: int, newcomer: int, amount: int = TOKENS, head: bytes = b"") -> Entry:
    return _entry(Kind.BOND, round_no, who, KEYS[newcomer], amount, 0, head)


def _entry(kind: Kind, round_no: int, who: int, other: bytes, amount: int, ppm: int, head: bytes) -> Entry:
    head = head or FOLLOWED[round_no]
    record = digest("record", kind.name, round_no, who, other, head)
    return Entry(round_no, kind, record, head, KEYS[who], other, amount, ppm)


rounds = st.integers(0, ROUNDS - 1)
members = st.integers(0, len(KEYS) - 1)
heads = st.sampled_from([b"", b"", b"", OTHER_BRANCH])
entries = st.one_of(
    st.builds(work, rounds, members, st.integers(0, 10**7), st.integers(0, PPM), heads),
    st.builds(work, rounds, members),
    st.builds(audit, rounds, members, members, st.booleans(), heads),
    st.builds(reduction, rounds, members, st.integers(0, 10**10), heads),
    st.builds(case, rounds, members, st.sampled_from([b"", ANY_HEAD, OTHER_BRANCH])),
    st.builds(
        bond, rounds, members, members, st.integers(1, 10**7), st.sampled_from([b"", ANY_HEAD, OTHER_BRANCH])
    ),
)
histories = st.lists(entries.map(lambda entry: entry.packed), max_size=80)
"""Anything, also what no honest swarm brings about."""


def fold(packed: bytes, rules: Rules = RULES, watched: bytes | None = None) -> Ledger:
    ledger = Ledger(rules, watched)
    ledger.fold(packed, FOLLOWED)
    return ledger


def booked(*lines: Entry, watched: bytes | None = None, rules: Rules = RULES) -> Ledger:
    return fold(b"".join(sorted(line.packed for line in lines)), rules, watched)


def before(packed: list[bytes], round_no: int) -> list[bytes]:
    """Those of rounds before one."""
    return [one for one in packed if next(unpacked(one)).round < round_no]
