#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_iface_info
short_description: The host's links as facts
version_added: 1.0.0
description:
  - Returns the links of the host, all of them or those of given names or MAC addresses, each with its kind, state, bridge or
    ports, addresses, routes, driver, and who manages it.
  - It is what C(virsh iface-list), C(iface-mac), C(iface-name) and C(iface-dumpxml) say, and works without a daemon too.
options:
  names:
    description: Only links of these names. One that is not there is not returned.
    type: list
    elements: str
  macs:
    description: Only links of these MAC addresses.
    type: list
    elements: str
  xml:
    description: Ask libvirt for its interface XML of each link; needs libvirt's Python bindings.
    type: bool
    default: false
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
requirements:
  - iproute2 5 or newer
notes:
  - libvirt can say nothing of interfaces where it was built without a driver for them; I(xml) is then null and a warning says so.
seealso:
  - module: virtnet.kvm.host_iface
  - module: virtnet.kvm.host_bridge
  - module: virtnet.kvm.tap_iface
extends_documentation_fragment:
  - virtnet.kvm.info
  - virtnet.kvm.attributes.actiongroup_libvirt
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: All links
  virtnet.kvm.host_iface_info:
  register: links

- name: The MAC address of eth0, as virsh iface-mac says it
  virtnet.kvm.host_iface_info:
    names: [eth0]
  register: eth0

- name: The name that belongs to a MAC address, as virsh iface-name says it
  virtnet.kvm.host_iface_info:
    macs: ["52:54:00:12:34:56"]
  register: found

- name: libvirt's XML of a bridge, as virsh iface-dumpxml says it
  virtnet.kvm.host_iface_info:
    names: [br0]
    xml: true
  register: br0
"""

RETURN = r"""
interfaces:
  description: The links, in the order of their index.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the link.
      type: str
      returned: always
    mac:
      description: MAC address, or null.
      type: str
      returned: always
    state:
      description: Either up or down, as the administrator has it.
      type: str
      returned: always
    carrier:
      description: Whether something is at its other end.
      type: bool
      returned: always
    type:
      description: Its kind, such as physical, bridge, tap, tun, veth, vxlan, loopback.
      type: str
      returned: always
    driver:
      description: Driver of a physical link, or null.
      type: str
      returned: always
    index:
      description: The kernel's number of it.
      type: int
      returned: always
    mtu:
      description: MTU in bytes.
      type: int
      returned: always
    bridge:
      description: The bridge or other link whose port it is, or null.
      type: str
      returned: always
    ports:
      description: Its ports, if it is a bridge.
      type: list
      elements: str
      returned: always
    vlans:
      description:
        - The VLANs of a port or of a bridge itself, pvid, untagged and tagged, the latter as text. Null for other links, and
          on a host none of whose bridges filters VLANs.
      type: dict
      returned: always
    addresses:
      description: All addresses, each with address, scope and dynamic (by DHCP or router advertisement).
      type: list
      elements: dict
      returned: always
    routes:
      description: Routes of the main table through it, each with to, via, metric and protocol.
      type: list
      elements: dict
      returned: always
    description:
      description: Its alias, or null.
      type: str
      returned: always
    owned:
      description: Whether the collection made it.
      type: bool
      returned: always
    manager:
      description: Who manages it, networkd, NetworkManager, ifupdown, libvirt, or null.
      type: str
      returned: always
    xml:
      description: libvirt's interface XML, or null.
      type: str
      returned: when I(xml) is true
  sample:
    - name: eth0
      mac: "02:da:49:bc:aa:66"
      state: up
      carrier: true
      type: physical
      driver: virtio_net
      index: 2
      mtu: 1500
      bridge: br0
      ports: []
      vlans: null
      addresses: []
      routes: []
      description: null
      owned: false
      manager: networkd
"""

from ansible_collections.virtnet.kvm.plugins.module_utils import deps, values
from ansible_collections.virtnet.kvm.plugins.module_utils.daemon import Daemon
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import failing
from ansible_collections.virtnet.kvm.plugins.module_utils.host import Host
from ansible_collections.virtnet.kvm.plugins.module_utils.links import facts
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def add_xml(module, interfaces, uri):
    """Give each interface libvirt's XML; libvirt may have no driver for interfaces, or not know one of them."""
    import libvirt

    connection = Daemon(uri, read_only=True).connection
    for one in interfaces:
        try:
            one["xml"] = connection.interfaceLookupByName(one["name"]).XMLDesc(0)
        except libvirt.libvirtError as error:
            one["xml"] = None
            if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
                module.warn("This libvirt has no driver for interfaces: xml is null.")
                for other in interfaces:
                    other.setdefault("xml", None)
                return


def main():
    module = Module(
        argument_spec={
            "names": {"type": "list", "elements": "str"},
            "macs": {"type": "list", "elements": "str"},
            "xml": {"type": "bool", "default": False},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    given = module.params
    if given["xml"]:
        deps.require(module, "libvirt")
    with failing(module):
        macs = None
        if given["macs"] is not None:
            macs = [values.mac(text, f"macs[{index}]") for index, text in enumerate(given["macs"])]
        interfaces = facts.gather(Host(module.run_command), given["names"], macs)
        if given["xml"]:
            add_xml(module, interfaces, given["uri"])
    module.exit_json(changed=False, interfaces=interfaces)


if __name__ == "__main__":
    main()
