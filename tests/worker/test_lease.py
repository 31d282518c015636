"""Who may act: one of several workers, and another one when that one is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from relo_ingest.errors import ConfigError
from relo_ingest.settings import Settings
from relo_ingest.worker.lease import KEY, TTL_MS, FileLease, RedisLease, lease

SettingsFor = Callable[..., Settings]

HOLD = """
import sys, time
from relo_ingest.settings import Settings
from relo_ingest.worker.lease import FileLease
mine = FileLease(Settings(data_dir=sys.argv[1]))
print(mine.held(), flush=True)
time.sleep(60)
"""


def test_redis_decides_when_it_is_configured(settings_for: SettingsFor, redis_server: Any) -> None:
    assert isinstance(lease(settings_for(redis=redis_server)), RedisLease)
    assert isinstance(lease(settings_for()), FileLease)


def test_file_lease_is_held_by_one_until_it_is_released(settings_for: SettingsFor) -> None:
    one, other = FileLease(settings_for()), FileLease(settings_for())
    assert one.held()
    assert not other.held()
    assert one.held(), "to hold it again is to renew it"
    one.release()
    assert other.held()
    other.release()


def test_file_lease_of_a_killed_process_is_free(settings_for: SettingsFor, environment: dict[str, str]) -> None:
    settings = settings_for()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, settings.data_dir], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    mine = FileLease(settings)
    assert not mine.held()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert mine.held()
    mine.release()


def test_file_lease_that_cannot_be_opened_says_what_to_check(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="RELO_DATA_DIR"):
        FileLease(Settings(data_dir=str(tmp_path / "file")))


def test_redis_lease_is_held_by_one_until_it_is_released(redis_server: Any) -> None:
    one, other = RedisLease(redis_server.url), RedisLease(redis_server.url)
    assert one.held()
    assert not other.held()
    assert one.held()
    one.release()
    assert other.held()
    other.release()


def test_redis_lease_is_renewed_by_its_holder_alone(redis_server: Any) -> None:
    one, other = RedisLease(redis_server.url), RedisLease(redis_server.url)
    with redis.Redis.from_url(redis_server.url) as look:
        assert one.held()
        look.pexpire(KEY, 5_000)
        assert not other.held()
        assert look.pttl(KEY) <= 5_000, "who asks in vain does not lengthen it"
        assert one.held()
        assert TTL_MS - 2_000 < look.pttl(KEY) <= TTL_MS


def test_redis_lease_that_expired_is_taken_over_and_not_taken_back(redis_server: Any) -> None:
    one, other = RedisLease(redis_server.url), RedisLease(redis_server.url)
    assert one.held()
    with redis.Redis.from_url(redis_server.url) as look:
        look.pexpire(KEY, 50)
        time.sleep(0.1)
    assert other.held()
    assert not one.held()
    one.release()
    assert not RedisLease(redis_server.url).held(), "a late release does not end the lease of the other"


def test_every_worker_acts_while_redis_is_away(redis_server: Any) -> None:
    one, other = RedisLease(redis_server.url), RedisLease(redis_server.url)
    assert one.held()
    redis_server.stop()
    assert one.held()
    assert other.held()
    redis_server.start()
    assert one.held()
    assert not other.held()
    redis_server.stop()
    one.release()
