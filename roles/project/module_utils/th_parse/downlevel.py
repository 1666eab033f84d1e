# SPDX-License-Identifier: Apache-2.0
"""Rewriting a script for a newer Python so that this one's `ast` can parse it.

Imported only by the process of `th_parse.new_syntax`.
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from typing import Any

import libcst as cst
from ansible.module_utils.th_parse.opaque import OPAQUE

_WORD = re.compile(r"[^\W\d]\w*")


def rewritten(script: bytes) -> str | None:
    """The script in syntax that this Python understands; None if it is not valid in any version of Python."""
    try:
        module = cst.parse_module(script)
        body: list[Any] = []
        for statement in module.body:  # parsing a statement is much faster than visiting it, which most do not need
            old = _parses(module.code_for_node(statement))
            body.append(statement if old else statement.visit(_Older()))
        text = module.with_changes(body=body).code
        return text if _parses(text) else None
    except (cst.ParserSyntaxError, cst.CSTValidationError, ValueError, RecursionError, MemoryError):
        return None


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _opaque(node: cst.CSTNode) -> cst.Call:
    """A call in place of a node; its arguments are a digest of the node's source and the words in it."""
    text = cst.Module([]).code_for_node(node)
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    words = " ".join(sorted(set(_WORD.findall(text))))
    return cst.Call(cst.Name(OPAQUE), [cst.Arg(cst.SimpleString(repr(one))) for one in (digest, words)])


_STRINGS = (cst.ConcatenatedString, cst.FormattedString, cst.TemplatedString)


class _Older(cst.CSTTransformer):
    """Replaces the syntax of Python 3.12 to 3.15, as libcst 1.9 knows it, which Python 3.11 has no grammar for."""

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Do not descend into strings: one of several adjacent literals can make the whole expression new syntax."""
        return not isinstance(node, _STRINGS)

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        """The replacement for a node."""
        if isinstance(original_node, _STRINGS):
            whole = f"({cst.Module([]).code_for_node(original_node)})"
            return updated_node if _parses(whole) else _opaque(original_node)
        if isinstance(original_node, cst.ListComp | cst.SetComp | cst.GeneratorExp):
            return _opaque(original_node) if isinstance(original_node.elt, cst.StarredElement) else updated_node
        if isinstance(original_node, cst.StarredDictComp):
            return _opaque(original_node)
        if isinstance(original_node, cst.TypeAlias):
            alone = original_node.with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
            return cst.Expr(_opaque(alone), semicolon=updated_node.semicolon)
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef) and original_node.type_parameters:
            decorator = cst.Decorator(_opaque(original_node.type_parameters))
            return updated_node.with_changes(type_parameters=None, decorators=[*updated_node.decorators, decorator])
        if isinstance(original_node, cst.ExceptHandler | cst.ExceptStarHandler):
            caught = updated_node.type
            if isinstance(caught, cst.Tuple) and not caught.lpar:
                caught = caught.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
            return updated_node.with_changes(type=caught)
        if isinstance(original_node, cst.LazyImport):
            return _and_lazy(cst.Import(names=updated_node.names), updated_node)
        if isinstance(original_node, cst.LazyImportFrom):
            kept = {name: getattr(updated_node, name) for name in ("module", "names", "relative", "lpar", "rpar")}
            return _and_lazy(cst.ImportFrom(**kept), updated_node)
        return updated_node


def _and_lazy(plain: Any, node: Any) -> cst.FlattenSentinel[Any]:
    """A plain import, and a marker that it was a lazy one."""
    mark = cst.Expr(_opaque(node.with_changes(semicolon=cst.MaybeSentinel.DEFAULT)), semicolon=node.semicolon)
    return cst.FlattenSentinel([plain, mark])
