"""A running product with clients of its own, `relo` in this process, and Stripe's API on loopback."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from relo_ingest import cli, settings
from relo_ingest.settings import Settings
from support.processes import Product
from support.stripe_api import KEY, StripeApi

SHOPS = "".join(
    f"""
[[clients]]
client_id = {client_id}
slug = "{slug}"
[[offers]]
client = "{slug}"
slug = "main"
landing_page = "https://shop.test/"
"""
    for client_id, slug in ((7, "modes"), (8, "dates"), (9, "setup"), (10, "lost"), (11, "cli"), (12, "bare"))
)


class Done(msgspec.Struct):
    """``out`` are lines; ``complaint`` is the one line of an error, or ""."""

    code: int
    out: list[str]
    complaint: str
    log: str


Relo = Callable[..., Done]


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    directory = tmp_path_factory.mktemp("stripe")
    running = Product(directory, RELO_SPOOL_MAX_AGE_MS=100)
    (directory / "shops.toml").write_text(SHOPS)
    applied = running.relo("apply", str(directory / "shops.toml"))
    assert applied.returncode == 0, applied.stderr
    yield running
    assert running.stop() == 0


@pytest.fixture
def configured(product: Product) -> Settings:
    return settings.load(environ={k: v for k, v in product.env.items() if k.startswith("RELO_")})


@pytest.fixture
def relo(configured: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Relo:
    """A command of ``relo``, without a process of its own; ``stdin`` is what is piped into it."""

    def run(*arguments: str, stdin: str = "", on: Settings = configured) -> Done:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        parsed = cli.parser().parse_args(arguments)
        capsys.readouterr()
        complaint = ""
        try:
            code = parsed.command(on, parsed)
        except cli.ReloError as error:
            code, complaint = error.exit_code, str(error)
            assert "\n" not in complaint
        said = capsys.readouterr()
        return Done(code, said.out.splitlines(), complaint, said.err)

    return run


@pytest.fixture
def stripe_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[StripeApi]:
    """Stripe's API, empty; the environment leads there with a key of test mode."""
    api = StripeApi()
    monkeypatch.setenv("STRIPE_API_BASE", api.url)
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    yield api
    api.close()


@pytest.fixture
def export(tmp_path: Path) -> Callable[[bytes], str]:
    """A file with this content; its name."""

    def write(content: bytes) -> str:
        path = tmp_path / "events.json"
        path.write_bytes(content)
        return str(path)

    return write
