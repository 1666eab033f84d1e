# SPDX-License-Identifier: Apache-2.0
"""A packaged Django app, as wheels: each version has a migration more than the one before."""

from collections.abc import Mapping
from pathlib import Path

from . import packages

FIELD = 'migrations.AddField("Bill", "f{0}", models.IntegerField(null=True))'
FAILS = 'migrations.RunSQL("SELECT no_such_column FROM bill_bill")'


def module(operation: str, *lines: str) -> str:
    body = "".join(f"    {line}\n" for line in (*lines, f"operations = [{operation}]"))
    return f"from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n{body}"


def chain(count: int, last: str = "") -> dict[str, str]:
    """The migrations of the packaged app up to a number."""
    found = {"0001_initial": module("migrations.CreateModel('Bill', [('id', models.AutoField(primary_key=True))])")}
    for number in range(2, count + 1):
        before = f"{number - 1:04}_f{number - 1}" if number > 2 else "0001_initial"
        operation = last if last and number == count else FIELD.format(number)
        found[f"{number:04}_f{number}"] = module(operation, f'dependencies = [("bill", "{before}")]')
    return found


SQUASHED = {
    "0001_squashed_0003": module(
        "migrations.CreateModel('Bill', [('id', models.AutoField(primary_key=True)), "
        "('f2', models.IntegerField(null=True)), ('f3', models.IntegerField(null=True))])"
    ),
    "0004_f4": module(FIELD.format(4), 'dependencies = [("bill", "0001_squashed_0003")]'),
}
VERSIONS: dict[str, dict[str, str]] = {
    "1": chain(1),
    "2": chain(2),
    "3": chain(3),
    "4": chain(4),
    "4.1": chain(4, FAILS),
    "5": SQUASHED,
}


def add_wheel(folder: Path, version: str, migrations: Mapping[str, str]) -> None:
    beside = {f"bill/migrations/{name}.py": text for name, text in migrations.items()}
    packages.add_wheel(folder, "bill", version, beside={"bill/migrations/__init__.py": "", **beside})
