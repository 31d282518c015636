"""Who may act: of several workers, one.

The steps are safe without it (two at once write the same rows); the lease only saves the work.
"""

from __future__ import annotations

import fcntl
import os
from typing import Protocol

import redis
from redis.exceptions import RedisError

from relo_ingest._fast import ulid
from relo_ingest.errors import ConfigError
from relo_ingest.settings import Settings

KEY = "relo:worker:lease"
TTL_MS = 15_000
"""A dead holder's work is taken over after this long; renewed each round."""

RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end"
RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"


class Lease(Protocol):
    def held(self) -> bool:
        """Take or renew it; False while another worker holds it."""

    def release(self) -> None:
        """Let another worker take over at once."""


class RedisLease:
    """Across machines. While Redis is away every worker acts: work done twice is better than none."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
        self._token = ulid.new()

    def held(self) -> bool:
        try:
            if self._redis.eval(RENEW, 1, KEY, self._token, TTL_MS):
                return True
            return bool(self._redis.set(KEY, self._token, nx=True, px=TTL_MS))
        except RedisError:
            return True

    def release(self) -> None:
        try:
            self._redis.eval(RELEASE, 1, KEY, self._token)
        except RedisError:
            pass  # it expires by itself
        self._redis.close()


class FileLease:
    """On one machine: a lock that the kernel drops with the process."""

    def __init__(self, settings: Settings) -> None:
        path = settings.data_path / "worker.lock"
        try:
            settings.data_path.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be opened: {error.strerror}; check RELO_DATA_DIR") from None

    def held(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        os.close(self._fd)


def lease(settings: Settings) -> Lease:
    return RedisLease(settings.redis.url) if settings.redis.url else FileLease(settings)
