"""A ledger as bytes, so that a fold can go on where it was: the same accounts give the same bytes."""

from __future__ import annotations

import msgspec

from dhtnode.digest import digest
from rewards.accounts import Account
from rewards.formula import reputation_ppm
from rewards.ledger import Ledger, Rules
from rewards.stake import Stake


class SavedAccount(msgspec.Struct, frozen=True, array_like=True):
    """One account. What may exceed 64 bits is bytes, the highest first."""

    key: bytes
    vested: int
    burned: int
    forfeited: int
    outlaw_until: int
    open: tuple[tuple[int, int], ...]
    by_term: list[int]
    seen: bytes
    last: int
    standing: int
    rounds: int
    passed: int
    epoch: int
    tickets: bytes
    audited: bytes
    lost: tuple[bytes, ...]
    """By key."""


class SavedLedger(msgspec.Struct, frozen=True, array_like=True):
    """All accounts, by key."""

    next_round: int
    accounts: tuple[SavedAccount, ...]


def encode_ledger(ledger: Ledger) -> bytes:
    """All that the fold needs to go on."""
    accounts = tuple(_saved(ledger.accounts[key]) for key in sorted(ledger.accounts))
    return msgspec.msgpack.encode(SavedLedger(ledger.next_round, accounts))


def decode_ledger(data: bytes, rules: Rules, watched: bytes | None = None) -> Ledger:
    """The ledger in this node's own bytes. The rules must be those that it was folded by.

    Raises:
        msgspec.DecodeError: these are no such bytes.
    """
    saved = msgspec.msgpack.decode(data, type=SavedLedger)
    ledger = Ledger(rules, watched)
    ledger.next_round = saved.next_round
    for one in saved.accounts:
        ledger.accounts[one.key] = _account(one, rules)
    return ledger


def balances_digest(ledger: Ledger) -> bytes:
    """32 bytes that are equal on two nodes whose accounts are."""
    return digest("balances", encode_ledger(ledger))


def _saved(account: Account) -> SavedAccount:
    stake = account.stake
    return SavedAccount(
        account.key,
        stake.vested,
        stake.burned,
        stake.forfeited,
        stake.outlaw_until,
        stake.open,
        account.by_term,
        _wide(account.seen),
        account.last,
        account.standing,
        account.rounds,
        account.passed,
        account.epoch,
        _wide(account.tickets),
        _wide(account.audited),
        tuple(sorted(account.lost)),
    )


def _account(saved: SavedAccount, rules: Rules) -> Account:
    vesting = rules.section.vesting_rounds
    stake = Stake(vesting, saved.vested, saved.burned, saved.forfeited, saved.outlaw_until, saved.open)
    return Account(
        key=saved.key,
        stake=stake,
        by_term=saved.by_term,
        seen=int.from_bytes(saved.seen, "big"),
        last=saved.last,
        standing=saved.standing,
        rounds=saved.rounds,
        passed=saved.passed,
        epoch=saved.epoch,
        tickets=int.from_bytes(saved.tickets, "big"),
        audited=int.from_bytes(saved.audited, "big"),
        lost=set(saved.lost),
        reputation=reputation_ppm(saved.standing, rules.reputation),
    )


def _wide(value: int) -> bytes:
    return value.to_bytes(-(-value.bit_length() // 8), "big")
