# SPDX-License-Identifier: Apache-2.0
"""The placeholder, in a rewritten script, for syntax that this interpreter does not know."""

OPAQUE = "_newer_syntax_"
"""The function whose call replaces an expression or a statement that this Python cannot parse."""
