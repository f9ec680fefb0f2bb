# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sphinx's settings for the site. Nothing in it is fetched, neither while it is made nor while it is read."""

project = "virtnet.kvm"
author = "the virtnet.kvm authors"
copyright = "2026, the virtnet.kvm authors"  # noqa: A001  # Sphinx's name for it
language = "en"

extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"

# Headings have the anchors that they have on code-hosting sites, so that links work in both.
myst_heading_anchors = 4
# The languages of fences in our pages that Sphinx has no other name for.
highlight_language = "none"
pygments_style = "friendly"
pygments_dark_style = "monokai"

nitpicky = True
nitpick_ignore_regex = [
    # What other collections document is not here.
    (r"std:.*", r"ansible_collections\.(?!virtnet\.kvm\.).*"),
    # Environment variables that belong to ansible-core.
    ("std:envvar", r"ANSIBLE_.*"),
]
# The changelog and the pages from ansible-doc say the same name more than once.
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = "virtnet.kvm"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
