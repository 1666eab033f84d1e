# SPDX-License-Identifier: Apache-2.0
"""Rows as a tracking server of some years holds them: skewed, partly NULL, in many scripts, some very long.

Everything comes from one seeded generator, so the same sizes give the same rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

Value = str | int | float | None
Row = tuple[Value, ...]

SEED = 2220
_START = 1_577_836_800_000  # 2020-01-01, in milliseconds
_SPAN = 160_000_000_000  # five years

_ADJECTIVES = (
    "agreeable", "bald", "bold", "brawny", "capable", "clean", "dazzling", "fearless", "gaudy", "jolly", "keen",
)  # fmt: skip
_ANIMALS = (
    "ant", "asp", "bat", "boar", "carp", "chimp", "conch", "crane", "doe", "fox", "gnu", "hare", "kit", "lark", "newt",
)  # fmt: skip
_PLAIN_NAMES = ("baseline", "train", "test", "run 1", "xgboost", "final", "final (2)", "debug")
_WORLD_NAMES = (
    "基线模型",
    "学習率の比較",
    "Обучение №3",
    "modèle léger",
    "größer 🚀",
    "テスト ✅",
    "실험-07",
    "שיפור",
    "naïve 🤖🤖",
)
_USERS = ("ana", "bjørn", "chen", "jenkins", "root", "svc-train", "airflow", "李雷", "o'brien", "DOMAIN\\mueller")
_METRICS = (
    "loss", "val_loss", "accuracy", "val_accuracy", "train/loss", "eval/f1", "lr", "rmse", "auc",
    "system/gpu_0_memory_usage_megabytes", "system/cpu_utilization_percentage", "précision", "損失",
)  # fmt: skip
_PARAMS = (
    "learning_rate", "batch_size", "epochs", "optimizer", "max_depth", "seed", "dropout", "data_path",
    "model_config", "features", "early_stopping", "подсказка",
)  # fmt: skip
_SOURCES = ("train.py", "/home/ana/experiments/fit.ipynb", "https://git.example.org/ml/churn.git#training", "")
_STATUSES = ("FINISHED",) * 16 + ("FAILED", "FAILED", "RUNNING", "KILLED")
_LIFECYCLES = ("active",) * 19 + ("deleted",)


@dataclass(frozen=True)
class Sizes:
    """How many rows the big tables get; the small ones follow."""

    runs: int
    metrics: int
    params: int
    tags: int

    @classmethod
    def of(cls, scale: float) -> Sizes:
        """Return the demo's sizes times ``scale``: at 1.0 half a million metrics of 20,000 runs.

        Never less than 200 runs, so that some share a name.
        """
        runs = max(200, round(20_000 * scale))
        return cls(runs=runs, metrics=runs * 25, params=runs * 5, tags=runs * 5)


@dataclass(frozen=True)
class Table:
    """The rows of one table, in the order of its primary key."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[Row]


def generate(sizes: Sizes) -> list[Table]:
    """Make all tables; those that others refer to come first."""
    random = Random(SEED)  # noqa: S311 -- made to be repeatable
    experiments = _experiments(random, max(5, sizes.runs // 400))
    runs = _runs(random, sizes.runs, [int(str(row[0])) for row in experiments.rows])
    identities = [str(row[0]) for row in runs.rows]
    return [
        experiments,
        _experiment_tags(random, experiments),
        runs,
        *_metrics(random, sizes.metrics, runs),
        _params(random, sizes.params, identities),
        _tags(random, sizes.tags, runs),
        *_datasets(random, experiments, identities),
        *_models(random, identities),
        *_traces(random, experiments, max(10, sizes.runs // 10)),
    ]


def _experiments(random: Random, count: int) -> Table:
    rows: list[Row] = [(0, "Default", "mlflow-artifacts:/0", "active", None, None)]
    for number in range(1, count):
        created = _START + random.randrange(_SPAN)
        name = f"{random.choice((*_WORLD_NAMES[:7], '/Users/ana/churn', 'fraud detection', 'recsys'))} {number}"
        # What was made before MLflow 1.29 has no times.
        times: tuple[Value, Value] = (None, None) if number % 4 == 0 else (created, created + random.randrange(10**9))
        location = None if number % 9 == 0 else f"s3://mlflow/{number}"
        rows.append((number, name, location, random.choice(_LIFECYCLES), *times))
    columns = "experiment_id name artifact_location lifecycle_stage creation_time last_update_time"
    return _table("experiments", columns, rows)


def _experiment_tags(random: Random, experiments: Table) -> Table:
    rows: list[Row] = []
    for number, *_ in experiments.rows:
        rows.append(("mlflow.note.content", _prose(random, 3000), number))
        rows.append(("team", random.choice(("vision", "nlp", "search", None)), number))
    return _table("experiment_tags", "key value experiment_id", rows)


def _runs(random: Random, count: int, experiments: Sequence[int]) -> Table:
    # A few experiments hold most runs.
    holders = random.choices(experiments, [1 / (rank + 1) for rank in range(len(experiments))], k=count)
    rows: list[Row] = []
    for experiment in holders:
        identity = f"{random.getrandbits(128):032x}"
        status = random.choice(_STATUSES)
        started = _START + random.randrange(_SPAN)
        ended = None if status == "RUNNING" else started + int(random.lognormvariate(12, 2))
        lifecycle = random.choice(_LIFECYCLES)
        rows.append(
            (
                identity,
                _run_name(random),
                random.choice(("LOCAL", "LOCAL", "NOTEBOOK", "JOB", "PROJECT", "UNKNOWN")),
                random.choice(_SOURCES),
                random.choice(("", "main", None)),
                random.choice((*_USERS, None)),
                status,
                started,
                ended,
                None if random.random() < 0.4 else f"{random.getrandbits(160):040x}",
                lifecycle,
                f"mlflow-artifacts:/{experiment}/{identity}/artifacts",
                experiment,
                started + 10**9 if lifecycle == "deleted" else None,
            )
        )
    columns = (
        "run_uuid name source_type source_name entry_point_name user_id status start_time end_time"
        " source_version lifecycle_stage artifact_uri experiment_id deleted_time"
    )
    return _table("runs", columns, sorted(rows, key=lambda row: str(row[0])))


def _run_name(random: Random) -> Value:
    kind = random.random()
    if kind < 0.6:
        return f"{random.choice(_ADJECTIVES)}-{random.choice(_ANIMALS)}-{random.randrange(1000)}"
    if kind < 0.85:
        return random.choice(_PLAIN_NAMES)
    if kind < 0.95:
        return random.choice(_WORLD_NAMES)
    if kind < 0.98:
        return None
    return "" if kind < 0.99 else "sweep " + "x" * 244


def _metrics(random: Random, count: int, runs: Table) -> tuple[Table, Table]:
    identities = [str(row[0]) for row in runs.rows]
    times = [int(str(row[7])) for row in runs.rows]
    rows: list[Row] = []
    latest: list[Row] = []
    for identity, started, amount in zip(identities, times, _shares(random, count, len(identities)), strict=True):
        keys = random.sample(_METRICS, min(amount, random.randint(1, 6)))
        for position, key in enumerate(keys):
            steps = amount // len(keys) + (position < amount % len(keys))
            value, row = random.uniform(0.1, 5.0), None
            for step in range(steps):
                value *= random.uniform(0.9, 1.08)
                broken = random.random() < 0.002
                # Infinity is kept as the largest double, NaN as 0 with a mark.
                shown = 0.0 if broken else 1.7976931348623157e308 if value > 1e6 else value
                row = (key, shown, started + step * 1000, identity, step, int(broken))
                rows.append(row)
            if row is not None:
                latest.append((row[0], row[1], row[2], row[4], row[5], row[3]))
    rows.sort(key=lambda row: (row[0], row[2], row[4], row[3]))
    latest.sort(key=lambda row: (row[0], row[5]))
    return (
        _table("metrics", "key value timestamp run_uuid step is_nan", rows),
        _table("latest_metrics", "key value timestamp step is_nan run_uuid", latest),
    )


def _params(random: Random, count: int, identities: Sequence[str]) -> Table:
    rows: list[Row] = []
    for identity, amount in zip(identities, _shares(random, count, len(identities), len(_PARAMS)), strict=True):
        for key in random.sample(_PARAMS, amount):
            kind = random.random()
            if kind < 0.7:
                value = f"{random.uniform(0, 10):.6g}"
            elif kind < 0.98:
                value = random.choice(("adam", "None", "True", "", "Adam(β₁=0.9)", "{'a': [1, 2]}", "資料/訓練.csv"))
            else:
                value = json.dumps({f"layer_{i}": random.getrandbits(32) for i in range(random.randint(5, 300))})
            rows.append((key, value[:8000], identity))
    return _table("params", "key value run_uuid", sorted(rows, key=lambda row: (row[0], row[2])))


def _tags(random: Random, count: int, runs: Table) -> Table:
    rows: list[Row] = []
    for row, amount in zip(runs.rows, _shares(random, count, len(runs.rows), 9), strict=True):
        identity = str(row[0])
        found: list[tuple[str, Value]] = [
            ("mlflow.runName", row[1]),
            ("mlflow.user", row[5]),
            ("mlflow.source.name", row[3]),
            ("mlflow.source.type", row[2]),
            ("mlflow.source.git.commit", row[9]),
            ("mlflow.parentRunId", str(random.choice(runs.rows)[0])),
            ("team", random.choice(("vision", "nlp", None, ""))),
            ("mlflow.note.content", _prose(random, 60 if random.random() < 0.98 else 7500)),
            ("mlflow.log-model.history", json.dumps([{"run_id": identity, "artifact_path": "model"}])),
        ]
        rows.extend((key, value, identity) for key, value in found[:amount])
    return _table("tags", "key value run_uuid", sorted(rows, key=lambda row: (str(row[0]), str(row[2]))))


def _datasets(random: Random, experiments: Table, identities: Sequence[str]) -> tuple[Table, Table, Table]:
    datasets: list[Row] = []
    inputs: list[Row] = []
    input_tags: list[Row] = []
    for number, *_ in experiments.rows:
        for index in range(random.randint(0, 6)):
            dataset = _uuid(random)
            schema = json.dumps({"mlflow_colspec": [{"name": f"c{i}", "type": "double"} for i in range(index * 40)]})
            source = json.dumps({"uri": f"s3://data/{number}/{index}.parquet"})
            profile = None if index % 3 == 0 else '{"num_rows": 1000}'
            digest = f"{random.getrandbits(32):08x}"
            datasets.append((dataset, number, f"训练集 {index}", digest, "s3", source, schema, profile))
            for identity in random.sample(identities, min(len(identities), 20)):
                used = _uuid(random)
                inputs.append((used, "DATASET", dataset, "RUN", identity))
                input_tags.append((used, "mlflow.data.context", random.choice(("training", "eval"))))
    columns = "dataset_uuid experiment_id name digest dataset_source_type dataset_source dataset_schema dataset_profile"
    return (
        _table("datasets", columns, datasets),
        _table("inputs", "input_uuid source_type source_id destination_type destination_id", inputs),
        _table("input_tags", "input_uuid name value", input_tags),
    )


def _models(random: Random, identities: Sequence[str]) -> tuple[Table, ...]:
    models: list[Row] = []
    versions: list[Row] = []
    tags: list[Row] = []
    aliases: list[Row] = []
    for number in range(max(3, len(identities) // 400)):
        name, created = f"модель-{number:03}" if number % 7 == 0 else f"model-{number:03}", _START + number * 10**8
        models.append((name, created, created, None if number % 3 else _prose(random, 4000)))
        count = 1 + int(random.paretovariate(1)) % 40
        for version in range(1, count + 1):
            run = random.choice(identities)
            stage = random.choice(("None", "Staging", "Production", "Archived"))
            source = f"mlflow-artifacts:/1/{run}/artifacts/model"
            versions.append(
                (name, version, created, created, None, random.choice(_USERS), stage, source, run, "READY", None, None)
            )
            tags.append(("validated", random.choice(("true", "false", None)), name, version))
        aliases.append(("champion", count, name))
    columns = (
        "name version creation_time last_updated_time description user_id current_stage source run_id status"
        " status_message run_link"
    )
    return (
        _table("registered_models", "name creation_time last_updated_time description", models),
        _table("registered_model_tags", "key value name", [("owner", "ana", row[0]) for row in models[::2]]),
        _table("model_versions", columns, versions),
        _table("model_version_tags", "key value name version", tags),
        _table("registered_model_aliases", "alias version name", aliases),
    )


def _traces(random: Random, experiments: Table, count: int) -> tuple[Table, Table, Table]:
    numbers = [row[0] for row in experiments.rows]
    traces: list[Row] = []
    tags: list[Row] = []
    metadata: list[Row] = []
    for _ in range(count):
        trace = f"{random.getrandbits(128):032x}"
        status = random.choice(("OK", "OK", "OK", "ERROR", "IN_PROGRESS"))
        lasted = None if status == "IN_PROGRESS" else int(random.lognormvariate(7, 1))
        traces.append((trace, random.choice(numbers), _START + random.randrange(_SPAN), lasted, status))
        tags.append(("mlflow.traceName", random.choice(("predict", "rag", "Агент")), trace))
        tags.append(("mlflow.artifactLocation", f"mlflow-artifacts:/traces/{trace}", trace))
        metadata.append(("mlflow.traceInputs", json.dumps({"question": _prose(random, 200)}), trace))
        metadata.append(("mlflow.traceOutputs", json.dumps(_prose(random, 200), ensure_ascii=False), trace))
    return (
        _table("trace_info", "request_id experiment_id timestamp_ms execution_time_ms status", traces),
        _table("trace_tags", "key value request_id", tags),
        _table("trace_request_metadata", "key value request_id", metadata),
    )


def _shares(random: Random, total: int, count: int, most: int | None = None) -> list[int]:
    """Divide a total among ``count``, unevenly; nobody gets more than ``most``. They add up to the total."""
    weights = [math.exp(random.gauss(0, 1)) for _ in range(count)]
    whole = sum(weights)
    shares = [min(int(total * weight / whole), most or total) for weight in weights]
    left = total - sum(shares)
    while left > 0:
        for index in range(count):
            if left and (most is None or shares[index] < most):
                shares[index] += 1
                left -= 1
    return shares


def _prose(random: Random, length: int) -> str:
    words = (*_ADJECTIVES, *_ANIMALS, "naïve", "模型", "résumé", "🚀", "it's", 'a "quoted" word', "back\\slash", "\n")
    text = " ".join(random.choices(words, k=length // 6 + 1))
    return text[:length]


def _uuid(random: Random) -> str:
    digits = f"{random.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _table(name: str, columns: str, rows: Iterable[Row]) -> Table:
    return Table(name, tuple(columns.split()), list(rows))
