# SPDX-License-Identifier: Apache-2.0
"""Where a Django migration failed: the SQL statement, and the operation's place in its file."""

import ast
import contextlib
import inspect


@contextlib.contextmanager
def remembered_statements(connection):
    """Keep the last failed statement as the connection's attribute `failed`: (exception, statement)."""

    def run(execute, sql, params, many, context):
        try:
            return execute(sql, params, many, context)
        except Exception as error:
            connection.failed = (error, sql)
            raise

    connection.failed = (None, "")
    wrappers = getattr(connection, "execute_wrappers", [])  # Django 2.0 and later
    wrappers.append(run)
    try:
        yield
    finally:
        wrappers.remove(run)


def blame(error, migration, connection):
    """Add to an exception the statement that failed and the operation's place in the file.

    The exception is raised again from a frame at that place, so that every traceback shows it.
    """
    failed, statement = getattr(connection, "failed", (None, ""))
    if failed is error:
        error.args = (f"{error}\n[SQL: {' '.join(str(statement).split())}]",)
    try:
        frame = frame_of_operation(error)
        file, line = place_of(migration, frame and frame.tb_frame.f_locals["operation"])
        code = compile("\n" * (line - 1) + "raise error", file, "exec")
    except Exception:  # must not hide the error itself
        return
    if frame and frame.tb_next:
        error.__traceback__ = frame.tb_next
    exec(code, {"error": error})  # noqa: S102 - nothing but the two words above


def frame_of_operation(error):
    """The entry of an exception's traceback that runs an operation of a migration; None for none, as Django also runs
    statements after the last operation."""
    from django.db.migrations.migration import Migration

    trace = error.__traceback__
    while trace:
        frame = trace.tb_frame
        if frame.f_code in (Migration.apply.__code__, Migration.unapply.__code__) and "operation" in frame.f_locals:
            return trace
        trace = trace.tb_next
    return None


def place_of(migration, operation):
    """The file and the line of an operation, or where the operations begin."""
    kind = type(migration)
    file = inspect.getfile(kind)
    with open(file, "rb") as stream:
        tree = ast.parse(stream.read())
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    for node in body.body:
        if isinstance(node, ast.Assign) and "operations" in [getattr(name, "id", "") for name in node.targets]:
            written = getattr(node.value, "elts", [])
            number = next((index for index, one in enumerate(kind.operations) if one is operation), None)
            if number is not None and len(written) == len(kind.operations):
                return file, written[number].lineno
            return file, node.lineno
    return file, body.lineno
