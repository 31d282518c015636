from collections.abc import Iterator

import pytest

from support.processes import Product, Server, free_port


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = Product(tmp_path_factory.mktemp("product"), RELO_INGEST_BODY_TIMEOUT_S=1, RELO_SPOOL_MAX_AGE_MS=100)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session", params=["granian", "uvicorn"])
def server(
    request: pytest.FixtureRequest, product: Product, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The same application on the server that ships, and on another: it is plain ASGI."""
    if request.param == "granian":
        yield product
        return
    port = free_port()
    running = Server(
        ["uvicorn", "relo_ingest.ingest.server:create_app", "--factory", "--port", str(port), "--log-level", "warning"],
        product.env,
        port,
        tmp_path_factory.mktemp("uvicorn") / "log",
        "/health/ready",
    )
    yield running
    assert running.stop() in (0, -15)
