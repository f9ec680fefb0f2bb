# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A packet's path, hop by hop, as it was seen, and the first thing that stops it. Pure."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.explain import owners, static
from ansible_collections.virtnet.kvm.plugins.module_utils.explain.seen import GUEST, KERNEL, Seen, Stopped
from ansible_collections.virtnet.kvm.plugins.module_utils.explain.trace_text import ASK, NEIGHBOUR, REPLY, TABLE

#: Errors of a guest's own system when it is told to send.
SENDING = {
    "ENETUNREACH": "it has no route to {}",
    "EHOSTUNREACH": "it has a route that refuses {}",
    "EPERM": "its own firewall does not let it send to {}",
    "EACCES": "it may not send to {}",
    "ENETDOWN": "its NIC is down",
}  # fmt: skip


class Walk(Seen):
    """The way of a packet, from its sender to the receiver and back."""

    # -- the way

    def follow(self):
        """Go the way, until something stops the packet."""
        try:
            self.leaves(self.src)
            if not self.blind:
                self.goes(ASK, self.src, self.dst)
                self.arrives()
                self.answers()
            else:
                self.looked_up()
        except Stopped:
            return

    def leaves(self, end):
        """The sender: does it run, is it wired, did it send?"""
        if end["kind"] != "guest":
            self.sends(end)
            return
        self.lives(end)
        self.wired(end, self.got_through(ASK))
        if end["address"] is None:
            self.stop(
                end["host"],
                end["process"],
                f"it has no IPv{self.version} address",
                GUEST,
                "DHCP, or an address of its own, in the guest: ip address; its network's addresses and dhcp.",
            )
        self.sends(end)

    def lives(self, end):
        """A guest: does it run, is its NIC connected?"""
        guest = self.hosts[end["host"]]["guests"][end["process"]]
        nic = end["nic"]
        if not guest["runs"]:
            self.stop(
                end["host"],
                end["process"],
                f"it {guest['state']}",
                GUEST,
                f"virsh start {end['process']} (or resume), or virtnet.kvm.guest_vm with state: running",
            )
        if nic is None:
            self.stop(end["host"], end["process"], "it has no NIC", GUEST, "Give it one: virtnet.kvm.guest_nic")
        if nic["link"] == "down":
            self.stop(
                end["host"],
                end["process"],
                f"the link of its NIC {nic['tap']} is set down in libvirt",
                "libvirt",
                f"virsh domif-setlink {end['process']} {nic['tap']} up, or link: up of the NIC",
            )
        self.ok(end["host"], end["process"], f"runs; {nic['dev'] or nic['mac']} has {end['address'] or 'no address'}")

    def wired(self, end, passed):
        """A guest's tap and bridge, as they are; what is wrong there is the answer, wherever else it ended."""
        facts, nic = self.hosts[end["host"]], end["nic"]
        for place, text, problem in static.segment(facts, nic):
            if problem and not passed:
                self.stop(end["host"], place, text, *problem)
            self.ok(end["host"], place, text)

    def sends(self, end):
        silent = self.why_silent(end) or (self.hosts[end["host"]]["guests"].get(end["process"]) or {}).get("agent")
        row = self.sent()
        if row is None:
            self.unseen(end["host"], end["process"], f"no packet was sent: {silent or 'it was not asked'}")
        elif row["error"] and not row["sent"] and not self.visits(end["host"], ASK):
            self.routed_by(end)
            words = SENDING.get(row["error"], "sending to {} failed: " + row["error"]).format(self.dst["address"])
            self.stop(
                end["host"],
                self.name(end),
                words,
                GUEST if end["kind"] == "guest" else KERNEL,
                "A route in it: ip route; a default route comes with DHCP of a network that has a gateway."
                if "UNREACH" in row["error"]
                else "Look at its own firewall and links.",
            )

    def goes(self, direction, sender, receiver):
        """From the sender's host to the receiver's."""
        self.prefix = "answer: " if direction == REPLY else ""
        places = list(dict.fromkeys(one["host"] for one in (sender, receiver) if one["host"]))
        kvm = [one for one in places if self.hosts[one]["kind"] == "kvm"]
        for number, host in enumerate(kvm):
            visits = self.visits(host, direction)
            if not visits:
                self.nothing(host, direction, sender, receiver, first=number == 0 and host == sender["host"])
                break
            self.through(host, direction, visits, receiver)
            self.gap(host, direction, visits, sender, receiver)
        self.prefix = ""

    def got_through(self, direction):
        return self.replied or (direction == ASK and self.arrival is not None)

    def through(self, host, direction, visits, receiver):
        """All hooks of one host."""
        addresses = {}
        for visit in visits:
            place = f"{visit['layer']} {visit['hook']}"
            if visit["hook"] == "forward" and visit["layer"] == "ip":
                self.right_way(host, direction, visit, receiver)
            if visit["drop"]:
                self.dropped(host, place, visit["drop"])
            words = [one for one in visit["tables"] if f" {TABLE} " not in one]
            text = ", ".join(words) or "no table"
            ways = " → ".join(one for one in (visit["iif"], visit["oif"]) if one)
            for key, name in (("daddr", "destination"), ("saddr", "source")):
                if visit["layer"] == "ip" and visit[key]:
                    if addresses.get(key) not in (None, visit[key]):
                        text += f"; {name} becomes {visit[key]}"
                    addresses[key] = visit[key]
            self.ok(host, place, f"{ways}: {text}" if ways else text)

    def right_way(self, host, direction, visit, receiver):
        """Does the host send it by the receiver's bridge?"""
        if receiver["kind"] != "guest" or receiver["host"] != host or self.got_through(direction):
            return
        bridge = receiver["nic"]["bridge"]
        if bridge and visit["oif"] and visit["oif"] != bridge:
            via = (self.route(host, direction).get("out") or {}).get("via")
            self.stop(
                host,
                "routing",
                f"{receiver['address']} goes by {visit['oif']}{f' via {via}' if via else ''} and not by {bridge}",
                KERNEL,
                f"The route to the network is missing or hidden by another: ip route get {receiver['address']}; "
                f"ip rule; ip address show dev {bridge}",
            )

    def nothing(self, host, direction, sender, receiver, first):
        """A packet that is on its way was not seen at all on a host."""
        if self.got_through(direction):
            return
        if not first:
            self.lost_between(host, direction, sender, receiver)
        near = self.visits(host, NEIGHBOUR)
        for visit in near:
            if visit["drop"]:
                self.dropped(host, f"{visit['layer']} {visit['hook']}", visit["drop"])
        if sender["kind"] != "guest":
            self.stop(
                host, "routing", static.no_route_words(self.route(host, direction)), KERNEL, f"ip route get {receiver['address']}"
            )
        self.no_neighbour(host, sender, receiver, bool(near))

    def no_neighbour(self, host, sender, receiver, asked):
        """A guest has a packet, and does not get it off: whom does it not find?"""
        nic = sender["nic"]
        if static.same_bridge(sender, receiver):
            self.reaches(receiver, sender)
            self.mute(host, receiver)
        self.routed_by(sender)
        if asked:
            self.stop(
                host,
                nic["bridge"] or "bridge",
                "nobody answers the guest's question for its gateway's MAC address",
                KERNEL,
                f"The gateway in the guest, and who has that address: ip address show dev {nic['bridge']}",
            )
        self.stop(
            host,
            nic["tap"] or "NIC",
            "nothing came out of the guest's NIC",
            GUEST,
            f"Look in the guest: ip link, its own firewall. On {host}, before nftables sees a frame: nft list ruleset netdev, "
            f"tc filter show dev {nic['tap']} ingress",
        )

    def routed_by(self, end):
        """A guest that sends nothing to where its host would have to forward it: does the host do that?"""
        there = self.dst["kind"] == "host" and self.dst["host"] == end["host"]
        if end is not self.src or end["kind"] != "guest" or there or static.same_bridge(self.src, self.dst):
            return
        problem = static.no_router(self.hosts[end["host"]], end["nic"]["bridge"], self.version)
        if problem:
            self.stop(end["host"], "routing", *problem)

    def mute(self, host, receiver):
        """A guest to whom all leads, and who does not say that an address is its own."""
        self.stop(
            host,
            receiver["process"],
            f"it does not answer for {receiver['address']}",
            GUEST,
            "Look in the guest: is its NIC up, is that its address?",
        )

    def reaches(self, end, other):
        """The receiver's own part: why does nothing come to a guest?"""
        self.lives(end)
        self.wired(end, False)
        problem = static.isolated(self.hosts[end["host"]], other, end)
        if problem:
            self.stop(end["host"], end["nic"]["tap"], *problem)

    def lost_between(self, host, direction, sender, receiver):
        """It left one host and never came to another."""
        route = self.route(sender["host"], direction) if sender["host"] else {}
        way = route.get("in") or route.get("out") or {}
        via = way.get("via")
        own = [one.partition("/")[0] for link in self.hosts[host]["links"].values() for one in link["addresses"]]
        if via and via not in own:
            self.stop(
                sender["host"],
                "routing",
                f"it went to {via}, and never came to {host}",
                f"the router {via}",
                f"A route to {receiver['address']} by {host}, on {sender['host']} or on {via}: return_routes of its network "
                "(peers or bgp).",
            )
        self.stop(
            host,
            "link",
            f"it left {sender['host'] or sender['label']}, and never came to {host}",
            "the network between",
            f"Look at what is between the two: tcpdump -ni {way.get('dev') or 'LINK'} on both.",
        )

    def gap(self, host, direction, visits, sender, receiver):
        """Where did it go after the last hook, if it did not go on?"""
        if self.got_through(direction):
            return
        last = visits[-1]
        seen = {(one["layer"], one["hook"]) for one in visits}
        if receiver["kind"] == "guest" and receiver["host"] == host:
            tap = receiver["nic"]["tap"]
            if any(one["layer"] == "bridge" and one["hook"] == "postrouting" and one["oif"] == tap for one in visits):
                return
        if static.same_bridge(sender, receiver) and receiver["host"] == host:
            self.reaches(receiver, sender)
            self.stop(
                host,
                receiver["nic"]["bridge"],
                "the bridge does not hand it to the guest's port",
                KERNEL,
                f"bridge fdb show br {receiver['nic']['bridge']}; bridge link show dev {receiver['nic']['tap']}",
            )
        if ("ip", "postrouting") in seen:
            if receiver["kind"] == "guest" and receiver["host"] == host:
                self.reaches(receiver, sender)
                self.mute(host, receiver)
            return
        if ("ip", "input") in seen and receiver["host"] == host:
            return
        if ("ip", "forward") in seen or ("ip", "output") in seen:
            hook = "forward" if ("ip", "forward") in seen else "output"
            inside = not next(one for one in visits if (one["layer"], one["hook"]) == ("ip", hook))["left"]
            self.stop(
                host,
                f"ip {hook}",
                static.lost_words(self.hosts[host], last) if not inside else static.untraceable(hook),
                KERNEL,
                f"ip link show dev {last['oif']}; nstat -az on {host}; iptables-legacy-save if it is there",
            )
        if ("ip", "prerouting") in seen:
            self.routing(host, direction)
        if last["layer"] == "bridge" and not last["left"]:
            place = f"bridge {last['hook']}"
            self.stop(host, place, static.untraceable(last["hook"]), KERNEL, "ebtables-legacy-save, if it is there")
        self.stop(
            host,
            last["iif"] or "bridge",
            "the bridge took the frame, and nobody got it",
            KERNEL,
            f"Is it for the gateway's MAC address? ip neighbour in the guest; ip link show on {host}",
        )

    def routing(self, host, direction):
        facts, route = self.hosts[host], self.route(host, direction)
        before = (self.found[host].get("listen") or {}).get("counters") or {}
        after = (self.found[host].get("collect") or {}).get("counters") or {}
        self.stop(host, "routing", *static.routing(facts, route, self.version, before, after))

    # -- the other end

    def arrives(self):
        dst, host = self.dst, self.dst["host"]
        self.translated()
        if dst["kind"] == "address":
            if self.replied or self.refused:
                return
            way = self.route(self.src["host"], ASK).get("in") or {}
            self.stop(
                self.src["host"],
                dst["label"],
                "it left this host, and no answer came",
                "who is beyond",
                f"tcpdump -ni {way.get('dev') or 'LINK'} host {dst['address']} on {self.src['host']}; is there a way back?",
            )
        if self.arrival is not None:
            place = self.name(dst)
            self.ok(host, place, f"it came, from {self.arrival['source']}")
            return
        if self.replied or self.refused:
            return
        if dst["kind"] == "outside":
            self.lost_between(host, ASK, self.src, dst)
        silent = self.why_silent(dst)
        place = self.name(dst)
        if silent:
            self.unseen(host, place, f"whether it came is not known: {silent}")
        elif dst["kind"] == "guest":
            self.stop(
                host,
                place,
                f"it was handed to its NIC {dst['nic']['tap']}, and the guest did not take it in",
                GUEST,
                f"Look in the guest: is its NIC up, has it {dst['address']}, what does its own firewall do?",
            )

    def translated(self):
        """A guest behind masquerade whose address stays as it is."""
        promise = self.plan["promise"] or {}
        back = self.replied or self.refused or self.visits(self.src["host"], REPLY)
        if promise.get("source") != "host" or not promise["allowed"] or back:
            return
        out = [one for one in self.visits(self.src["host"], ASK) if (one["layer"], one["hook"]) == ("ip", "postrouting")]
        source = self.arrival["source"] if self.arrival else out[-1]["saddr"] if out else None
        if source == self.src["address"]:
            name = promise["networks"][0]["name"]
            self.stop(
                self.src["host"],
                "ip postrouting",
                f"its source stays {source}: nobody translates it, and no answer finds back",
                owners.OURS,
                f"The role of {name} again (virtnet.kvm.nat_rule), or systemctl restart virtnet-firewall.service",
            )

    def answers(self):
        dst, host = self.dst, self.dst["host"]
        if self.replied:
            self.reply_path()
            return
        if self.refused:
            self.is_refused()
        if self.arrival is None and not self.why_silent(dst):
            return
        if host and self.hosts[host]["kind"] == "kvm":
            if not self.visits(host, REPLY):
                self.silent()
            self.goes(REPLY, dst, self.src)
        else:
            back = ((self.found.get(host) or {}).get("collect", {}).get("routes", {}).get("back")) or {}
            if not self.visits(self.src["host"], REPLY):
                self.no_way_back(back)
            self.goes(REPLY, dst, self.src)
        self.stop(
            self.src["host"],
            self.src["process"],
            "the answer came back, and was not taken in",
            GUEST,
            "Look at the asking end's own firewall.",
        )

    def reply_path(self):
        host = self.dst["host"] or self.src["host"]
        places = list(dict.fromkeys(one for one in (host, self.src["host"]) if self.visits(one, REPLY)))
        for place in places:
            tables = [one for visit in self.visits(place, REPLY) for one in visit["tables"] if f" {TABLE} " not in one]
            names = ", ".join(dict.fromkeys(" ".join(one.split()[:2]) for one in tables))
            self.ok(place, "reply", f"through {names or 'no table'}")
        self.ok(self.src["host"], self.name(self.src), "the answer came back")

    def is_refused(self):
        by = self.refused.rpartition(" by ")[2]
        what = self.refused.rpartition(" by ")[0]
        place = self.name(self.dst)
        port = f"{self.plan['protocol']} port {self.plan['port']}"
        if by == self.dst["address"]:
            unreachable = what in ("ICMP type 3 code 3", "ICMP type 1 code 4")
            if what == "reset" or unreachable:
                self.stop(
                    self.dst["host"] or self.src["host"],
                    place,
                    f"nothing listens at {port} there ({what})",
                    GUEST if self.dst["kind"] == "guest" else "that machine",
                    f"Start the service: ss -lnp in {place}",
                )
            self.stop(
                self.dst["host"] or self.src["host"],
                place,
                f"its own firewall refuses it ({what})",
                GUEST if self.dst["kind"] == "guest" else "that machine",
                f"nft list ruleset in {place}",
            )
        self.stop(self.src["host"], by, f"{by} refuses it ({what})", by, "The routes and the firewall of who has that address.")

    def silent(self):
        """It came to B, and B sent nothing that was seen."""
        dst, host = self.dst, self.dst["host"]
        place = self.name(dst)
        near = [one for one in self.visits(host, NEIGHBOUR) if one["drop"]]
        if near:
            self.dropped(host, f"{near[0]['layer']} {near[0]['hook']}", near[0]["drop"])
        way = (self.found[host].get("collect") or {}).get("guest_route")
        source = self.arrival["source"] if self.arrival else self.src["address"]
        if dst["kind"] == "guest" and way and way.get("error"):
            self.stop(
                host,
                place,
                f"it has no route back to {source}: {way['error']}",
                GUEST,
                "A default route in the guest: its network's gateway, by DHCP or by hand.",
            )
        if self.plan["protocol"] == "udp":
            self.unseen(host, place, "it said nothing, which a service of UDP may do")
            raise Stopped
        self.stop(
            host,
            place,
            "it heard it and says nothing: its own firewall drops it, or its answer",
            GUEST if dst["kind"] == "guest" else KERNEL,
            f"In {place}: nft list ruleset, iptables-save; sysctl net.ipv4.icmp_echo_ignore_all",
        )

    def no_way_back(self, back):
        """A machine outside heard it, and its answer never came to the host."""
        host, source = self.dst["host"], self.arrival["source"] if self.arrival else self.src["address"]
        out = back.get("out") or {}
        links = self.hosts[self.src["host"]]["links"].values()
        own = [str(ipaddress.ip_interface(one).ip) for link in links for one in link["addresses"]]
        cure = f"A route to {source} by {self.src['host']} there: return_routes of the guest's network (peers or bgp)."
        if out.get("error"):
            self.stop(host, self.dst["label"], f"it has no route back to {source} ({out['error']})", self.dst["label"], cure)
        if out.get("via") and out["via"] not in own:
            self.stop(
                host,
                self.dst["label"],
                f"its way back to {source} leads to {out['via']}, and not to {self.src['host']}",
                self.dst["label"],
                cure,
            )
        self.stop(
            host,
            self.dst["label"],
            "it heard it, and no answer came",
            self.dst["label"],
            "Look at its own firewall and whether anything listens.",
        )

    def looked_up(self):
        """No packet could be sent: tell what can be looked up, and say that it is no proof."""
        for direction, end in ((ASK, self.src), (REPLY, self.dst)):
            if end["host"] is None or self.hosts[end["host"]]["kind"] != "kvm":
                continue
            if end is self.dst and end["kind"] == "guest":
                self.reaches(end, self.src)
            route = self.route(end["host"], direction)
            if not route or end["kind"] != "guest" or static.same_bridge(self.src, self.dst):
                continue
            problem = static.routing(self.hosts[end["host"]], route, self.version, {}, {}, guess=False)
            if problem:
                self.stop(end["host"], "routing", *problem)
            way = route.get("in") or {}
            self.ok(end["host"], "routing", f"to {route['target']} by {way.get('dev') or (route.get('out') or {}).get('dev')}")
        self.unseen(self.src["host"], "rules", "what the rules of nftables do with it was not seen, for no packet was sent")
