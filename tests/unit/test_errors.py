# SPDX-License-Identifier: Apache-2.0
import pytest

from worker import errors


@pytest.mark.parametrize(
    ("error", "text", "exit_code"),
    [
        (
            errors.ConfigError("/etc/c.yaml", "plugins[1].name", "is missing", "add it"),
            "/etc/c.yaml: plugins[1].name: is missing; add it",
            2,
        ),
        (errors.ConfigError("/etc/c.yaml", "", "cannot be read"), "/etc/c.yaml: cannot be read", 2),
        (errors.DatasetError("/d/a.json", "seed_data", "no such file"), "/d/a.json: seed_data: no such file", 3),
        (errors.RequestError("ZUUL_REF", "is wrong"), "ZUUL_REF: is wrong", 2),
        (errors.InfrastructureError("disk_full", "/var"), "disk_full: /var", 3),
        (errors.UsageError("--job: is missing"), "--job: is missing", 2),
    ],
)
def test_each_error_is_one_line_and_knows_its_exit_status(
    error: errors.TurboHipsterError, text: str, exit_code: int
) -> None:
    assert str(error) == text
    assert error.exit_code == exit_code
    assert isinstance(error, errors.TurboHipsterError)


def test_text_of_several_lines_becomes_one() -> None:
    error = errors.ConfigError("/c", "", "while scanning\n  found ':'\n", "fix it")
    assert str(error) == "/c: while scanning found ':' ; fix it"
