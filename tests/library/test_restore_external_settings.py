# SPDX-License-Identifier: Apache-2.0
"""On an external server nothing is set: databases are like the dump's; a server that is not as said is not used."""

import pytest
from ansible.module_utils.th_server import external_server

from .external_jobs import Jobs, ask

TABLES = """CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('a1');
CREATE TABLE `owners` (
  `id` char(36) NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
INSERT INTO owners SELECT UUID() FROM seq_1_to_3000;
"""


def test_a_database_has_the_dumps_collation_and_known_statistics(jobs: Jobs) -> None:
    jobs.dump.write_text(TABLES)
    jobs.keys["server_settings"] = {"lower_case_table_names": 0, "innodb_strict_mode": "ON"}
    _, server = jobs.restore()
    ask(server, "CREATE TABLE c (id int PRIMARY KEY, owner char(36), FOREIGN KEY (owner) REFERENCES owners (id))")
    kept = f"SELECT n_rows FROM mysql.innodb_table_stats WHERE database_name = '{server.database}'"
    assert jobs.external.ask(f"{kept} AND table_name = 'owners'")[0][0] > 2500


def test_a_preloaded_database_gets_what_the_datasets_file_says(preloaded: Jobs) -> None:
    preloaded.keys["collation"] = "utf8mb4_polish_ci"
    _, server = preloaded.restore()
    assert ask(server, "SELECT @@collation_database") == [("utf8mb4_polish_ci",)]


def test_a_database_that_is_reset_is_analyzed_again(preloaded: Jobs) -> None:
    preloaded.dump.write_text(TABLES)
    _, server = preloaded.restore()
    external_server.release(server)
    preloaded.external.ask("UPDATE mysql.innodb_table_stats SET n_rows = 0 WHERE table_name = 'owners'")
    preloaded.external.ask("FLUSH TABLE shop.owners")
    del preloaded.keys["seed_data"]
    preloaded.keys["reset"] = ["true"]
    facts, _ = preloaded.restore()
    kept = "SELECT n_rows FROM mysql.innodb_table_stats WHERE database_name = 'shop' AND table_name = 'owners'"
    assert facts["method"] == "reset" and preloaded.external.ask(kept)[0][0] > 2500


def test_a_server_that_is_not_as_the_dataset_says_is_not_used(jobs: Jobs) -> None:
    jobs.keys["server_settings"] = {"lower_case_table_names": 1, "sql_mode": "ANSI", "innodb_strict_mode": "ON"}
    code, text = jobs.failure()
    assert code == "seed_broken" and "the external server is not as server_settings" in text
    assert "lower_case_table_names is '0', not '1'" in text and "sql_mode is" in text and "innodb_strict" not in text


@pytest.mark.parametrize("collation", ["utf8mb4_0900_ai_ci", "latin1_bin"])
def test_a_collation_that_the_server_cannot_use(jobs: Jobs, collation: str) -> None:
    jobs.keys |= {"collation": collation, "character_set": "utf8mb4"}
    code, text = jobs.failure()
    assert code == "seed_broken" and collation in text and "set collation in the dataset's file" in text
