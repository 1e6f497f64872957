"""Multiaddrs as text: checks that name the remedy, and the few questions we ask of them."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.utils.multiaddr import Multiaddr
from hivemind.utils.multiaddr.exceptions import Error as MultiaddrError

from dhtnode.errors import ConfigError, Exit


def check_addresses(option: str, addresses: Sequence[str]) -> None:
    """Refuse what is no multiaddr, naming the option it came from.

    Raises:
        ConfigError: exit code NETWORK.
    """
    for address in addresses:
        try:
            Multiaddr(address)
        except (MultiaddrError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"{address!r} is not a multiaddr ({reason}); "
                f"give {option} something like /ip4/192.0.2.7/tcp/4001",
                Exit.NETWORK,
            ) from error


def split_peer(address: str) -> tuple[str, str]:
    """The peer id at the end of a dialable multiaddr, and what comes before it.

    Raises:
        ConfigError: exit code NETWORK; not a multiaddr, or one without /p2p/ at its end.
    """
    check_addresses("--peer", [address])
    dial, _, peer = address.rpartition("/p2p/")
    if not dial or "/" in peer:
        raise ConfigError(
            f"{address} does not say which peer it leads to; append /p2p/ and the peer id, as shown by "
            "`dhtnode status` of that node",
            Exit.NETWORK,
        )
    return peer, dial


def is_loopback(address: str) -> bool:
    return address.startswith(("/ip4/127.", "/ip6/::1/"))
