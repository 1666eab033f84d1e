# SPDX-License-Identifier: Apache-2.0
"""What a dump says of its database's character set and collation, as the dumping programs write it."""

import gzip
import time
from pathlib import Path

import pytest
from ansible.module_utils.th_dataset.charset import Charset, declared, head, of_part
from ansible.module_utils.th_dataset.dataset import Part
from ansible.module_utils.th_dump.seed_errors import SeedError

from . import conftest  # noqa: F401 - ansible.module_utils knows the roles' helpers

TABLE = ") ENGINE=InnoDB AUTO_INCREMENT=4 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;\n"
LATIN = ") ENGINE=InnoDB DEFAULT CHARSET=latin1;\n"
CREATE = (
    "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb3 COLLATE utf8mb3_bin */;\n"
)
OTHER = CREATE.replace("shop", "other").replace("utf8mb3_bin", "utf8mb3_czech_ci")
ALTER = "ALTER DATABASE `shop` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci ;\n"


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("", ""),
        ("CREATE TABLE t (id int);\n", ""),
        (TABLE, " CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"),
        (TABLE + LATIN * 2, " CHARACTER SET latin1"),
        (CREATE + TABLE * 3, " CHARACTER SET utf8mb3 COLLATE utf8mb3_bin"),
        (OTHER + CREATE, " CHARACTER SET utf8mb3 COLLATE utf8mb3_bin"),
        (CREATE + OTHER, " CHARACTER SET utf8mb3 COLLATE utf8mb3_bin"),
        (OTHER, " CHARACTER SET utf8mb3 COLLATE utf8mb3_czech_ci"),
        (OTHER + OTHER.replace("other", "third") + TABLE, " CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"),
        (ALTER.replace("unicode_ci", "bin") + LATIN + ALTER, " CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"),
        ("ALTER DATABASE CHARACTER SET = latin2;\n", " CHARACTER SET latin2"),
        ("create schema if not exists SHOP default charset = 'latin2'\n  collate \"latin2_bin\";\n",
         " CHARACTER SET latin2 COLLATE latin2_bin"),
        ("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE"
         " utf8mb4_0900_ai_ci */ /*!80016 DEFAULT ENCRYPTION='N' */;\n",
         " CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci"),
        ("CREATE DATABASE shop;\n" + TABLE, " CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"),
        ("INSERT INTO t VALUES ('x\\nCREATE DATABASE shop CHARACTER SET latin1;');\n", ""),
    ],
)  # fmt: skip
def test_what_a_dump_says(text: str, clause: str) -> None:
    assert declared(text.encode(), "shop").clause == clause


HOSTILE = ("CREATE DATABASE ", "\n) CHARSET ", "\nCREATE DATABASE /*!32312 ", "\nALTER SCHEMA `", "\nCREATE SCHEMA `;")


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_dump_costs_what_its_size_does(piece: str) -> None:
    """Twice the text takes about twice the time, not four times; and little of it."""

    def seconds(size: int) -> float:
        text = (piece * (size // len(piece))).encode()
        begun = time.process_time()
        declared(text, "shop")
        return time.process_time() - begun

    assert seconds(2_000_000) < 8 * seconds(1_000_000) + 1


def test_the_datasets_file_comes_first(tmp_path: Path) -> None:
    dump = tmp_path / "x.sql.gz"
    dump.write_bytes(gzip.compress(CREATE.encode()))
    assert of_part(Part("", "shop", dump)) == Charset("utf8mb3", "utf8mb3_bin", "CREATE DATABASE in the dump")
    assert of_part(Part("", "shop", dump, collation="latin1_bin")).clause == " COLLATE latin1_bin"
    assert of_part(Part("", "shop", None)).clause == ""
    named = ("", "utf8mb4_polish_ci")
    assert of_part(Part("", "shop", dump, otherwise=named)).collation == "utf8mb3_bin"
    dump.write_bytes(gzip.compress(TABLE.encode()))
    assert of_part(Part("", "shop", dump, otherwise=named)).collation == "utf8mb4_polish_ci"
    with pytest.raises(SeedError, match="letters, digits"):
        of_part(Part("", "shop", dump, collation="x; DROP DATABASE mysql"))


def test_only_the_head_of_a_dump_is_read(tmp_path: Path) -> None:
    dump = tmp_path / "x.sql.gz"
    dump.write_bytes(gzip.compress(CREATE.encode() + bytes(40 << 20)))
    assert len(head(dump)) == 16 << 20
    dump.write_bytes(dump.read_bytes()[:-9000])
    assert CREATE.encode() in head(dump)
    dump.write_bytes(b"no gzip")
    assert head(dump) == b""


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_dump_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    dump = tmp_path / "x.sql"
    dump.write_bytes(CREATE.encode(encoding))
    assert declared(head(dump), "shop").collation == "utf8mb3_bin"


def test_a_folder_of_mydumpers(tmp_path: Path) -> None:
    (tmp_path / "metadata").write_text("Started dump at: 2026-01-01 00:00:00\nFinished dump at: 2026-01-01 00:00:01\n")
    (tmp_path / "shop.t-schema.sql").write_text(TABLE)
    (tmp_path / "shop.t.00000.sql").write_text("INSERT INTO t VALUES (1);")
    assert declared(head(tmp_path), "shop").collation == "utf8mb4_unicode_ci"
    (tmp_path / "shop-schema-create.sql.gz").write_bytes(gzip.compress(CREATE.encode()))
    assert declared(head(tmp_path), "shop").collation == "utf8mb3_bin"
