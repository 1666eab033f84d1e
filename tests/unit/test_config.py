# SPDX-License-Identifier: Apache-2.0
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit import ROOT
from worker.config import config
from worker.config.resources import SensorLimits, default_slots
from worker.errors import ConfigError

Settings = dict[str, Any]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A small configuration that is right, with all that it names."""
    for plugin in ("gate_real_db_upgrade", "shell_script"):
        (tmp_path / "ansible/playbooks" / plugin).mkdir(parents=True)
        (tmp_path / "ansible/playbooks" / plugin / "run.yaml").write_text("[]")
    (tmp_path / "datasets").mkdir()
    return {
        "zuul_server": {"gearman_host": "zuul.example.org"},
        "ansible_dir": str(tmp_path / "ansible"),
        "jobs_working_dir": str(tmp_path / "th/jobs"),
        "publish_logs": {"type": "local", "path": "/srv/logs", "prepend_url": "http://logs.example.org"},
        "sensors": {"load": 0},
        "plugins": [
            {
                "name": "gate_real_db_upgrade",
                "function": "build:gate-real-db-upgrade_mlflow",
                "datasets_dir": str(tmp_path / "datasets"),
            }
        ],
    }


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Settings], config.Config]:
    def write_and_load(settings: Settings) -> config.Config:
        (tmp_path / "config.json").write_text(json.dumps(settings))
        return config.load(tmp_path / "config.json")

    return write_and_load


def put(settings: Settings, key: str, value: Any) -> None:
    """Set `a.b[0].c` in nested settings; None takes the key out."""
    *parents, last = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", key)]
    for part in parents:
        settings = settings[part]
    if value is None:
        del settings[last]
    else:
        settings[last] = value


class TestClassicKeys:
    def test_an_existing_installation(self, settings: Settings, load: Any, tmp_path: Path) -> None:
        settings |= {
            "zuul_server": {
                "gerrit_site": "http://review.example.org",
                "zuul_site": "http://zuul.example.org",
                "git_origin": "git://git.example.org/",
                "gearman_host": "localhost",
                "gearman_port": 4731,
            },
            "debug_log": "/var/log/turbo-hipster/debug.log",
            "git_working_dir": "/var/lib/turbo-hipster/git",
            "pip_download_cache": "/var/cache/pip",
        }
        loaded = load(settings)
        assert loaded.zuul_server.origin == "git://git.example.org"
        assert (loaded.zuul_server.gearman_host, loaded.zuul_server.gearman_port) == ("localhost", 4731)
        assert loaded.debug_log == Path("/var/log/turbo-hipster/debug.log")
        assert loaded.git_working_dir == Path("/var/lib/turbo-hipster/git")
        assert loaded.pip_download_cache == Path("/var/cache/pip")
        assert loaded.publish_logs == config.PublishLogs("local", Path("/srv/logs"), "http://logs.example.org/")
        assert loaded.jobs == (
            config.JobEntry(
                "gate-real-db-upgrade_mlflow", "gate_real_db_upgrade", tmp_path / "datasets", {}
            ),
        )

    @pytest.mark.parametrize(
        ("keys", "origin"),
        [
            ({"git_url": "http://a/", "git_origin": "git://b", "gerrit_site": "http://c"}, "http://a"),
            ({"git_origin": "git://b", "gerrit_site": "http://c"}, "git://b"),
            ({"gerrit_site": "http://c"}, "http://c"),
            ({}, ""),
        ],
    )
    def test_where_branches_come_from(self, settings: Settings, load: Any, keys: Settings, origin: str) -> None:
        settings["zuul_server"] |= keys
        assert load(settings).zuul_server.origin == origin

    def test_the_newer_form_of_jobs(self, settings: Settings, load: Any, tmp_path: Path) -> None:
        settings["jobs"] = [
            {"name": "build:nova", "plugin": "gate_real_db_upgrade", "datasets_dir": str(tmp_path / "datasets")},
            {"name": "tests", "plugin": "shell_script", "script": "./run", "deep": {"x": [1]}},
        ]
        loaded = load(settings)
        assert [entry.name for entry in loaded.jobs] == ["gate-real-db-upgrade_mlflow", "nova", "tests"]
        entry = loaded.job("tests")
        assert entry and entry.options == {"script": "./run", "deep": {"x": [1]}}
        assert entry.datasets_dir is None
        assert loaded.job("other") is None

    def test_a_plugin_may_name_its_job_instead_of_its_function(self, settings: Settings, load: Any) -> None:
        settings["plugins"][0]["job"] = settings["plugins"][0].pop("function").removeprefix("build:")
        assert load(settings).jobs[0].name == "gate-real-db-upgrade_mlflow"


class TestWhichDatasets:
    def test_all_by_default(self, settings: Settings, load: Any) -> None:
        entry = load(settings).jobs[0]
        assert entry.wanted("check") is None and entry.wanted("") is None

    def test_names_and_tags_for_all_pipelines_and_for_one(self, settings: Settings, load: Any) -> None:
        settings["plugins"][0] |= {"datasets": ["user_001", "old"], "pipelines": {"check": ["small"], "gate": "all"}}
        entry = load(settings).jobs[0]
        assert entry.wanted("check") == ("small",)
        assert entry.wanted("gate") is None
        assert entry.wanted("experimental") == entry.wanted("") == ("user_001", "old")

    def test_a_plugin_without_datasets_has_these_keys_for_itself(self, settings: Settings, load: Any) -> None:
        settings["jobs"] = [{"name": "tests", "plugin": "shell_script", "datasets": 5, "pipelines": "x"}]
        assert load(settings).jobs[1].options == {"datasets": 5, "pipelines": "x"}

    @pytest.mark.parametrize("wrong", ["small", [], [5], [""], {}, 1, True])
    def test_what_chooses_nothing_is_refused(self, settings: Settings, load: Any, wrong: Any) -> None:
        for key, value in (("datasets", wrong), ("pipelines", {"check": wrong})):
            put(settings, f"plugins[0].{key}", value)
            where = r"plugins\[0\]\." + ("datasets" if key == "datasets" else r"pipelines\.check")
            with pytest.raises(ConfigError, match=where + ": must be all or a list"):
                load(settings)
            put(settings, f"plugins[0].{key}", None)

    def test_pipelines_are_a_mapping(self, settings: Settings, load: Any) -> None:
        settings["plugins"][0]["pipelines"] = ["check"]
        with pytest.raises(ConfigError, match=r"pipelines: must be a mapping"):
            load(settings)


class TestForm:
    def test_yaml_under_the_name_of_json(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(yaml.safe_dump(settings))
        assert config.load(tmp_path / "config.json").jobs

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('{"a": 1,}', "not valid JSON"),
            ('{"a": 1, "a": 2}', "duplicate key 'a'"),
            ('{"a": {"b": 1, "b": 2}}', "duplicate key 'b'"),
            ('{"a": NaN}', "NaN"),
            ("a: 1\na: 2\n", "duplicate key 'a' (line 2)"),
            ("a:\n  b: 1\n  b: 2\n", "duplicate key 'b' (line 3)"),
            ("a: [1\n", "cannot be understood"),
            ("a: !!python/object/apply:os.system [true]", "cannot be understood"),
            ("? [1, 2]\n: 3\n", "cannot be understood"),
            ("- 1\n", "must hold a mapping"),
            ("just text", "must hold a mapping"),
            ("1: 2\n", "not text"),
            ("\udcff", "cannot be understood"),
            ('{"a": ' + "[" * 100_000, "cannot be understood"),
        ],
    )
    def test_what_is_no_configuration(self, tmp_path: Path, text: str, problem: str) -> None:
        path = tmp_path / "config.json"
        path.write_text(text, errors="surrogateescape")
        with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
            config.load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            config.load(tmp_path / "none.json")

    def test_a_folder_instead_of_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            config.load(tmp_path)

    def test_an_empty_file_lacks_keys(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("")
        with pytest.raises(ConfigError, match=r"zuul_server: is missing"):
            config.load(tmp_path / "config.json")


class TestDefaults:
    def test_folders_are_siblings_of_the_jobs(self, settings: Settings, load: Any, tmp_path: Path) -> None:
        loaded = load(settings)
        base = tmp_path / "th"
        assert loaded.git_working_dir == base / "git"
        assert loaded.snapshots_dir == base / "snapshots"
        assert loaded.environments_dir == base / "environments"
        assert loaded.engines_dir == base / "engines"
        assert loaded.pip_download_cache == base / "pip"
        assert loaded.projects_dir == tmp_path / "ansible/inventory/projects"
        assert (loaded.job_time_limit, loaded.upload_time_limit) == (14400, 600)
        assert loaded.keep_job_dirs == "never"
        assert loaded.debug_log is None
        assert loaded.zuul_server.gearman_port == 4730
        assert not loaded.zuul_server.embedded

    def test_relative_paths_start_at_the_file(self, settings: Settings, load: Any, tmp_path: Path) -> None:
        settings |= {"ansible_dir": "ansible", "jobs_working_dir": "x/jobs", "debug_log": "th.log"}
        settings["plugins"][0]["datasets_dir"] = "datasets"
        loaded = load(settings)
        assert loaded.jobs_working_dir == tmp_path / "x/jobs"
        assert loaded.debug_log == tmp_path / "th.log"
        assert loaded.jobs[0].datasets_dir == tmp_path / "datasets"

    def test_logs_are_read_where_they_are_put(self, settings: Settings, load: Any) -> None:
        put(settings, "publish_logs.prepend_url", None)
        assert load(settings).publish_logs.prepend_url == "file:///srv/logs/"

    def test_any_free_port_for_the_embedded_server(self, settings: Settings, load: Any) -> None:
        settings["zuul_server"] = {"gearman_host": "embedded", "gearman_port": 0}
        loaded = load(settings)
        assert loaded.zuul_server.embedded
        assert loaded.zuul_server.gearman_port == 0

    def test_the_playbooks_of_this_checkout(self) -> None:
        assert config.default_ansible_dir() == ROOT


@pytest.mark.parametrize(
    ("key", "value", "named", "problem"),
    [
        ("surprise", 1, "surprise", "not a known key"),
        ("zuul_server", [], "zuul_server", "must be a mapping"),
        ("zuul_server.surprise", 1, "zuul_server.surprise", "not a known key"),
        ("zuul_server.gearman_host", None, "zuul_server.gearman_host", "is missing"),
        ("zuul_server.gearman_host", "a b", "zuul_server.gearman_host", "not a valid host name"),
        ("zuul_server.gearman_host", 5, "zuul_server.gearman_host", "must be text"),
        ("zuul_server.gearman_port", "4730", "zuul_server.gearman_port", "whole number"),
        ("zuul_server.gearman_port", True, "zuul_server.gearman_port", "whole number"),
        ("zuul_server.gearman_port", 0, "zuul_server.gearman_port", "from 1 to 65535"),
        ("zuul_server.gearman_port", 65536, "zuul_server.gearman_port", "whole number"),
        ("zuul_server.git_url", "ext::sh -c true", "zuul_server.git_url", "control character"),
        ("zuul_server.git_origin", "ftp://x", "zuul_server.git_origin", "scheme"),
        ("debug_log", 5, "debug_log", "must be text"),
        ("debug_log", "", "debug_log", "not empty"),
        ("jobs_working_dir", "/a\nb", "jobs_working_dir", "one line"),
        ("job_time_limit", 0, "job_time_limit", "whole number from 1"),
        ("job_time_limit", 1.5, "job_time_limit", "whole number"),
        ("upload_time_limit", -1, "upload_time_limit", "whole number"),
        ("slots", 0, "slots", "from 1 to 64"),
        ("slots", 65, "slots", "from 1 to 64"),
        ("slots", "2", "slots", "whole number"),
        ("sensors", 5, "sensors", "must be a mapping"),
        ("sensors", {"disk_fre": 1}, "sensors.disk_fre", "there are: disk_free, memory_free, load"),
        ("sensors", {"disk_free": "2 GB"}, "sensors.disk_free", "is not a size"),
        ("sensors", {"memory_free": -1}, "sensors.memory_free", "such as 500M or 2G; 0 is off"),
        ("sensors", {"memory_free": True}, "sensors.memory_free", "is not a size"),
        ("sensors", {"memory_free": 1.5}, "sensors.memory_free", "is not a size"),
        ("sensors", {"load": "5"}, "sensors.load", "must be a number"),
        ("sensors", {"load": -0.5}, "sensors.load", "0 is off"),
        ("sensors", {"load": True}, "sensors.load", "must be a number"),
        ("status_socket", 5, "status_socket", "must be text"),
        ("keep_job_dirs", "sometimes", "keep_job_dirs", "never, failed, always"),
        ("ansible_dir", "/nowhere", "ansible_dir", "there is no folder /nowhere/playbooks"),
        ("publish_logs", None, "publish_logs", "is missing"),
        ("publish_logs.type", "swift", "publish_logs.type", "write publish_swift.yaml, or use one of them"),
        ("publish_logs.type", "../scp", "publish_logs.type", "has none; write publish_<type>.yaml"),
        ("publish_logs.path", None, "publish_logs.path", "is missing"),
        ("publish_logs.prepend_url", "logs.example.org", "publish_logs.prepend_url", "not an http, https or file URL"),
        ("publish_logs.container", "x", "publish_logs.container", "not a known key"),
        ("plugins", None, "plugins", "there is no job"),
        ("plugins", [], "plugins", "there is no job"),
        ("plugins", {}, "plugins", "must be a list"),
        ("plugins[0]", "x", "plugins[0]", "must be a mapping"),
        ("plugins[0].name", "real_db", "plugins[0].name", "there: gate_real_db_upgrade, shell_script"),
        ("plugins[0].name", "../../x", "plugins[0].name", "there is no plugin"),
        ("plugins[0].function", None, "plugins[0].function", "is missing"),
        ("plugins[0].function", "build:", "plugins[0].function", "not a valid job name"),
        ("plugins[0].function", "build:../x", "plugins[0].function", "not a valid job name"),
        ("plugins[0].job", "x", "plugins[0].job", "keep one of the two"),
        ("plugins[0].datasets_dir", None, "plugins[0].datasets_dir", "is missing"),
        ("plugins[0].datasets_dir", "/nowhere", "plugins[0].datasets_dir", "there is no folder /nowhere"),
        ("plugins[0].dataset_dir", "/x", "plugins[0].dataset_dir", "not a known key"),
        ("jobs", [{"name": "x"}], "jobs[0].plugin", "is missing"),
        ("jobs", [{"plugin": "shell_script"}], "jobs[0].name", "is missing"),
        (
            "jobs",
            [{"name": "gate-real-db-upgrade_mlflow", "plugin": "shell_script"}],
            "jobs[0].name",
            "is duplicated",
        ),
        ("conf_d", "/nowhere", "conf_d", "cannot be read"),
        ("conf_d", 7, "conf_d", "must be text"),
    ],
)
def test_what_is_wrong_is_named(
    settings: Settings, load: Any, tmp_path: Path, key: str, value: Any, named: str, problem: str
) -> None:
    put(settings, key, value)
    with pytest.raises(ConfigError) as caught:
        load(settings)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: {named}: ")
    assert problem in str(caught.value)


def test_a_password_in_a_wrong_url_is_not_shown(settings: Settings, load: Any) -> None:
    settings["zuul_server"]["git_url"] = "ftp://user:secret@example.org"
    with pytest.raises(ConfigError) as caught:
        load(settings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["git_working_dir", "engines_dir"])
def test_folders_inside_the_jobs_folder_are_refused(
    key: str, settings: Settings, load: Any, tmp_path: Path
) -> None:
    (tmp_path / "th").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "th")
    settings[key] = str(tmp_path / "link/jobs/git")
    with pytest.raises(ConfigError, match=rf"{key}: .* is inside jobs_working_dir"):
        load(settings)


class TestConfD:
    def test_files_are_merged_deep_and_in_the_order_of_their_names(
        self, settings: Settings, load: Any, tmp_path: Path
    ) -> None:
        folder = tmp_path / "conf.d"
        folder.mkdir()
        (folder / "20-port.yaml").write_text("zuul_server: {gearman_port: 2}\nkeep_job_dirs: failed\n")
        (folder / "10-port.json").write_text('{"zuul_server": {"gearman_port": 1, "git_url": "http://git"}}')
        (folder / "30-job.yaml").write_text("plugins:\n- {name: shell_script, function: 'build:two'}\n")
        (folder / "40-job.yml").write_text("jobs:\n- {name: three, plugin: shell_script}\n")
        (folder / "50-off.yaml.disabled").write_text("surprise: 1")
        (folder / ".60-hidden.yaml").write_text("surprise: 1")
        loaded = load(settings)
        assert loaded.zuul_server == config.ZuulServer("http://git", "zuul.example.org", 2)
        assert loaded.keep_job_dirs == "failed"
        assert [entry.name for entry in loaded.jobs] == ["gate-real-db-upgrade_mlflow", "two", "three"]

    def test_a_folder_of_another_name(self, settings: Settings, load: Any, tmp_path: Path) -> None:
        (tmp_path / "more").mkdir()
        (tmp_path / "more/a.yaml").write_text("job_time_limit: 5")
        (tmp_path / "conf.d").mkdir()
        (tmp_path / "conf.d/a.yaml").write_text("job_time_limit: 6")
        settings["conf_d"] = "more"
        assert load(settings).job_time_limit == 5

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("surprise: 1", "surprise"),
            ("conf_d: x", "conf_d"),
            ("zuul_server: {gearman_port: x}", "zuul_server.gearman_port"),
            ("zuul_server: {surprise: x}", "zuul_server.surprise"),
            ("zuul_server: []", "zuul_server"),
            ("plugins: [{name: shell_script, function: a}, {name: none, function: b}]", "plugins[1].name"),
            ("plugins: [{name: shell_script}]", "plugins[0].function"),
            ("jobs: [{plugin: shell_script, name: gate-real-db-upgrade_mlflow}]", "jobs[0].name"),
            ("publish_logs: {path: 5}", "publish_logs.path"),
        ],
    )
    def test_an_error_names_the_file_and_its_own_key(
        self, settings: Settings, load: Any, tmp_path: Path, text: str, named: str
    ) -> None:
        (tmp_path / "conf.d").mkdir()
        (tmp_path / "conf.d/extra.yaml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            load(settings)
        assert str(caught.value).startswith(f"{tmp_path}/conf.d/extra.yaml: {named}: ")

    def test_an_error_in_the_main_file_stays_its_own(
        self, settings: Settings, load: Any, tmp_path: Path
    ) -> None:
        (tmp_path / "conf.d").mkdir()
        (tmp_path / "conf.d/extra.yaml").write_text("zuul_server: {git_url: 'http://git'}")
        settings["zuul_server"]["gearman_port"] = "x"
        with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/config.json: zuul_server.gearman_port")):
            load(settings)


class TestPrepare:
    def test_loading_makes_nothing(self, settings: Settings, load: Any, tmp_path: Path) -> None:
        settings["publish_logs"]["path"] = str(tmp_path / "logs")
        load(settings)
        assert not (tmp_path / "th").exists()
        assert not (tmp_path / "logs").exists()

    def test_folders_are_made_and_the_jobs_are_private(
        self, settings: Settings, load: Any, tmp_path: Path
    ) -> None:
        settings["publish_logs"]["path"] = str(tmp_path / "logs")
        settings["debug_log"] = str(tmp_path / "log/debug.log")
        loaded = load(settings)
        loaded.prepare()
        loaded.prepare()
        assert loaded.jobs_working_dir.stat().st_mode & 0o777 == 0o700
        assert loaded.snapshots_dir.stat().st_mode & 0o777 == 0o700
        for folder in ("git", "pip", "environments"):
            assert (tmp_path / "th" / folder).is_dir()
        assert (tmp_path / "logs").is_dir()
        assert (tmp_path / "log").is_dir()

    def test_a_folder_that_cannot_be_made_is_named(self, settings: Settings, load: Any, tmp_path: Path) -> None:
        settings["publish_logs"]["path"] = str(tmp_path / "config.json/logs")
        with pytest.raises(ConfigError, match=r"publish_logs\.path: the folder .* cannot be made"):
            load(settings).prepare()

    def test_a_file_in_the_place_of_a_folder_is_named(
        self, settings: Settings, load: Any, tmp_path: Path
    ) -> None:
        settings["git_working_dir"] = str(tmp_path / "config.json")
        with pytest.raises(ConfigError, match=r"git_working_dir: the folder .* cannot be made"):
            load(settings).prepare()


class TestWhatTheWorkerTakesOn:
    def test_sizes(self, settings: Settings, load: Any) -> None:
        settings["sensors"] = {"disk_free": "3T", "memory_free": 1000, "load": 2}
        assert load(settings).sensors == SensorLimits(3 * 1024**4, 1000, 2.0)
        settings["sensors"] = {"disk_free": 0, "memory_free": "0", "load": 0}
        assert load(settings).sensors == SensorLimits(0, 0, 0.0)
        del settings["sensors"]
        assert load(settings).slots == default_slots()

    def test_each_configuration_has_a_socket(self, settings: Settings, load: Any, tmp_path: Path) -> None:
        """Also those that share all their folders."""
        first = load(settings).status_socket
        (tmp_path / "other.json").write_text((tmp_path / "config.json").read_text())
        second = config.load(tmp_path / "other.json").status_socket
        assert first.parent == second.parent == tmp_path / "th/run"
        assert first != second and first == load(settings).status_socket
        settings["status_socket"] = "here.sock"
        assert load(settings).status_socket == tmp_path / "here.sock"

    def test_what_only_a_restart_changes_is_kept_and_told(self, settings: Settings, load: Any, tmp_path: Path) -> None:
        settings |= {"debug_log": "log", "slots": 1}
        old = load(settings)
        assert load(settings).while_running(old) == (old, [])
        settings["zuul_server"] |= {"gearman_host": "other", "git_url": "http://git"}
        settings |= {"debug_log": "log2", "jobs_working_dir": "jobs", "status_socket": "s"}
        settings |= {"slots": 5, "sandbox": "none"}
        new, waiting = load(settings).while_running(old)
        assert waiting == ["jobs_working_dir", "debug_log", "status_socket", "zuul_server.gearman_*"]
        assert (new.slots, new.sandbox, new.zuul_server.origin) == (5, "none", "http://git")
        assert (new.debug_log, new.jobs_working_dir) == (old.debug_log, old.jobs_working_dir)
        assert new.zuul_server.gearman_host == "zuul.example.org"


SECTIONS = ("zuul_server.", "publish_logs.", "plugins[0].", "sensors.")


@pytest.mark.parametrize("key", ["surprise", *(f"{section}surprise" for section in SECTIONS)])
def test_every_key_is_documented(settings: Settings, load: Any, key: str) -> None:
    put(settings, key, 1)
    with pytest.raises(ConfigError, match="there are: ") as caught:
        load(settings)
    names = caught.value.remedy.removeprefix("there are: ").split(", ")
    assert len(names) > 2
    text = (ROOT / "docs/configuration.md").read_text()
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", ["config.yaml", "config.json"])
def test_the_examples_hold_known_keys_only(name: str, tmp_path: Path) -> None:
    text = (ROOT / "etc/turbo-hipster" / name).read_text()
    for folder in re.findall(r'datasets_dir"?: *"?([^",\s]+)', text):
        (tmp_path / Path(folder).name).mkdir(exist_ok=True)
        text = text.replace(folder, str(tmp_path / Path(folder).name))
    (tmp_path / name).write_text(text)
    assert config.load(tmp_path / name).jobs
