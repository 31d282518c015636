"""kill -9 of the processes that serve: what they had acknowledged is adopted and sent by those that live."""

from __future__ import annotations

import random
import signal

from support.load import Load
from support.processes import eventually
from support.soak import scaled
from support.stack import Stack, children, drained, kill, segments


def test_killed_workers_are_replaced_and_lose_nothing(stack: Stack) -> None:
    ingest = stack.start_ingest(workers=2)
    with Load(ingest.base_url, stack.ledger) as load:
        for _ in range(scaled(4, 80)):
            load.go_on(150)
            before = eventually(lambda: len(found := children(ingest.process.pid)) == 2 and found, 20, "two workers")
            victims = random.sample(before, random.choice((1, 2)))
            kill(*victims)
            eventually(lambda v=victims: not set(children(ingest.process.pid)) & set(v), 20, "they are gone")
        load.go_on(300)
        assert len(children(ingest.process.pid)) == 2
    drained(stack.data_dir)
    assert ingest.stop() == 0
    stack.verify()


def test_two_instances_share_a_data_directory(stack: Stack) -> None:
    first, second = stack.start_ingest(), stack.start_ingest()
    with Load([first.base_url, second.base_url], stack.ledger) as load:
        for _ in range(scaled(1, 20)):
            load.go_on(300)
            owners = {p.parent for p in segments(stack.data_dir)}
            eventually(lambda: owners.isdisjoint(p.parent for p in segments(stack.data_dir)) or len(owners) == 2, 20, "both write")
            stack.kill_ingest(first)
            load.go_on(150)
            first = stack.start_ingest(port=first.port)
        load.go_on(150)
    assert (first.stop(), second.stop()) == (0, 0)
    stack.verify()


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
    assert not any(p.parent.exists() for p in left), "the dead process's directory is gone"
    stack.verify()
    assert living.stop(signal.SIGTERM) == 0
