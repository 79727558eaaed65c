"""Which addresses count as public."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.fetch.addresses import is_public

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "100.100.100.200",
    "168.63.129.16",
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "64:ff9b:1::808:808",
    "4000::1",
    "2001:10::1",
    "::ffff:0:7f00:1",
]

WRAPPED = {
    "::ffff:{}": "IPv4-mapped",
    "64:ff9b::{}": "NAT64",
}


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_globally_routable_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00::1"]
)
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize(("address", "public"), [("127.0.0.1", False), ("169.254.169.254", False), ("8.8.8.8", True)])
def test_an_ipv4_address_inside_an_ipv6_one_is_what_is_judged(form: str, address: str, public: bool) -> None:
    assert is_public(form.format(address)) is public


def _six_to_four(address: str) -> str:
    return str(IPv6Address(0x2002 << 112 | int(IPv4Address(address)) << 80 | 1))


def _teredo(server: str, client: str) -> str:
    turned = ~int(IPv4Address(client)) & 0xFFFFFFFF
    return str(IPv6Address(0x20010000 << 96 | int(IPv4Address(server)) << 64 | turned))


def test_6to4_and_teredo_are_judged_by_the_addresses_they_carry() -> None:
    assert not is_public(_six_to_four("127.0.0.1"))
    assert not is_public(_six_to_four("10.1.2.3"))
    assert is_public(_six_to_four("8.8.8.8"))
    assert not is_public(_teredo("8.8.8.8", "192.168.0.1"))
    assert not is_public(_teredo("10.0.0.1", "8.8.8.8"))
    assert is_public(_teredo("1.1.1.1", "8.8.8.8"))


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "1.2.3.4.5", "[::1]"])
def test_what_is_not_an_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(st.ip_addresses(v=4))
def test_no_address_that_the_standard_library_calls_private_is_public(address: IPv4Address) -> None:
    unusable = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    assert not (is_public(str(address)) and (unusable or address.is_reserved or address.is_unspecified))


@given(st.ip_addresses(v=6, network="2000::/3"))
def test_wrapping_does_not_make_an_ipv6_address_public(address: IPv6Address) -> None:
    assert not (is_public(str(address)) and (address.is_private or address.is_multicast or address.is_link_local))
