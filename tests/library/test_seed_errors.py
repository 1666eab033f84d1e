# SPDX-License-Identifier: Apache-2.0
"""What the client says of a dump that does not load, without the rows."""

import string

import pytest
from ansible.module_utils.th_dump.cures import cure_of
from ansible.module_utils.th_dump.seed_errors import MOST, ClientError, masked, read_error

SECRETS = ("alice@example.org", "bob@example.org", "carol@example.org")
STATEMENT = "INSERT INTO `t` VALUES " + ",".join(f"({n},'{secret}')" for n, secret in enumerate(SECRETS))


def said(error: str, statement: str = STATEMENT) -> str:
    """As the mariadb client shows an error in --batch."""
    return f"--------------\n{statement}\n--------------\n\n{error}\n"


@pytest.mark.parametrize(
    ("number", "text", "left"),
    [
        (1062, f"Duplicate entry '{SECRETS[0]}' for key 'u_email'", "Duplicate entry '…' for key 'u_email'"),
        (1062, f"Duplicate entry 'it's {SECRETS[0]}' for key 'x'' for key 'u'", "Duplicate entry '…' for key 'u'"),
        (1062, f"Duplicate entry '{SECRETS[0]}\nERROR 1' for key 'u'", "Duplicate entry '…' for key 'u'"),
        (1064, "You have an error in your SQL syntax; check the manual that corresponds to your MariaDB server version"
         f" for the right syntax to use near '('{SECRETS[0]}',3)' at line 1", "You have an error in your SQL syntax"),
        (1366, f"Incorrect string value: '{SECRETS[0]}' for column `x`.`t`.`c` at row 1",
         "Incorrect string value: '…' for column `x`.`t`.`c` at row 1"),
        (1292, f"Truncated incorrect DOUBLE value: '{SECRETS[0]}'", "Truncated incorrect DOUBLE value: '…'"),
        (1054, f"Unknown column '{SECRETS[0]}' in 'field list'", "Unknown column '…'"),
        (1690, f"BIGINT value is out of range in '(`t`.`a` + '{SECRETS[0]}')'", "BIGINT value is out of range in '…'"),
        (9999, f"A new error with '{SECRETS[0]}", "A new error with '…'"),
        (1406, "Data too long for column 'email' at row 7", "Data too long for column 'email' at row 7"),
        (1273, "Unknown collation: 'utf8mb4_0900_ai_ci'", "Unknown collation: 'utf8mb4_0900_ai_ci'"),
        (1452, "Cannot add or update a child row: a foreign key constraint fails (`x`.`t`, CONSTRAINT `fk`)",
         "Cannot add or update a child row: a foreign key constraint fails (`x`.`t`, CONSTRAINT `fk`)"),
    ],
)  # fmt: skip
def test_values_are_masked_and_names_stay(number: int, text: str, left: str) -> None:
    error = read_error(said(f"ERROR {number} (HY000) at line 12: {text}"))
    assert (error.number, error.line) == (number, 12)
    for secret in SECRETS:
        assert secret not in error.said and secret[:5] not in error.said, error.said
    assert error.text == left


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (f"ERROR 1644 (45000) at line 3: bad address {SECRETS[0]}", "a trigger or routine of the dump refuses it"),
        (f"ERROR 1048 (45000) at line 3: {SECRETS[0]} is no customer", "a trigger or routine of the dump refuses it"),
        ("ERROR 1526 (HY000) at line 3: Table has no partition for value 4111111111",
         "Table has no partition for value …"),
        ("ERROR 1136 (21S01) at line 3: Column count doesn't match value count at row 2",
         "Column count doesn't match value count at row 2"),
        (f"ERROR 9999 (HY000) at line 3: It doesn't like '{SECRETS[0]}' here", "It doesn't like '…' here"),
    ],
)  # fmt: skip
def test_values_without_quotes(error: str, left: str) -> None:
    found = read_error(said(error))
    assert found.text.startswith(left) and found.line == 3
    assert not [secret for secret in (*SECRETS, "4111111111") if secret in found.said]


def test_rows_that_look_like_an_error() -> None:
    rows = f"INSERT INTO t VALUES ('\n--------------\n\nnothing\nERROR 1064 (42000) at line 3: {SECRETS[0]}')"
    error = read_error(said("ERROR 1146 (42S02) at line 9: Table 'x.t' doesn't exist", rows))
    assert error == ClientError(1146, 9, "Table 'x.t' doesn't exist")


@pytest.mark.parametrize(
    "text",
    [
        f"ASCII '\\0' appeared in the statement, but this is not allowed. Query: '{SECRETS[0]}'.",
        f"Unknown command '\\!'. Query: '{SECRETS[0]}",
    ],
)
def test_the_clients_own_errors_have_no_query(text: str) -> None:
    error = read_error(f"ERROR at line 1: {text}")
    assert error.number == 0 and SECRETS[0] not in error.said


@pytest.mark.parametrize("said", ["", "x" * 70_000, "ERROR", "ERROR 1062", "\0" * 100])
def test_what_is_no_error_is_no_text(said: str) -> None:
    assert read_error(said).text.startswith("the client has ended")


@pytest.mark.parametrize("number", [0, 1062, 1064, 1366, 5000])
def test_a_text_is_short_and_one_line(number: int) -> None:
    for text in (string.printable * 50, "'" * 5000, "for column " * 600, "near '" * 900):
        assert len(masked(number, text)) <= MOST and masked(number, text).isprintable()


@pytest.mark.parametrize(
    ("number", "text", "statement", "cure"),
    [
        (1193, "Unknown system variable 'GTID_PURGED'", "SET @@GLOBAL.GTID_PURGED='a:1'", "--set-gtid-purged=OFF"),
        (1227, "Access denied; you need SUPER", "SET @@GLOBAL.GTID_PURGED='a:1'", "--set-gtid-purged=OFF"),
        (1273, "Unknown collation: 'utf8mb4_0900_ai_ci'", "CREATE TABLE `t` (", "utf8mb4_unicode_ci"),
        (1118, "Row size too large", "CREATE TABLE `t` (", "innodb_strict_mode"),
        (1906, "The value specified for generated column 'b'", "INSERT INTO `t` VALUES (1,2)", "mysqldump"),
        (3105, "The value specified for generated column 'b'", "INSERT INTO `t` VALUES (1,2)", "generated"),
        (1064, "You have an error", "CREATE TABLE `t` (\n KEY `k` ((lower(`e`)))\n);", "index on an expression"),
        (1064, "You have an error", "CREATE TABLE `t` (\n KEY `k` ((cast(`e` as char(9) array)))\n);", "expression"),
        (1064, "You have an error", "CREATE TABLE `t` (`b` int GENERATED ALWAYS AS (1) STORED NOT NULL);", "NOT NULL"),
        (1064, "You have an error", "CREATE TABLE `t` (`v` frob);", "--ignore-table"),
        (1064, "You have an error", "INSERT INTO `t` VALUES ('((');", "anonymising"),
        (1064, "You have an error", "CREATE DEFINER=`a`@`b` PROCEDURE p() BEGIN", "--routines"),
        (1231, "Variable 'sql_notes' can't be set to the value of 'NULL'", "SET SQL_NOTES=@OLD_SQL_NOTES", "beginning"),
        (1231, "Variable 'sql_mode' can't be set to the value of 'X'", "SET sql_mode='X'", "sql_mode"),
        (1524, "Plugin 'caching_sha2_password' is not loaded", "CREATE USER `a`", "accounts"),
        (1901, "Function or expression 'uuid_to_bin'", "CREATE TABLE `t` (", "default"),
        (1062, "Duplicate entry '…' for key 'u'", "INSERT INTO `t` VALUES (1)", "twice"),
        (1452, "Cannot add or update a child row", "INSERT INTO `t` VALUES (1)", "foreign key checks"),
        (1067, "Invalid default value for 'd'", "CREATE TABLE `t` (", "server_settings"),
        (1146, "Table 'x.y' doesn't exist", "CREATE VIEW v", "view"),
        (1146, "Table 'x.Y' doesn't exist", "INSERT INTO `Y` VALUES (1)", "lower_case_table_names"),
        (4166, "The used command is not allowed", "LOAD DATA LOCAL INFILE 'x' INTO TABLE t", "INSERTs"),
        (1290, "The server is running with the --secure-file-priv option", "LOAD DATA INFILE 'x'", "--tab"),
        (1449, "The user specified as a definer ('…') does not exist", "CREATE VIEW v", "DEFINER"),
        (1644, "a trigger or routine of the dump refuses it (SIGNAL)", "INSERT INTO `t` VALUES (1)", "--triggers"),
        (1526, "Table has no partition for value …", "INSERT INTO `t` VALUES (1)", "partitions"),
        (1050, "Table 't' already exists", "CREATE TABLE `t` (", "twice"),
        (4161, "Unknown data type: 'vector'", "CREATE TABLE `t` (", "type"),
        (0, "Not allowed in the sandbox mode", "\\! ls", "client"),
        (42, "nobody has seen it", "SELECT 1", ""),
    ],
)
def test_an_error_has_its_cure(number: int, text: str, statement: str, cure: str) -> None:
    found = cure_of(ClientError(number, 1, text), statement.encode(), "mariadb")
    assert (cure in found) if cure else found == ""


@pytest.mark.parametrize(
    ("number", "statement", "words"),
    [
        (1273, "CREATE TABLE `t` (`a` int) COLLATE=utf8mb4_0900_ai_ci;", "MySQL"),
        (1064, "CREATE TABLE `t` (\n KEY `k` ((lower(`e`)))\n);", "MySQL"),
        (1064, "CREATE TABLE `t` (`b` int GENERATED ALWAYS AS (1) STORED NOT NULL);", "MySQL"),
        (1064, "CREATE TABLE `t` (`v` frob);", "the kind and version that it comes from"),
        (1064, "CREATE FUNCTION f() RETURNS int RETURN frob", "the kind and version that it comes from"),
        (1901, "CREATE TABLE `t` (`a` int DEFAULT (uuid_to_bin(1)))", "the kind and version that it comes from"),
    ],
)
def test_on_mariadb_a_dump_of_mysql_may_need_another_engine(number: int, statement: str, words: str) -> None:
    error = ClientError(number, 1, "Unknown collation: 'utf8mb4_0900_ai_ci'" if number == 1273 else "You have an error")
    assert f"on an engine of {words} (key engine)" in cure_of(error, statement.encode(), "mariadb")
    assert "MySQL (key engine)" not in cure_of(error, statement.encode(), "mysql")


def test_a_cure_is_not_chosen_by_the_rows() -> None:
    error = ClientError(1064, 1, "You have an error in your SQL syntax")
    rows = b"INSERT INTO `t` VALUES ('CREATE TABLE x (KEY ((lower(y)))');\nCREATE TABLE z (KEY ((a)));\n"
    for family in ("mariadb", "mysql"):
        assert cure_of(error, rows, family) == cure_of(error, b"INSERT INTO `t` VALUES (1;\n", family)
