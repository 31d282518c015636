"""kill -9 of the processes that serve: what they had acknowledged is adopted and sent by those that live."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.ledger import Ledger
from support.load import Load
from support.processes import Product, eventually
from support.soak import scaled
from support.stack import NO_QUOTA, Stack, drained, kill, segments, serving


@pytest.mark.usefixtures("leaves_no_process")
def test_killed_workers_are_replaced_and_lose_nothing(tmp_path: Path) -> None:
    """One or both at a time. At a second death within seconds all of the ingest ends, and starts again."""
    ledger = Ledger()
    product = Product(tmp_path, RELO_INGEST_WORKERS=2, **NO_QUOTA)
    with Load(product.base_url, ledger) as load:
        for _ in range(scaled(4, 25)):
            load.go_on(150, 90)
            victims = random.sample(two_workers(product), random.choice((1, 2)))
            kill(*victims)
            eventually(lambda v=victims: not set(serving(product.data_dir)) & set(v), "they are gone")
            load.go_on_for(scaled(0, random.choice((1, 6, 7, 8))))
        load.go_on(300)
        two_workers(product)
    drained(product.data_dir)
    ledger.verify(product.clickhouse)
    assert product.stop() == 0


def two_workers(product: Product) -> list[int]:
    found: list[int] = eventually(lambda: len(w := serving(product.data_dir)) == 2 and w, "two workers serve")
    return found


def test_two_instances_share_a_data_directory(stack: Stack) -> None:
    first, second = stack.start_ingest(), stack.start_ingest()
    with Load([first.base_url, second.base_url], stack.ledger) as load:
        for _ in range(scaled(1, 15)):
            load.go_on(300)
            both = list(stack.data_dir.glob("spool/0*"))
            assert len(both) == 2, "each writes to a directory of its own"
            stack.kill_ingest(first)
            load.go_on(150)
            first = stack.start_ingest(port=first.port)
        load.go_on(150)
    stack.verify()
    assert (first.stop(), second.stop()) == (0, 0)


def test_the_segments_of_a_dead_process_are_flushed_by_a_living_one(stack: Stack) -> None:
    dying, living = stack.start_ingest(), stack.start_ingest()
    stack.proxy.refuse()
    with Load(dying.base_url, stack.ledger) as load:
        load.go_on(scaled(300, 30_000), 300)
        stack.kill_ingest(dying)
    left = segments(stack.data_dir)
    assert left, "the dead process left segments"
    stack.proxy.accept()
    # Nobody is started, and nothing is sent to the one that lives.
    drained(stack.data_dir)
    eventually(lambda: not any(p.parent.exists() for p in left), "the dead process's directory is gone")
    stack.verify()
    assert living.stop() == 0
