"""Which addresses do sandboxes get, and what do the rules say?"""

import ipaddress

import pytest

from hearth.worker.sandboxes import slirp
from hearth.worker.sandboxes.nat import Link, NatRefused, Rules, free_block
from hearth.worker.sandboxes.nat_rules import NEARBY


def test_the_block_is_one_in_which_no_address_of_this_machine_is() -> None:
    first = free_block(set(), 0)
    assert str(first) == "198.18.0.0/18"
    assert str(free_block({"198.18.0.1", "10.0.0.1"}, 0)) == "198.18.64.0/18"
    assert str(free_block({"198.19.255.1"}, 7)) == "198.18.0.0/18"


def test_where_every_block_is_in_use_nat_is_refused() -> None:
    blocks = ipaddress.IPv4Network("198.18.0.0/15").subnets(new_prefix=18)
    with pytest.raises(NatRefused, match="in use"):
        free_block({str(block.network_address + 1) for block in blocks}, 3)


def test_name_servers_are_open_on_their_port_only_and_before_what_is_near() -> None:
    lines = Rules("t", "hv1", "198.18.0.0/18", (), ("10.0.0.2",)).text().splitlines()
    dns = [number for number, line in enumerate(lines) if "dport 53 accept" in line]
    closed = [number for number, line in enumerate(lines) if NEARBY[1] in line]
    assert len(dns) == 4  # in each of the chains, by each protocol
    assert dns[-1] < closed[0]
    assert all("10.0.0.2" in lines[number] for number in dns)


def test_what_was_opened_is_accepted_before_what_is_near_is_refused() -> None:
    text = Rules("t", "hv1", "198.18.0.0/18", ("10.1.0.0/16",), ()).text()
    assert text.index("ip daddr { 10.1.0.0/16 } accept") < text.index(NEARBY[1])
    assert "dport 53" not in text


def test_an_ordinary_users_sandbox_has_the_same_closed_and_the_machines_own_addresses_too() -> None:
    text = slirp.rules(("10.1.0.0/16",), ("203.0.113.9", "10.0.0.4", "127.0.0.1"))
    refused = next(line for line in text.splitlines() if NEARBY[1] in line)
    assert "203.0.113.9" in refused
    assert "10.0.0.4" not in refused, "what is nearby is closed as a whole"
    assert text.index("10.1.0.0/16 } accept") < text.index(refused)
    assert text.index(f"{slirp.NAME_SERVER} }} udp dport 53 accept") < text.index(refused)


def test_an_older_table_of_the_same_name_is_replaced_in_one_go() -> None:
    text = Rules("t", "hv1", "198.18.0.0/18", (), ()).text()
    assert text.startswith("table inet t {}\ndelete table inet t\ntable inet t {\n")


def test_a_link_is_told_as_interface_gateway_and_address() -> None:
    assert Link(1, "hv11", "198.18.0.5", "198.18.0.6").order() == [
        "hv11",
        "198.18.0.5",
        "198.18.0.6",
    ]
