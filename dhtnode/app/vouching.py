"""What this node's user says of newcomers: held against what the others would let pass, then signed."""

from __future__ import annotations

from collections.abc import Callable

from dhtnode.driver import Driver
from dhtnode.errors import ConfigError, Exit
from dhtnode.identity import Identity, is_peer_id
from dhtnode.records import Signed, sign
from dhtnode.reward import PPM
from dhtnode.status import VoucherPart
from training.events import RecordArrived
from training.messages import WHOLE, Head
from validation.events import NodeEffect, NodeEvent, Show
from validation.validator import Validator
from validation.voucher import MAX_OF_ONE, Backing, Voucher


class Vouching:
    """One node's.

    Args:
        identity: own.
        swarm_id: signature domain.
        validator: the core, which takes in own vouchers as it takes in others'.
        backing: what chain and ledger say.
        head: that the node stands on, None before it has one.
        driver: performs what follows.
    """

    def __init__(
        self,
        identity: Identity,
        swarm_id: bytes,
        validator: Validator,
        backing: Backing,
        head: Callable[[], Head | None],
        driver: Callable[[], Driver[NodeEvent, NodeEffect]],
    ) -> None:
        self._identity = identity
        self._swarm_id = swarm_id
        self._validator = validator
        self._backing = backing
        self._head = head
        self._driver = driver

    async def vouch(self, newcomer: str, bond_micro: int | None) -> VoucherPart:
        """Answer for a newcomer.

        Args:
            newcomer: its peer id.
            bond_micro: what this node puts up; None for the least that the swarm asks for.

        Raises:
            ConfigError: FAILED (1); nobody would let it in for that, and why.
        """
        head = self._head()
        if head is None:
            raise _refused("the node has not joined yet; try again when 'dhtnode status' has a round")
        section = self._validator.member.context.terms.reputation
        bond = section.voucher_micro if bond_micro is None else bond_micro
        self._check_newcomer(newcomer, head)
        self._check_self(head)
        self._check_bond(bond)
        body = Voucher(round=head.number, newcomer=newcomer, bond_micro=bond)
        voucher: Signed[Voucher] = sign(self._identity, self._swarm_id, body)
        driver = self._driver()
        why_not = self._validator.vouchers.why_not(voucher)
        if why_not is not None:
            raise _refused(f"not even this node would let it in: {why_not}")
        effects = self._validator.on(RecordArrived(voucher, self._identity.peer_id), driver.now_s())
        if not effects:
            raise _refused(f"the others hold {MAX_OF_ONE} vouchers of this node, and take in no more for now")
        driver.perform_all([*effects, Show(voucher)])
        return voucher_part(voucher, section.open_rounds)

    def _check_newcomer(self, newcomer: str, head: Head) -> None:
        validator = self._validator
        if not is_peer_id(newcomer):
            raise _refused(f"{newcomer[:60]!r} is no peer id; the newcomer's 'dhtnode status' shows its own")
        if newcomer == self._identity.peer_id:
            raise _refused("that is this node's own key; ask another member to answer for it")
        if validator.gate.is_open:
            raise _refused("this swarm asks nobody for a proof of work: the newcomer may simply come")
        case = validator.cases.get(newcomer)
        if case is not None:
            raise _refused(f"it was found false, nobody can answer for it: {case.text}")
        voucher = validator.vouchers.by(newcomer)
        if voucher is not None:
            raise _refused(f"{voucher.signer} answers for it already")
        if newcomer in head.members or validator.gate.may_enter(newcomer):
            raise _refused("it is in already, or has found its proof of work, and needs nobody's word")

    def _check_self(self, head: Head) -> None:
        me, section = self._identity.peer_id, self._validator.member.context.terms.reputation
        if self._backing.has_lost(me):
            raise _refused("it has answered for a newcomer that was found false, and may vouch no more")
        if not self._backing.had_full_vote(me, head.number):
            halves = head.vote_of(me) if me in head.members else 0
            raise _refused(
                f"only a member with a whole vote can answer for others, and it has {halves / WHOLE:g}; "
                f"it earns one with audits passed, after its first {section.probation_rounds} rounds"
            )
        open_ = self._validator.vouchers.open_of(me)
        if len(open_) >= section.open_vouchers:
            names = ", ".join(sorted(one.body.newcomer for one in open_))
            raise _refused(
                f"it answers for {len(open_)} newcomers already, the most at a time; wait until one of them "
                f"has taken part in {section.probation_rounds} rounds: {names}"
            )

    def _check_bond(self, bond_micro: int) -> None:
        me = self._identity.peer_id
        least = self._validator.member.context.terms.reputation.voucher_micro
        if bond_micro < least:
            raise _refused(f"the swarm asks for {_credits(least)} or more; give --bond {least / PPM:f}")
        stake = self._backing.stake_micro(me)
        pledged = sum(one.body.bond_micro for one in self._validator.vouchers.open_of(me))
        if stake is not None and pledged + bond_micro > stake:
            raise _refused(
                f"its stake does not cover {_credits(bond_micro)}: {_credits(stake)} have not vested yet, "
                f"{_credits(pledged)} of them are bonds already; the swarm asks for {_credits(least)} or "
                "more, so give less, or come again when it has earned more"
            )


def voucher_part(voucher: Signed[Voucher], open_rounds: int) -> VoucherPart:
    """A voucher as people are shown it."""
    body = voucher.body
    return VoucherPart(
        id=voucher.id.hex(),
        newcomer=body.newcomer,
        by=voucher.signer,
        bond=body.bond_micro,
        round=body.round,
        until=body.round + open_rounds,
    )


def _refused(why: str) -> ConfigError:
    return ConfigError(why, Exit.FAILED)


def _credits(micro: int) -> str:
    return f"{micro / PPM:,.6f} credits"
