"""relo.toml and RELO_*: who wins, what is refused, and that the refusal says where."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from relo_ingest import settings
from relo_ingest.errors import ConfigError
from relo_ingest.settings import Settings

Write = Callable[[str | bytes], str]


@pytest.fixture(autouse=True)
def _nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(content: str | bytes, name: str = "some.toml") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return _write


def refusal(config: str | None = None, /, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings.load(config, environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_file_and_environment_the_defaults_hold() -> None:
    assert settings.load(None, {}) == Settings()


def test_file_wins_over_default(write: Write) -> None:
    found = settings.load(write('data_dir = "/d"\n[ingest]\nport = 5000\n'), {})
    assert (found.data_dir, found.ingest.port, found.ingest.host) == ("/d", 5000, "127.0.0.1")


def test_environment_wins_over_file_and_leaves_the_rest_of_its_section(write: Write) -> None:
    file = write('[ingest]\nport = 5000\nhost = "0.0.0.0"\n')
    found = settings.load(file, {"RELO_INGEST_PORT": "6000", "RELO_WORKER_INTERVAL_S": "0.5"})
    assert (found.ingest.port, found.ingest.host, found.worker.interval_s) == (6000, "0.0.0.0", 0.5)


@pytest.mark.parametrize(
    ("value", "expected"), [("pin", ("pin",)), (" pin, tan ,", ("pin", "tan")), ("", ()), (" , ", ())]
)
def test_list_stands_in_the_environment_with_commas(write: Write, value: str, expected: tuple[str, ...]) -> None:
    file = write('[privacy]\nredact_parameters = ["token"]\n')
    assert settings.load(file, {}).privacy.redact_parameters == ("token",)
    assert settings.load(file, {"RELO_PRIVACY_REDACT_PARAMETERS": value}).privacy.redact_parameters == expected


def test_relo_toml_of_the_working_directory_is_read_unasked(write: Write) -> None:
    write("[ingest]\nport = 5001\n", "relo.toml")
    assert settings.load(None, {}).ingest.port == 5001


def test_relo_config_names_the_file_and_an_argument_wins_over_it(write: Write) -> None:
    write("[ingest]\nport = 5001\n", "relo.toml")
    named = write("[ingest]\nport = 5002\n", "named.toml")
    argument = write("[ingest]\nport = 5003\n", "argument.toml")
    assert settings.load(None, {"RELO_CONFIG": named}).ingest.port == 5002
    assert settings.load(argument, {"RELO_CONFIG": named}).ingest.port == 5003


def test_registry_tables_of_the_same_file_are_ignored(write: Write) -> None:
    tables = "".join(f'[[{table}]]\nanything = "at all"\n' for table in settings.REGISTRY_TABLES)
    assert settings.load(write(tables), {}) == Settings()


def test_every_setting_can_be_given_by_environment(write: Write) -> None:
    names = settings.environment_names()
    given = {"STRIPE_WEBHOOK_SECRET": "whsec_x", "RELO_LOG_LEVEL": "error", "RELO_CLICKHOUSE_URL": "https://h:1/d"}
    given["RELO_REDIS_URL"] = "unix:///run/redis.sock"
    given |= {
        "RELO_INGEST_HOST": "::1",
        "RELO_INGEST_COOKIE_DOMAIN": "x.test",
        "RELO_INGEST_FALLBACK_PAGE": "https://x.test/",
        "RELO_DATA_DIR": "/d",
    }
    given |= {"RELO_SECRET_KEY": "k", "RELO_SPOOL_SEGMENT_BYTES": "1048577", "RELO_SPOOL_CAP_BYTES": "16777217"}
    given |= {name: "101" for name in names if name not in given}
    given |= {"RELO_INGEST_WORKERS": "2", "RELO_INGEST_FORWARDED_HOPS": "2", "RELO_PRIVACY_REDACT_PARAMETERS": "a,b"}
    tree = msgspec.to_builtins(settings.load(None, given))
    defaults = msgspec.to_builtins(Settings())
    for name, path in names.items():
        found, default = tree, defaults
        for step in path:
            found, default = found[step], default[step]
        text = ",".join(found) if isinstance(found, list | tuple) else str(found).removesuffix(".0")
        assert text == given[name], name
        assert found != default, name
    leaves = sum(len(v) if isinstance(v, dict) else 1 for v in defaults.values())
    assert len(names) == leaves


@pytest.mark.parametrize(
    ("toml", "path", "expected"),
    [
        ("nope = 1", "nope", "no such setting"),
        ("[nope]\nx = 1", "nope", "no such setting"),
        ("[ingest]\nprot = 1", "ingest.prot", "no such setting"),
        ('[ingest]\nport = "4080"', "ingest.port", "expected int, got str"),
        ("[ingest]\nport = 4080.0", "ingest.port", "expected int, got float"),
        ("[ingest]\nport = true", "ingest.port", "expected int, got bool"),
        ("[ingest]\nport = 0", "ingest.port", ">= 1"),
        ("[ingest]\nport = 65536", "ingest.port", "<= 65535"),
        ("[ingest]\nworkers = 65", "ingest.workers", "<= 64"),
        ("[ingest]\nforwarded_hops = -1", "ingest.forwarded_hops", ">= 0"),
        ("[ingest]\nbody_timeout_s = 0", "ingest.body_timeout_s", "> 0"),
        ("[ingest]\nbody_timeout_s = nan", "ingest.body_timeout_s", "expected float"),
        ("[worker]\ninterval_s = inf", "worker.interval_s", "<= 3600"),
        ("[spool]\nsegment_bytes = 1000", "spool.segment_bytes", ">= 1048576"),
        ("[spool]\ncap_bytes = 16777216\nsegment_bytes = 16777216", "spool.cap_bytes", "twice spool.segment_bytes"),
        ("[quotas]\nburst = 0", "quotas.burst", ">= 1"),
        ("[redis]\ntimeout_ms = 1001", "redis.timeout_ms", "<= 1000"),
        ('[log]\nlevel = "loud"', "log.level", "debug|info|warning|error"),
        ("data_dir = 7", "data_dir", "expected str, got int"),
        ("ingest = 7", "ingest", "expected object, got int"),
    ],
)
def test_wrong_key_in_the_file_is_refused_with_its_path_and_what_was_expected(
    write: Write, toml: str, path: str, expected: str
) -> None:
    message = refusal(write(toml))
    assert f"{path}: " in message
    assert expected in message


@pytest.mark.parametrize(
    ("name", "value", "path", "expected"),
    [
        ("RELO_INGEST_PORT", "http", "ingest.port", "expected int"),
        ("RELO_INGEST_PORT", "", "ingest.port", "expected int"),
        ("RELO_INGEST_PORT", "4080.5", "ingest.port", "expected int"),
        ("RELO_INGEST_PORT", "65536", "ingest.port", "<= 65535"),
        ("RELO_WORKER_INTERVAL_S", "soon", "worker.interval_s", "expected float"),
        ("RELO_WORKER_INTERVAL_S", "nan", "worker.interval_s", "expected float"),
        ("RELO_LOG_LEVEL", "loud", "log.level", "debug|info|warning|error"),
        ("RELO_PRIVACY_REDACT_PARAMETERS", "token,a b", "privacy.redact_parameters[1]", "matching regex"),
    ],
)
def test_wrong_value_in_the_environment_is_refused_with_its_path_and_what_was_expected(
    name: str, value: str, path: str, expected: str
) -> None:
    message = refusal(**{name: value})
    assert f"{path}: " in message
    assert expected in message


@pytest.mark.parametrize("name", ["RELO_NOPE", "RELO_INGEST", "RELO_INGEST_PROT", "RELO_STRIPE_WEBHOOK_SECRET"])
def test_unknown_environment_name_is_refused_with_the_names_there_are(name: str) -> None:
    message = refusal(**{name: "1"})
    assert message.startswith(f"{name}: no such setting")
    assert "RELO_INGEST_PORT" in message


def test_names_of_others_are_none_of_our_business() -> None:
    others = {"PATH": "/bin", "RELOAD": "1", "RELO_BUILD_DEBUG": "1", "_RELO_PARENT_PID": "1"}
    assert settings.load(None, others) == Settings()


@pytest.mark.parametrize("section", ["clickhouse", "redis"])
@pytest.mark.parametrize("url", ["localhost", "localhost:6379", "ftp://h", "://h", "http://", "redis://", "x://[::1"])
def test_bad_url_is_refused_with_the_schemes_that_are_expected(section: str, url: str) -> None:
    message = refusal(**{f"RELO_{section}_URL".upper(): url})
    assert message.startswith(f"{section}.url: expected {section.replace('clickhouse', 'http')}://")


@pytest.mark.parametrize("url", ["http://[::1", "http://h]:8123", "http://h:port", "http://h:65536"])
def test_url_that_cannot_be_read_is_refused_without_a_traceback(url: str) -> None:
    assert refusal(RELO_CLICKHOUSE_URL=url).startswith("clickhouse.url: ")


def test_refused_url_does_not_show_its_password() -> None:
    assert "hunter2" not in refusal(RELO_CLICKHOUSE_URL="postgres://relo:hunter2@h/d")
    assert "hunter2" not in refusal(RELO_CLICKHOUSE_URL="http://relo:hunter2@h:port/d")


def test_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    assert "gone.toml: cannot be read: No such file" in refusal(str(tmp_path / "gone.toml"))
    assert "gone.toml: cannot be read: No such file" in refusal(RELO_CONFIG=str(tmp_path / "gone.toml"))


def test_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in refusal(str(tmp_path))


def test_file_that_is_not_utf8_is_refused(write: Write) -> None:
    assert "some.toml: is not UTF-8" in refusal(write(b'data_dir = "caf\xe9"'))


def test_file_that_is_not_toml_is_refused_with_the_line(write: Write) -> None:
    message = refusal(write("[ingest]\nport = = 1\n"))
    assert "some.toml: is not valid TOML" in message
    assert "line 2" in message


def test_embedded_engine_is_ours_until_an_url_is_given() -> None:
    ours = settings.load(None, {"RELO_CLICKHOUSE_EMBEDDED_PORT": "9000"})
    theirs = settings.load(None, {"RELO_CLICKHOUSE_URL": "http://h:8123/relo"})
    assert (ours.embedded, ours.clickhouse_dsn) == (True, "http://127.0.0.1:9000/default")
    assert (theirs.embedded, theirs.clickhouse_dsn) == (False, "http://h:8123/relo")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        settings.load(None, {}).ingest.port = 1  # type: ignore[misc]


def test_every_setting_has_a_docstring() -> None:
    tree = ast.parse(Path(settings.__file__).read_text())
    sections = {Settings} | {type(v) for v in msgspec.structs.astuple(Settings()) if isinstance(v, msgspec.Struct)}
    names = {s.__name__: s for s in sections}
    seen, missing = set(), []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or node.name not in names:
            continue
        seen.add(node.name)
        for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(statement, ast.AnnAssign) or ast.unparse(statement.annotation) in names:
                continue
            if not (
                isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                missing.append(f"{node.name}.{ast.unparse(statement.target)}")
    assert seen == names.keys()
    assert missing == []
