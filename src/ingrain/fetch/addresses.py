"""Checks whether an IP address is public, including IPv4 addresses embedded in IPv6 addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_LOW_32_BITS = 0xFFFFFFFF

# Listed here because ``is_global`` differs between Python releases.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "168.63.129.16/32",  # Azure's platform service, reachable only from inside
    )
)
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments; contains Teredo, where the embedded addresses decide
        "2001:db8::/32",
        "3fff::/20",
    )
)


def is_public(text: str) -> bool:
    """Return whether an address is public, so that URLs of callers may lead to it.

    Args:
        text: An IPv4 or IPv6 address from the resolver. An address with a zone, or any other text, is not public.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return _is_public_v4(address) if isinstance(address, IPv4Address) else _is_public_v6(address)


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _NOT_PUBLIC_V4)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if embedded := _embedded_v4(address):
        return all(map(_is_public_v4, embedded))
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_V6)


def _embedded_v4(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that a translator or tunnel would extract from an IPv6 address."""
    number = int(address)
    if address in _MAPPED or address in _NAT64:
        return (IPv4Address(number & _LOW_32_BITS),)
    if address in _SIX_TO_FOUR:
        return (IPv4Address(number >> 80 & _LOW_32_BITS),)
    if address in _TEREDO:  # RFC 4380: the server's address, and the client's with all bits inverted
        return (IPv4Address(number >> 64 & _LOW_32_BITS), IPv4Address(~number & _LOW_32_BITS))
    return ()
