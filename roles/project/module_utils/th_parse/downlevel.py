# SPDX-License-Identifier: Apache-2.0
"""One script in a newer Python, rewritten for the `ast` of this one.

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
    """The script in words that this Python understands; None for one that is Python of no version."""
    try:
        module = cst.parse_module(script)
        body: list[Any] = []
        for statement in module.body:  # to visit a statement takes much longer than to see that it need not be
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
    """A call that differs where the text of what it stands for does; it has the words of that, too."""
    text = cst.Module([]).code_for_node(node)
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    words = " ".join(sorted(set(_WORD.findall(text))))
    return cst.Call(cst.Name(OPAQUE), [cst.Arg(cst.SimpleString(repr(one))) for one in (digest, words)])


_STRINGS = (cst.ConcatenatedString, cst.FormattedString, cst.TemplatedString)


class _Older(cst.CSTTransformer):
    """Takes out of a tree what Python 3.11 has no grammar for: that of 3.12 to 3.15, as libcst 1.9 has it."""

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Leave strings whole: of several side by side one may make all of them new."""
        return not isinstance(node, _STRINGS)

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        """What stands for a node."""
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
    """An import, and what says that it was one of another kind."""
    mark = cst.Expr(_opaque(node.with_changes(semicolon=cst.MaybeSentinel.DEFAULT)), semicolon=node.semicolon)
    return cst.FlattenSentinel([plain, mark])
