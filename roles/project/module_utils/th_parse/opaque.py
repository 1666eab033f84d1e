# SPDX-License-Identifier: Apache-2.0
"""What stands in a rewritten script for Python that this interpreter has no grammar for."""

OPAQUE = "_newer_syntax_"
"""The function whose call stands for an expression or a statement that this Python cannot express."""
