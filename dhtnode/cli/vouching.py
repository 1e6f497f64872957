"""`dhtnode vouch`: the running node is asked to answer for a newcomer."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from dhtnode.cli.asking import ask_node
from dhtnode.errors import ConfigError, Exit
from dhtnode.home import Home
from dhtnode.reward import PPM
from dhtnode.status import VoucherPart

MOST_MICRO = 2**53


def say_voucher(home: Home, newcomer: str, bond: str) -> None:
    """Have the node sign a voucher.

    Args:
        home: of the node that answers.
        newcomer: peer id.
        bond: credits as typed; empty for the least that the swarm asks for.

    Raises:
        ConfigError: USAGE (2) for a bond that is no number; FAILED (1) as the node says.
    """
    micro = str(_micro(bond)) if bond else ""
    answer = ask_node(home, "vouch", newcomer=newcomer.strip(), bond=micro)
    made = msgspec.json.decode(answer, type=VoucherPart)
    print(f"vouched for {made.newcomer} with {made.bond / PPM:,.6f} credits, record {made.id[:12]}")
    print(
        f"it needs no proof of work up to round {made.until - 1}; if it is found false while on probation, "
        "the bond burns and this node may vouch no more"
    )


def _micro(bond: str) -> int:
    try:
        micro = Decimal(bond) * PPM
        whole = int(micro)
    except (InvalidOperation, ValueError, OverflowError):
        micro, whole = Decimal(0), -1
    if micro != whole or not 0 < whole <= MOST_MICRO:
        raise ConfigError(
            f"--bond {bond}: write credits with at most six decimals, for example 1.5", Exit.USAGE
        )
    return whole
