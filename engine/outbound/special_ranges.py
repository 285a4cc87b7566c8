"""Address blocks that are not part of the public internet, whatever a Python version knows of them.

Source: IANA's IPv4 and IPv6 Special-Purpose Address Registries, both last updated on 2025-10-09 (RFC 6890, RFC 8190),
without the rows that lie inside another one here. Beyond the registries: multicast, the deprecated site-local block
(RFC 3879), and IPv6 outside 2000::/3, which is all that is allocated for use (RFC 4291). Blocks that are registered as
reachable but serve a protocol (anycast relays, AS112) are refused like their neighbours: no application listens there.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_SPECIAL_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared address space of carriers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link local
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # protocol assignments: DS-Lite, 192.0.0.8 (dummy), NAT64 discovery and others
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private use
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the limited broadcast
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""Outside it lie ::/128, ::1, IPv4-mapped and -compatible, NAT64, 100::/64, 100:0:0:1::/64, 5f00::/16, fc00::/7, …"""
_SPECIAL_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID, drones, AMT and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is one of the public internet.

    Give it `unwrapped` ones. NAT64's local-use prefix (64:ff9b:1::/48), 6to4 and Teredo carry an IPv4 address of the
    sender's choice and are refused whatever that is.
    """
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _SPECIAL_V4)
    return address in _GLOBAL_UNICAST and not any(address in block for block in _SPECIAL_V6)


def unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv4-mapped or NAT64 address stands for; any other as it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
