"""Settings: ``relo.toml`` and ``RELO_*`` environment variables as frozen structs.

The environment wins over the file, the file over the defaults. A setting ``key`` of the table
``[section]`` is ``RELO_SECTION_KEY`` in the environment; top-level keys are ``RELO_KEY``.
Nothing here touches the network: ``relo doctor`` checks the connections.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from relo_ingest.errors import ConfigError

Port = Annotated[int, Meta(ge=1, le=65535)]

REGISTRY_TABLES = ("clients", "offers", "partners", "promo_codes", "commission_rules")
"""Tables of the same file that describe clients and partners: read by ``relo apply``, not here."""

_OTHER_ENVIRONMENT = ("RELO_CONFIG",)


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Ingest(_Section, frozen=True):
    host: str = "127.0.0.1"
    """Listen address. Loopback, because TLS and the public address belong to the proxy in front."""
    port: Port = 4080
    """Listen port: fixed by the integration guide."""
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Server processes. One keeps one core busy; more pay off with more cores."""
    forwarded_hops: Annotated[int, Meta(ge=0, le=8)] = 0
    """How many proxies of yours stand in front: that entry of X-Forwarded-For, from the right, is the visitor.
    0, because a header that nobody checked is the visitor's own claim."""
    body_timeout_s: Annotated[float, Meta(gt=0, le=300)] = 10.0
    """A request body must be complete after this many seconds: the server underneath never gives up."""
    concurrent_requests: Annotated[int, Meta(ge=1, le=100_000)] = 2_000
    """Requests under way in one process; beyond it 503 at once, since a queue only makes everybody wait."""
    cookie_domain: str = ""
    """Domain of the click cookie. Empty: the host that answered, right unless links and sites share a domain."""
    country_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{0,63}\Z")] = ""
    """Header in which your proxy says the visitor's country, such as ``cf-ipcountry``. Empty, because a header that
    nobody sets or checks is the visitor's own claim."""
    fallback_page: str = ""
    """Where links lead that are unknown or whose partner is paused, unless the offer says. Empty: a page with 404."""


class Spool(_Section, frozen=True):
    segment_bytes: Annotated[int, Meta(ge=1 << 20, le=64 << 20)] = 8 << 20
    """Size at which a segment is sealed: one insert of this size takes the engine tens of milliseconds."""
    segment_rows: Annotated[int, Meta(ge=100, le=1_000_000)] = 20_000
    """Rows at which a segment is sealed."""
    max_age_ms: Annotated[int, Meta(ge=10, le=60_000)] = 1_000
    """Age at which a segment is sealed: the delay before an event can be queried."""
    cap_bytes: Annotated[int, Meta(ge=16 << 20)] = 4 << 30
    """Disk that unflushed segments may take; beyond it 503, for beacons from 7/8 of it on. 4 GiB is 10 million."""
    disk_floor_bytes: Annotated[int, Meta(ge=0)] = 512 << 20
    """Space that stays free on the disk, for the engine, its merges and the logs; below it 503."""


class Quotas(_Section, frozen=True):
    beacons_per_s: Annotated[int, Meta(ge=1)] = 2_000
    """Beacon events a second that one client may send to one worker; beyond it 429. One runaway site
    must not take the others' place; 2,000 is a very large shop."""
    burst: Annotated[int, Meta(ge=1)] = 10_000
    """Events that one client may send at once after a quiet time: some seconds of the rate."""


class ClickHouse(_Section, frozen=True):
    url: str = ""
    """``http(s)://user:password@host:port/database``. Empty: the embedded engine."""
    embedded_port: Port = 8123
    """Where the embedded engine listens on loopback: ClickHouse's own HTTP port."""
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """Longest wait for one call: a server that hangs is as bad as one that refuses."""


class Redis(_Section, frozen=True):
    url: str = ""
    """``redis://host:port/0``. Empty: each process keeps its own identity cache; results are the same."""
    timeout_ms: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Longest wait for an identity while a webhook is answered; the worker resolves what was missed."""
    identity_ttl_days: Annotated[int, Meta(ge=1, le=3650)] = 60
    """A pair of address and device is forgotten when it was not seen for so long: as long as a click counts."""


class Worker(_Section, frozen=True):
    interval_s: Annotated[float, Meta(ge=0.05, le=3600)] = 1.0
    """Pause between two rounds of attribution: with the segment's age, the delay from payment to ledger entry."""


class Log(_Section, frozen=True):
    level: Annotated[str, Meta(pattern=r"^(debug|info|warning|error)\Z")] = "info"
    """Least level that is written. Each line is one JSON object on stderr."""


class Privacy(_Section, frozen=True):
    redact_parameters: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")], ...] = (
        *("token", "accesstoken", "refreshtoken", "idtoken", "jwt", "bearer", "auth", "authorization", "credential"),
        *("key", "apikey", "secret", "clientsecret", "signature", "sig", "otp", "reset_code", "verification_code"),
        *("password", "passwd", "passphrase", "passcode", "pass", "pwd", "contrasena"),
        *("session", "sessionid", "sessid", "phpsessid", "jsessionid"),
        *("email", "e-mail", "mail", "emailaddress", "useremail", "correo"),
        *("phone", "phonenumber", "telephone", "tel", "msisdn", "telefono", "celular"),
        *("cardnumber", "card_number", "cvc", "cvv", "iban", "ssn"),
    )
    """Query parameters whose values are not written, in any case, alone or as a word of the name (``access_token``,
    ``user[email]``): what opens an account or an order, and where a person is reached. Left out, because marketing
    needs them: ``code`` (promotions), ``sid`` (affiliates' sub-ids), ``mobile``, ``id``, ``ref``, ``utm_…``."""


class Settings(_Section, frozen=True):
    data_dir: str = "relo-data"
    """Segments, the embedded engine's files, the registry's last good copy, the generated key."""
    secret_key: str = ""
    """Fernet keys, comma-separated, that encrypt stored secrets: the first encrypts, all decrypt.
    Empty: ``secret.key`` in the data directory, generated on first start."""
    stripe_webhook_secret: str = ""
    """From STRIPE_WEBHOOK_SECRET: one more signing secret of client 1, and the one behind /postback/stripe."""
    ingest: Ingest = Ingest()
    spool: Spool = Spool()
    quotas: Quotas = Quotas()
    clickhouse: ClickHouse = ClickHouse()
    redis: Redis = Redis()
    worker: Worker = Worker()
    privacy: Privacy = Privacy()
    log: Log = Log()

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir)

    @property
    def embedded(self) -> bool:
        """Whether the ClickHouse engine is our own."""
        return not self.clickhouse.url

    @property
    def clickhouse_dsn(self) -> str:
        return self.clickhouse.url or f"http://127.0.0.1:{self.clickhouse.embedded_port}/default"


def load(config: str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from ``config`` (else RELO_CONFIG, else ./relo.toml if there) and the environment.

    Raises ConfigError, with the key's path and what was expected, for anything unknown or wrong.
    """
    environ = os.environ if environ is None else environ
    tree = {k: v for k, v in read_file(config, environ).items() if k not in REGISTRY_TABLES}
    settings = _convert(tree, "relo.toml", strict=True)
    merged = msgspec.to_builtins(settings)
    _overlay(merged, environ)
    return _validated(_convert(merged, "environment", strict=False))


def read_file(config: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """The TOML file as it stands; {} when none was named and ./relo.toml does not exist."""
    named = config or environ.get("RELO_CONFIG")
    path = Path(named or "relo.toml")
    if not named and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None


def environment_names() -> dict[str, tuple[str, ...]]:
    """Every environment variable that is read, and the path of the setting it is."""
    names: dict[str, tuple[str, ...]] = {"STRIPE_WEBHOOK_SECRET": ("stripe_webhook_secret",)}
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.type, type) and issubclass(field.type, _Section):
            for inner in msgspec.structs.fields(field.type):
                names[f"RELO_{field.name}_{inner.name}".upper()] = (field.name, inner.name)
        elif field.name != "stripe_webhook_secret":
            names[f"RELO_{field.name}".upper()] = (field.name,)
    return names


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    known = environment_names()
    for name, value in environ.items():
        path = known.get(name)
        if path is not None:
            node = tree
            for step in path[:-1]:
                node = node[step]
            is_list = isinstance(node[path[-1]], list | tuple)
            node[path[-1]] = [item.strip() for item in value.split(",") if item.strip()] if is_list else value
        elif name.startswith("RELO_") and not name.startswith("RELO_BUILD_") and name not in _OTHER_ENVIRONMENT:
            raise ConfigError(f"{name}: no such setting; the environment knows {', '.join(sorted(known))}")


def _convert(tree: dict[str, Any], source: str, *, strict: bool) -> Settings:
    try:
        return msgspec.convert(tree, Settings, strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_readable(str(error))}") from None


def _readable(message: str) -> str:
    """``Expected `int`, got `str` - at `$.ingest.port``` → ``ingest.port: expected int, got str``."""
    what, _, where = message.partition(" - at `$")
    what = what.replace("`", "")
    unknown = re.fullmatch(r"Object contains unknown field (\S+)", what)
    path = where.rstrip("`").lstrip(".")
    if unknown:
        return f"{path + '.' if path else ''}{unknown[1]}: no such setting"
    return f"{path}: {what[0].lower()}{what[1:]}" if path else what


def _validated(settings: Settings) -> Settings:
    for name, url, schemes in (
        ("clickhouse.url", settings.clickhouse.url, ("http", "https")),
        ("redis.url", settings.redis.url, ("redis", "rediss", "unix")),
    ):
        if not url:
            continue
        expected = f"{name}: expected {' or '.join(s + '://…' for s in schemes)} with a host"
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigError(expected) from None
        if parts.scheme not in schemes or not (parts.hostname or parts.scheme == "unix"):
            raise ConfigError(expected)
        try:
            _ = parts.port
        except ValueError:
            raise ConfigError(f"{name}: the port is not a number up to 65535") from None
    fallback_page = settings.ingest.fallback_page
    if not re.fullmatch(r"(https?://[^/\s]+([/?#]\S*)?)?", fallback_page) or not fallback_page.isascii():
        raise ConfigError("ingest.fallback_page: expected http(s)://host/…, in ASCII")
    if settings.spool.cap_bytes < 2 * settings.spool.segment_bytes:
        raise ConfigError("spool.cap_bytes: expected at least twice spool.segment_bytes")
    return settings
