# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that several modules share; their documentation is plugins/doc_fragments, network.py and libvirt_network.py."""

from __future__ import annotations


def bandwidth():
    """Return the option of limits that networks, port groups and guests' NICs have."""
    rates = {"type": "dict", "options": {key: {"type": "int"} for key in ("average", "peak", "burst")}}
    return {"type": "dict", "options": {"inbound": rates, "outbound": rates}}


def _port_options():
    """Return what a network and each of its port groups have for the NICs that join."""
    return {
        "virtualport": {
            "type": "dict",
            "options": {
                "type": {"type": "str", "choices": ["openvswitch", "midonet", "802.1Qbg", "802.1Qbh"]},
                "profile_id": {"type": "str"},
                "interface_id": {"type": "str"},
                "instance_id": {"type": "str"},
                "manager_id": {"type": "int"},
                "type_id": {"type": "int"},
                "type_id_version": {"type": "int"},
            },
        },
        "vlan": {
            "type": "dict",
            "options": {
                "trunk": {"type": "bool"},
                "tags": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "id": {"type": "int", "required": True},
                        "native_mode": {"type": "str", "choices": ["tagged", "untagged"]},
                    },
                },
            },
        },
        "bandwidth": bandwidth(),
    }


def network_options():
    """Return the argument spec of one item of C(networks), the data model's kvm_networks."""
    return {
        "name": {"type": "str", "required": True},
        "model": {"type": "str", "choices": ["isolated", "routed", "nat", "bridged"]},
        "state": {"type": "str", "choices": ["present", "absent", "active", "inactive"], "default": "active"},
        "autostart": {"type": "bool", "default": True},
        "persistent": {"type": "bool", "default": True},
        "hosts": {"type": "list", "elements": "str"},
        "bridge": {"type": "str"},
        "bridge_owner": {"type": "str", "choices": ["libvirt", "host"]},
        "firewall": {"type": "str", "choices": ["nftables", "libvirt"], "default": "nftables"},
        "attach": {"type": "str", "choices": ["bridge", "macvtap"], "default": "bridge"},
        "uplink": {"type": "str"},
        "carrier_tap": {"type": "str"},
        "title": {"type": "str"},
        "description": {"type": "str"},
        "mac": {"type": "str"},
        "zone": {"type": "str"},
        "mtu": {"type": "int"},
        "stp": {"type": "bool", "default": False},
        "delay": {"type": "int"},
        "addresses": {"type": "list", "elements": "str"},
        "subnets": {"type": "list", "elements": "str"},
        "dhcp": {
            "type": "dict",
            "options": {
                "ranges": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "start": {"type": "str", "required": True},
                        "end": {"type": "str", "required": True},
                    },
                },
                "reservations": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "name": {"type": "str"},
                        "mac": {"type": "str"},
                        "duid": {"type": "str"},
                        "address": {"type": "str", "required": True},
                    },
                },
                "lease_time": {"type": "str"},
                "tftp_root": {"type": "str"},
                "boot": {"type": "dict", "options": {"file": {"type": "str"}, "server": {"type": "str"}}},
            },
        },
        "dns": {
            "type": "dict",
            "options": {
                "enabled": {"type": "bool", "default": True},
                "domain": {"type": "str"},
                "local_only": {"type": "bool", "default": False},
                "register": {"type": "bool"},
                "forwarders": {"type": "list", "elements": "str"},
                "forward_plain_names": {"type": "bool"},
                "forward_zones": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "domain": {"type": "str", "required": True},
                        "address": {"type": "str"},
                        "port": {"type": "int"},
                    },
                },
                "hosts": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "address": {"type": "str", "required": True},
                        "names": {"type": "list", "elements": "str", "required": True},
                    },
                },
                "txt": {
                    "type": "list",
                    "elements": "dict",
                    "options": {"name": {"type": "str", "required": True}, "value": {"type": "str", "required": True}},
                },
                "srv": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "service": {"type": "str", "required": True},
                        "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
                        "domain": {"type": "str"},
                        "target": {"type": "str"},
                        "port": {"type": "int"},
                        "priority": {"type": "int"},
                        "weight": {"type": "int"},
                    },
                },
            },
        },
        "dnsmasq_options": {"type": "list", "elements": "str"},
        **_port_options(),
        "portgroups": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "default": {"type": "bool", "default": False},
                "trust_guest_rx_filters": {"type": "bool"},
                **_port_options(),
            },
        },
        "masquerade": {"type": "bool"},
        "nat_ipv6": {"type": "bool"},
        "routes": {
            "type": "list",
            "elements": "dict",
            "options": {"to": {"type": "str", "required": True}, "via": {"type": "str", "required": True}},
        },
        "return_routes": {
            "type": "dict",
            "options": {
                "mode": {"type": "str", "choices": ["none", "static", "bgp"], "default": "none"},
                "peers": {"type": "list", "elements": "str"},
            },
        },
        "stretch": {
            "type": "dict",
            "options": {
                "mode": {"type": "str", "choices": ["none", "vxlan"], "default": "none"},
                "vni": {"type": "int"},
                "control": {"type": "str", "choices": ["static", "evpn"], "default": "static"},
                "local": {"type": "str"},
                "peers": {"type": "list", "elements": "str"},
                "serves": {"type": "bool"},
                "dhcp_host": {"type": "str"},
            },
        },
        "policy": {
            "type": "dict",
            "options": {
                "allow_to": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "network": {"type": "str", "required": True},
                        "protocol": {"type": "str", "choices": ["tcp", "udp", "icmp", "any"], "default": "any"},
                        "ports": {"type": "list", "elements": "str"},
                    },
                },
                "host_access": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "protocol": {"type": "str", "choices": ["tcp", "udp", "icmp", "any"], "default": "any"},
                        "ports": {"type": "list", "elements": "str"},
                    },
                },
                "deny_host": {"type": "bool", "default": False},
                "anti_spoofing": {"type": "bool", "default": True},
                "port_isolation": {"type": "bool", "default": False},
                "log_drops": {"type": "bool", "default": False},
                "rate": {"type": "dict", "options": {"packets": {"type": "int"}, "connections": {"type": "int"}}},
            },
        },
        "port_forwards": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "protocol": {"type": "str", "choices": ["tcp", "udp", "both"], "default": "tcp"},
                "listen": {
                    "type": "dict",
                    "required": True,
                    "options": {
                        "address": {"type": "str"},
                        "interface": {"type": "str"},
                        "ports": {"type": "str", "required": True},
                    },
                },
                "to": {
                    "type": "dict",
                    "required": True,
                    "options": {
                        "guest": {"type": "str"},
                        "address": {"type": "str"},
                        "ports": {"type": "str"},
                    },
                },
                "sources": {"type": "list", "elements": "str"},
                "hairpin": {"type": "bool", "default": True},
            },
        },
    }


def guest_options():
    """Return the argument spec of one item of C(guests), the data model's kvm_guests; its documentation is guest_vm's."""
    nic = {
        "network": {"type": "str", "required": True},
        "mac": {"type": "str"},
        "dev": {"type": "str"},
        "addresses": {"type": "list", "elements": "str"},
        "gateway": {"type": "list", "elements": "str"},
        "link": {"type": "str", "choices": ["up", "down"], "default": "up"},
    }
    return {
        "name": {"type": "str", "required": True},
        "host": {"type": "str"},
        "image": {"type": "str", "default": "builtin"},
        "memory_mb": {"type": "int", "default": 128},
        "vcpus": {"type": "int", "default": 1},
        "state": {"type": "str", "choices": ["running", "stopped", "absent"], "default": "running"},
        "user_data": {"type": "raw", "no_log": True},
        "nics": {"type": "list", "elements": "dict", "default": [], "options": nic},
    }


def convergence_options():
    """Return what converging or planning libvirt networks takes besides the networks."""
    return {
        "adopt": {"type": "bool", "default": False},
        "disruption": {"type": "str", "choices": ["allow", "live_only", "defer"], "default": "allow"},
        "purge": {"type": "bool", "default": True},
        "uri": {"type": "str", "default": "qemu:///system"},
    }


def rule_options():
    """Return the argument spec of one item of C(rules) of nat_rule."""
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "type": {"type": "str", "choices": ["masquerade", "snat", "dnat", "one_to_one", "npt", "exempt"]},
        "network": {"type": "str"},
        "source": {"type": "str"},
        "destination": {"type": "str"},
        "interface": {"type": "str"},
        "protocol": {"type": "str", "choices": ["tcp", "udp", "both"]},
        "listen": {
            "type": "dict",
            "options": {"address": {"type": "str"}, "interface": {"type": "str"}, "ports": {"type": "str"}},
        },
        "to": {
            "type": "dict",
            "options": {key: {"type": "str"} for key in ("guest", "address", "subnet", "ports")},
        },
        "sources": {"type": "list", "elements": "str"},
        "hairpin": {"type": "bool", "default": True},
        "literal": {"type": "bool", "default": False},
    }
