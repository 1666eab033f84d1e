# SPDX-License-Identifier: Apache-2.0
"""The errors of MariaDB and MySQL that migrations meet, by number: what each means, and what its author can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SETTINGS = (
    "Or the dataset's `server_settings` ({}) do not match production's: compare with the query in docs/datasets.md."
)


@dataclass(frozen=True)
class SqlError:
    """What an error means and what to do; `settings` are those of the server that can be the reason instead."""

    explanation: str
    cure: str
    settings: str = ""

    @property
    def remedy(self) -> str:
        """What to do; also where the dataset's server is set up in another way than production's."""
        return f"{self.cure} {_SETTINGS.format(self.settings)}" if self.settings else self.cure


# Numbers; what it means; what to do; the settings that can be the reason instead.
_TABLE: tuple[tuple[tuple[int, ...], str, str, str], ...] = (
    # NULLs, duplicates, values that do not fit
    ((1048,), "A NULL was written into a column that is NOT NULL.",
     "Give those rows a value first, or let the column be NULL.", "sql_mode, time_zone"),
    ((1138,), "The migration makes a column NOT NULL in which rows hold NULL.",
     "Give those rows a value in an UPDATE before the ALTER, or let the column be NULL.", ""),
    ((1062, 1586, 1022), "Rows hold the same value in columns that have to be unique.",
     "Merge or remove the duplicates before the unique key is added, or let the key have another column.", ""),
    ((1569,), "An ALTER that sets AUTO_INCREMENT gives rows a number that others have.",
     "Give rows with 0 or NULL in that column a number of their own first.", ""),
    ((1264, 1690), "A number is out of the range of its column or expression.",
     "Use a larger type, or correct the rows that are out of range first; UNSIGNED takes no negative numbers.",
     "sql_mode"),
    ((1265,), "A value does not fit the column's new type, or is NULL where the migration makes the column NOT NULL.",
     "Look for NULLs in the column if it becomes NOT NULL, else for values that the new type (ENUM, number, length) "
     "does not have; correct them in an UPDATE before the ALTER.", "sql_mode"),
    ((1366,), "A value cannot be stored in the column's type or character set.",
     "Correct those values first, or use a column that takes them (utf8mb4 for any text).", "sql_mode, character set"),
    ((1292,), "A text is no date, time or number where one is needed.",
     "Convert or remove those values first: empty texts, zero dates, units, NULL written as text.",
     "sql_mode, time_zone"),
    ((1406,), "A value is longer than its column.",
     "Use a longer column, or shorten the values first.", "sql_mode"),
    ((1411,), "A function was given a value of the wrong form, as STR_TO_DATE with a text that is no date.",
     "Leave out or correct the rows that do not have the form.", "sql_mode"),
    ((1300, 3854), "A text holds bytes that its character set does not have.",
     "Convert the text through BINARY or BLOB, or correct those rows first.", "character set"),
    ((1364,), "A row is inserted without a value for a column that is NOT NULL and has no default.",
     "Name the column in the INSERT, or give it a default.", "sql_mode"),
    ((1365,), "A division by zero.",
     "Leave out the rows with a zero: NULLIF(divisor, 0).", "sql_mode"),
    ((1918,), "A value cannot be converted to the new type.",
     "Convert or remove those values before the ALTER.", "sql_mode"),
    ((1242,), "A subquery that has to give one row gives several on this dataset.",
     "Let it choose one: LIMIT 1 with ORDER BY, MIN or MAX, or a join.", ""),
    ((3140, 3141, 3156), "A text in a row is no valid JSON.",
     "Find those rows with JSON_VALID() = 0, and correct or empty them first.", ""),
    ((4025, 3819), "Rows violate a CHECK constraint.",
     "Correct the rows that do not keep it before it is added. In MariaDB a JSON column is such a constraint.", ""),
    ((1136,), "A row is inserted with more or fewer values than there are columns.",
     "Name the columns in the INSERT; invisible ones count only where they are named.", ""),
    ((3636,), "A recursive query went on for more steps than the server allows.",
     "End the recursion by a condition, or SET SESSION cte_max_recursion_depth before it.", ""),
    # foreign keys
    ((1451, 1217), "A row cannot be deleted or changed, because rows of another table refer to it.",
     "Delete or change the rows that refer to it first, or use ON DELETE CASCADE or SET NULL.", ""),
    ((1452, 1216), "Rows refer to rows that are not in the other table.",
     "Remove these orphans, or set them to NULL, before the foreign key is added.", ""),
    ((1005,),
     "The table could not be made. With errno 150 a foreign key does not fit: type, sign, character set and collation"
     " of both columns must be the same, and the column referred to must have an index.",
     "Declare the column exactly like the one that it refers to, and create that table and its index first. With "
     "errno 121, the constraint's name is taken.", "character set and collation"),
    ((1215, 1822),
     "A foreign key does not fit: both columns must have the same type, and the one referred to an index.",
     "Declare the column exactly like the one that it refers to, and give that one an index.",
     "character set and collation"),
    ((3780,), "The columns of a foreign key differ in type, sign, character set or collation.",
     "Declare the column exactly like the one that it refers to.", "character set and collation"),
    ((6125,), "A foreign key refers to columns that have no unique key, which MySQL 8.4 and later ask for.",
     "Add a unique key on exactly these columns of the table that it refers to first.",
     "restrict_fk_on_non_standard_key"),
    ((3734,), "A foreign key refers to a column that is not there.",
     "Correct the name, or add that column first.", ""),
    ((1239,), "A foreign key has not as many columns as it refers to.",
     "Name the same number of columns on both sides.", ""),
    ((1824,), "A foreign key refers to a table that is not there.",
     "Create that table first.", "lower_case_table_names"),
    ((1826, 1061, 3822), "A key or a constraint of that name is there already.",
     "Drop the old one first, or use another name; look whether an earlier migration has made it.", ""),
    ((1025,), "A table could not be renamed or altered; with errno 150, because of a foreign key.",
     "Drop the foreign key first, and add it again afterwards.", ""),
    ((1553,), "An index cannot be dropped, because a foreign key needs it.",
     "Drop the foreign key first, or add another index on the same columns before.", ""),
    ((1701, 3730), "A table cannot be emptied or dropped, because a foreign key of another table refers to it.",
     "Drop that foreign key first; in place of TRUNCATE, delete the rows.", ""),
    ((1828, 1829), "A column cannot be dropped, because a foreign key uses it.",
     "Drop the foreign key first.", ""),
    ((1830,), "A column cannot be NOT NULL, because a foreign key sets it to NULL.",
     "Change the foreign key's ON DELETE SET NULL first.", ""),
    ((1832, 1833, 1834), "A column or a table cannot be changed, because a foreign key uses it.",
     "Drop the foreign key, change both columns, and add it again.", ""),
    # names and statements
    ((1050,), "A table of that name is there already.",
     "Look whether an earlier migration has made it. If the dataset has the tables and no version, its dump was taken"
     " without the version table.", ""),
    ((1051, 1146), "There is no table of that name.",
     "Correct the name, or create the table first. Where the names differ in upper and lower case alone, write it as "
     "it was created.", "lower_case_table_names"),
    ((1054,), "There is no column of that name.",
     "Correct the name. A migration must not use today's models: they have columns that a later migration adds.", ""),
    ((1060,), "A column of that name is there already.",
     "Look whether an earlier migration, or a change by hand, has added it.", ""),
    ((1091, 3821, 3940), "What should be dropped is not there: an index, a key, a constraint or a column.",
     "Use the name that the database has (SHOW CREATE TABLE): names that a server or a tool has chosen can differ.",
     ""),
    ((1090,), "All columns of a table cannot be dropped.",
     "Drop the table, or add the new columns in the same ALTER TABLE.", ""),
    ((1347, 1965), "What is named is a view where a table is needed, or a table where a view is.",
     "Use the statement of its kind: DROP VIEW, ALTER VIEW.", ""),
    ((3109,), "A generated column is computed from the AUTO_INCREMENT column, which only MariaDB allows.",
     "Compute it in the query or in a view.", ""),
    ((4108,), "An invisible column that is NOT NULL needs a default.",
     "Give it one.", ""),
    ((1176, 1072), "An index or a key names a column or an index that is not there.",
     "Correct the name.", ""),
    ((1064, 1149), "The server does not understand the statement at the place that is quoted.",
     "Correct the SQL: often a reserved word that needs backticks, or syntax of another server or version.", ""),
    ((1305,), "There is no such function or procedure.",
     "Create it first, or use one that this server has; MariaDB and MySQL differ, and new MySQL has no MD5().", ""),
    ((1359, 1304), "A trigger, function or procedure of that name is there already.",
     "Drop it first, or use another name.", ""),
    ((1356, 1449), "A view, trigger or routine refers to a table, column or account that is not there.",
     "Create it again for the schema that there is, with SQL SECURITY INVOKER where the account is missing.", ""),
    ((1055, 1140),
     "A SELECT with GROUP BY, or with an aggregate, names a column that is neither grouped nor aggregated.",
     "Group by it too, or use ANY_VALUE(), MIN() or MAX().", "sql_mode: ONLY_FULL_GROUP_BY"),
    ((1093,), "A table is changed and read in the same statement.",
     "Read from a derived table, or use a join.", ""),
    ((1067,), "A default value is not valid for its column.",
     "Use a default of the column's type; zero dates are none in strict mode.",
     "sql_mode, explicit_defaults_for_timestamp"),
    ((1101,), "A TEXT, BLOB or JSON column cannot have this default on this server.",
     "Leave the default out, or write it as an expression in brackets.", ""),
    # generated columns, defaults and checks that are expressions
    ((3105, 1906), "A value is written into a generated column.",
     "Leave the column out of the INSERT or UPDATE.", ""),
    ((3108, 3837, 3959),
     "A column cannot be dropped or renamed: a generated column, an index on an expression or a CHECK uses it.",
     "Drop or change what uses it first, or in the same ALTER TABLE.", ""),
    ((3758, 3763, 3770, 3814, 1901),
     "An expression of a generated column, a default, an index or a CHECK uses a function that is not allowed there.",
     "Use functions whose value depends on the row alone, or write the values in an UPDATE.", ""),
    ((3751, 3752), "A value does not fit the type of an index on an expression.",
     "Correct those values first, or cast the expression to a type that takes them.", "sql_mode"),
    ((3152, 3753, 3756, 3757), "An expression or a column of this kind cannot be indexed.",
     "Index a generated column of a plain type, or cast the expression to one.", ""),
    # sizes and kinds of keys and rows
    ((1071, 1709),
     "A key is longer than the server allows: 3072 bytes, or 767 with a COMPACT or REDUNDANT row format; utf8mb4 "
     "takes four for each character.",
     "Shorten the column, index its beginning alone, or use ROW_FORMAT=DYNAMIC.",
     "character set, innodb_page_size, innodb_default_row_format"),
    ((1118,), "A row of the table is larger than the server allows.",
     "Use TEXT in place of long VARCHARs, shorten or split the table's columns, or use ROW_FORMAT=DYNAMIC.",
     "innodb_strict_mode, innodb_page_size, character set"),
    ((1074,), "A column is longer than its type allows with this character set.",
     "Use a shorter column, or TEXT.", "character set"),
    ((1170,), "A TEXT or BLOB column is in a key without a length.",
     "Give the length of the key, `column(191)`, or use VARCHAR.", ""),
    ((1171,), "A part of the primary key may be NULL.",
     "Declare its columns NOT NULL.", ""),
    ((1068,), "The table has a primary key already.",
     "Drop the old one in the same ALTER TABLE.", ""),
    ((1075,), "A table can have one AUTO_INCREMENT column, which must be a key.",
     "Take AUTO_INCREMENT away before its key is dropped, or add the key in the same ALTER TABLE.", ""),
    ((1503,), "A unique key of a partitioned table must have all columns of the partitioning.",
     "Add them to the key.", ""),
    ((1506,), "A partitioned table cannot have foreign keys here.",
     "Leave the foreign key or the partitions out.", ""),
    ((1526,), "No partition takes the value of a row.",
     "Add a partition for it, such as MAXVALUE or DEFAULT.", ""),
    ((1114,), "A table is full: a temporary one in memory, or the disk.",
     "Do the work in batches.", "tmp_table_size, max_heap_table_size"),
    ((1153,), "A statement is larger than max_allowed_packet.",
     "Write fewer rows with each statement.", "max_allowed_packet"),
    ((1197, 1705), "A transaction is larger than the cache of the binary log.",
     "Do the work in batches, with a commit after each; production would refuse it as well.",
     "log_bin, max_binlog_cache_size"),
    ((3750,), "A table without a primary key is not allowed.",
     "Give it one.", "sql_require_primary_key"),
    ((3161,), "Tables of this storage engine are not allowed.",
     "Use InnoDB.", "disabled_storage_engines"),
    ((3185,), "A table cannot be encrypted on a server without a key.",
     "Leave ENCRYPTION to the server's default.", ""),
    # character sets, time zones, accounts, replication
    ((1267, 1270, 1271), "Texts with different collations are compared.",
     "Give both columns the same collation, or say which with COLLATE.", "collation"),
    ((1253, 1273, 1115), "The server does not have this collation or character set, or they do not fit together.",
     "Use one that production's server has; those of MySQL 8 (utf8mb4_0900_...) and MariaDB (uca1400) differ.",
     "character set and collation"),
    ((1298,), "The time zone is not known to the server.",
     "Use a name of the time zone tables, or an offset such as '+02:00'.", "time_zone"),
    ((1418, 1419), "A function or trigger cannot be made on a server with a binary log without further rights.",
     "Declare functions DETERMINISTIC or READS SQL DATA; for triggers, production's account needs the right, or "
     "log_bin_trust_function_creators.", "log_bin, log_bin_trust_function_creators"),
    ((1044, 1142, 1227, 1370),
     "The migration's account does not have the right to do this; a job's has all rights on its databases and none on"
     " the server.",
     "Leave out what needs rights on the server (SUPER, GLOBAL variables, DEFINER, other databases).", ""),
    ((1045,),
     "The server refused the migration's account: for LOAD DATA INFILE, which needs the FILE right, or because it "
     "connected as another user.",
     "Write the rows with INSERT instead of LOAD DATA, and connect with the URL that the job gives.", ""),
    ((1193, 1231), "There is no such variable, or it cannot have this value, as NO_AUTO_CREATE_USER in newer servers.",
     "Set only what the server of production has.", "sql_mode"),
    ((1290,), "The server runs with an option that forbids the statement.",
     "Do without it.", "read_only, secure_file_priv"),
    ((1785, 1786, 1787),
     "With GTIDs, one transaction may not change tables of different engines, create a table from a SELECT, or create"
     " and drop temporary tables.",
     "Split the work into transactions of their own.", "gtid_mode, enforce_gtid_consistency"),
    ((1845, 1846), "The ALTER cannot be done with the ALGORITHM or LOCK that it asks for.",
     "Leave ALGORITHM and LOCK out, or split the ALTER: the reason is in the message. Without, the table is copied "
     "and locked.", ""),
    ((1221,), "Two parts of the statement do not go together.",
     "Leave one of them out: the message names them.", ""),
    ((1286,), "The server does not have this storage engine.",
     "Use InnoDB; MariaDB and MySQL differ in the others.", "sql_mode: NO_ENGINE_SUBSTITUTION"),
    ((1235,), "This server does not know this form of statement.",
     "Use another form; MariaDB and MySQL differ.", ""),
    # waiting, and losing the server
    ((1205,), "The migration waited too long for a lock, which another of its own connections holds.",
     "Commit or close the other session first: DDL waits for every open transaction on its table.",
     "innodb_lock_wait_timeout, lock_wait_timeout"),
    ((1206,), "The locks of one transaction do not fit into the server's memory.",
     "Do the work in batches, with a commit after each.", ""),
    ((1213,), "Two transactions of the migration wait for each other.",
     "Use one session, or let all of them lock tables and rows in the same order.", ""),
    ((1969, 3024), "A statement took longer than the server allows.",
     "Make it faster, or do the work in batches.", "max_statement_time, max_execution_time"),
    ((1317,), "The statement was interrupted: by KILL, or because its session ended.",
     "Look in the dataset's log for what has ended it.", ""),
    ((2006, 2013, 2055, 4031),
     "The server closed the connection in the middle: an idle session, a statement larger than max_allowed_packet, or"
     " KILL.",
     "Do the work in smaller statements, and do not hold a session idle meanwhile.",
     "wait_timeout, max_allowed_packet"),
)  # fmt: skip

# The same for a statement that writes rows, where it means something else than in one that alters a table.
_WRITTEN: tuple[tuple[tuple[int, ...], str, str, str], ...] = (
    ((1062, 1586, 1022), "A row is written with a value that another row has in columns that have to be unique.",
     "Leave out the rows that are there already, give each new row a value of its own, or combine those with the same "
     "value first: GROUP BY, NOT EXISTS, ON DUPLICATE KEY UPDATE.", "collation"),
    ((1265,), "A value that is written does not fit its column's type.",
     "Write values that the type (ENUM, number, length) has, or alter the column first.", "sql_mode"),
    ((1452, 1216), "A row that is written refers to a row that is not in the other table.",
     "Insert the row that it refers to first, leave such rows out, or write NULL.", ""),
    ((4025, 3819), "A value that is written violates a CHECK constraint.",
     "Write a value that keeps it, or change the constraint first. In MariaDB a JSON column is such a constraint.", ""),
)  # fmt: skip

ERRORS: Mapping[int, SqlError] = {
    number: SqlError(meaning, cure, settings) for numbers, meaning, cure, settings in _TABLE for number in numbers
}
"""The errors by their number. What only one of MariaDB and MySQL has is here as well."""

WRITTEN: Mapping[int, SqlError] = {
    number: SqlError(meaning, cure, settings) for numbers, meaning, cure, settings in _WRITTEN for number in numbers
}
"""Those that mean something else in a statement that writes rows."""
