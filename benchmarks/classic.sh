#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The gate as a plain script: what the worker does for one change of MLflow, done the classic way. One process of
# the migration tool for each migration, one virtual environment that each release is installed into in turn, and
# a database server that runs already.
#
#   classic.sh WORK REPOSITORY REF DUMP SOCKET COUNTERS
#
# WORK is an empty folder. COUNTERS gets a line for each migration: from, to, milliseconds, rows changed, rows read.
# pip's cache is pip's own (PIP_CACHE_DIR). The packages on top of the project come from $PACKAGES, one a line.
set -euo pipefail

work=$1 repository=$2 ref=$3 dump=$4 socket=$5 counters=$6
releases=(stable/2.22 stable/3.4 master)
config=mlflow/store/db_migrations/alembic.ini
url="mysql+pymysql://mlflow:mlflow@localhost/mlflow?unix_socket=$socket"
export MLFLOW_DISABLE_TELEMETRY=true

sql() {
    mysql --no-defaults --socket="$socket" --user=mlflow --password=mlflow --batch --skip-column-names "$@"
}

# rows changed and rows read so far, on one line; MariaDB and MySQL count them under different names
status() {
    sql --execute "SHOW GLOBAL STATUS WHERE Variable_name IN ('Handler_write', 'Handler_update', 'Handler_delete',
                                                              'Rows_read', 'Innodb_rows_read')" |
        awk '$1 ~ /^Handler/ { changed += $2 } $1 !~ /^Handler/ { read += $2 } END { print changed + 0, read + 0 }'
}

version() {
    sql mlflow --execute 'SELECT version_num FROM alembic_version'
}

git clone --quiet "$repository" "$work/src"
cd "$work/src"
git fetch --quiet origin "$ref"
change=$(git rev-parse FETCH_HEAD)

sql --execute "DROP DATABASE IF EXISTS mlflow; CREATE DATABASE mlflow"
zstd --decompress --stdout --quiet "$dump" | sql mlflow

python3 -m venv "$work/venv"
PATH=$work/venv/bin:$PATH
mapfile -t packages <<<"$PACKAGES"

: >"$counters"
for stage in "${releases[@]/#/origin/}" "$change"; do
    git checkout --quiet --force --detach "$stage"
    # Nothing to walk, nothing to install: the dataset is there already.
    if [ "$stage" = origin/stable/2.22 ]; then
        continue
    fi
    pip install --quiet --editable . "${packages[@]}"
    sed "s|^sqlalchemy.url.*|sqlalchemy.url = $url|" "$config" >"$work/alembic.ini"
    steps=$(alembic --config "$work/alembic.ini" history --rev-range "$(version):head" |
        sed -nE 's/^[0-9a-f]+ -> ([0-9a-f]+).*/\1/p' | tac)
    for to in $steps; do
        from=$(version)
        if [ "$from" = "$to" ]; then
            continue
        fi
        read -ra before <<<"$(status)"
        started=$(date +%s%N)
        alembic --config "$work/alembic.ini" upgrade "$to"
        ended=$(date +%s%N)
        read -ra after <<<"$(status)"
        echo "$from $to $(((ended - started) / 1000000)) $((after[0] - before[0])) $((after[1] - before[1]))" \
            >>"$counters"
    done
done
version
