# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's module, which says of an option that does not fit where it stands."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virtnet.kvm.plugins.module_utils import options


class Module(AnsibleModule):
    """AnsibleModule; of a refused option it names the place, such as C(networks[3].dhcp.ranges[0].end), and the object."""

    params: dict[str, object]

    def __init__(self, argument_spec, **more):
        self._unchecked = argument_spec
        try:
            super().__init__(argument_spec, **more)
        except options.UNEXPECTED:
            if self._wrong() is None:
                raise
            self.fail_json("")
        self._unchecked = None

    def _wrong(self):
        """Return what is wrong with the options, as long as they are not taken; None if no option is by itself."""
        # Without parameters Ansible fails for something else.
        if self._unchecked is None or not hasattr(self, "params"):
            return None
        # Its check has made what fits of some of what does not.
        taken = self.params
        self._load_params()
        given, self.params = self.params, taken
        return options.first_wrong(self._unchecked, given)

    def fail_json(self, msg, **more):
        wrong = self._wrong()
        if wrong is not None:
            # Without what it was called with: of options that do not fit, Ansible does not know which are secrets.
            more = {"invocation": {}, **more, **wrong.as_result()}
            msg = more.pop("msg")
        super().fail_json(msg, **more)
