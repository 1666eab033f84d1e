# SPDX-License-Identifier: Apache-2.0
"""A digest of what a migration does on upgrade; code that cannot run then is left out.

Only little is left out: comments, layout, the module's docstring, and the body of a plain function ``downgrade``. A
function is not plain if it has decorators, defaults, or annotations that are more than a name, because those run when
the module is imported. Nothing is left out that the rest of the module refers to or might reach indirectly.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.th_parse.opaque import OPAQUE
from ansible.module_utils.th_parse.python import UnreadableError, sha256

DOWNGRADE = "downgrade"

_ANYTHING = frozenset(
    """
    DriverManager EntryPoint ExtensionManager Formatter ForwardRef ScriptDirectory Template _current_frames
    _getframe ag_frame attrgetter bdb builtins cProfile cloudpickle code codeop compile cr_frame ctypes currentframe
    dictConfig dill dir doctest eval exec exec_module execfile f_back f_builtins f_globals f_locals fileConfig gc
    get_field get_module get_objects get_referents get_referrers get_revision get_revisions get_type_hints getattr
    getattr_static getmembers gi_frame globals imp import_module importlib inspect iterate_revisions jinja2
    load_module load_module_py load_python_file load_source locals mako marshal methodcaller module modules
    multiprocessing pdb pickle pkgutil popen profile pydoc run_module run_path runctx runpy runsource setprofile
    settrace shelve stevedore subprocess system tb_frame timeit trace unittest vars vformat walk_revisions yaml
    zipimport
    """.split()
)
"""Names by which a module may reach other code without naming it."""
_FINDS = re.compile(r"import|locate|resolve|evaluat|interpret|pickle|unsafe", re.IGNORECASE)
"""Matches further names of that kind: functions that find an object by a string, and embedded interpreters."""
_SAFE = frozenset(
    """
    __abstract__ __all__ __enter__ __exit__ __future__ __init__ __mapper_args__ __str__ __table__ __table_args__
    __tablename__ __version__
    """.split()
)
_OWN_TEXT = frozenset(
    """
    __file__ __loader__ __spec__ co_filename co_firstlineno co_lines f_code f_lineno findsource fwalk get_data
    get_source getcomments getfile getsource getsourcefile getsourcelines glob iglob inspect iterdir linecache
    listdir open py read_binary read_bytes read_text resource_filename resource_stream resource_string rglob scandir
    tb_lineno tokenize walk
    """.split()
)
"""Names by which a module may read its own source, comments included."""


def what_runs(module: ast.Module, content: bytes) -> dict[str, Any]:
    """The digests of a script: ``digest`` is of what its upgrade does, ``whole`` has its downgrade as well; ``refers``
    is whether it may call the downgrade of another one. Raises UnreadableError."""
    plain_downs = [_is_plain_downgrade(one) for one in module.body]
    notes = [isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in module.body]
    up = [one for one, *others in zip(module.body, plain_downs, notes, strict=True) if not any(others)]
    names, texts = _mentioned(up)
    refers = any(DOWNGRADE in word.lower() for words in (names, texts) for word in words)
    if not names.isdisjoint(_OWN_TEXT) or any(".py" in text for text in texts):
        own = sha256(content)
        return {"digest": own, "whole": own, "refers": refers}
    hidden = any(map(_may_reach, names)) or any("__" in text for text in texts)
    both = module.body if hidden else [one for one, note in zip(module.body, notes, strict=True) if not note]
    whole = _digest(both)
    return {"digest": whole if refers or hidden else _digest(up), "whole": whole, "refers": refers}


def all_that_runs(module: ast.Module, content: bytes) -> str:
    """The digest of a script in which no part is for the downgrade alone. Raises UnreadableError."""
    return str(what_runs(module, content)["whole"])


def _is_plain_downgrade(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.FunctionDef) or statement.name != DOWNGRADE:
        return False
    arguments = statement.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    annotations = [statement.returns, *(one.annotation for one in every if one is not None)]
    return (
        not statement.decorator_list
        and not arguments.defaults
        and not any(arguments.kw_defaults)
        and not getattr(statement, "type_params", [])
        and all(one is None or isinstance(one, ast.Constant | ast.Name) for one in annotations)
    )


def _may_reach(name: str) -> bool:
    return name in _ANYTHING or _is_magic(name) or bool(_FINDS.search(name))


def _is_magic(name: str) -> bool:
    return name.startswith("__") and name.endswith("__") and name not in _SAFE


def _mentioned(body: list[ast.stmt]) -> tuple[set[str], list[str]]:
    """All names in some statements, including those of attributes and modules, and all strings."""
    names: set[str] = set()
    texts: list[str] = []
    for node in ast.walk(ast.Module(body=body, type_ignores=[])):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node.value, bytes):
                texts.append(node.value.decode("latin-1"))
        else:
            names.update(_names(node))
    return names, texts


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == OPAQUE:
        for argument in node.args:  # the words of what this Python has no grammar for
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield from argument.value.split()
    elif isinstance(node, ast.ImportFrom):
        module = (node.module or "").split(".")
        yield from module
        yield from (one.name for one in node.names if one.name != "inspect" or module[0] != "sqlalchemy")
        yield from (one.asname for one in node.names if one.asname)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield from (*alias.name.split("."), alias.asname or "")
    elif isinstance(node, ast.Attribute | ast.Name):
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        if name != "inspect":  # SQLAlchemy's; the module of that name has to be imported
            yield name
    elif not isinstance(node, ast.alias):
        for _, value in ast.iter_fields(node):
            yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))


def _digest(body: list[ast.stmt]) -> str:
    try:
        text = ast.dump(ast.Module(body=body, type_ignores=[]))
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None
    except ValueError:
        raise UnreadableError("it holds a number that is too long") from None
    return sha256(text.encode("utf-8", "backslashreplace"))
