"""kill -9 of the whole product, under load, and a start on what it left."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.ledger import Ledger
from support.load import Load
from support.processes import Product, eventually, processes_with
from support.soak import scaled
from support.stack import NO_QUOTA, drained, kill


@pytest.mark.usefixtures("leaves_no_process")
def test_everything_killed_at_once_starts_again_with_everything(tmp_path: Path) -> None:
    ledger = Ledger()
    for _ in range(scaled(2, 12)):
        product = Product(tmp_path, RELO_INGEST_WORKERS=2, **NO_QUOTA)
        marker = f"RELO_DATA_DIR={product.data_dir}\0"
        with Load(product.base_url, ledger) as load:
            load.go_on(scaled(300, 5_000))
            kill(*processes_with(marker))
            eventually(lambda m=marker: not processes_with(m), "every process is gone")
        product.process.wait(10)
    product = Product(tmp_path, RELO_INGEST_WORKERS=2, **NO_QUOTA)
    with Load(product.base_url, ledger) as load:
        load.go_on(100)
    drained(product.data_dir)
    ledger.verify(product.clickhouse)
    assert product.stop() == 0
