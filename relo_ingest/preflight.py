"""What is looked at before anything starts, so that what is wrong is one line and not a stack of processes."""

from __future__ import annotations

import errno
import os
import socket

from relo_ingest.errors import ConfigError, ReloError
from relo_ingest.settings import Settings


class AddressInUse(ReloError):
    """Something else listens there."""


def check_address(host: str, port: int, setting: str) -> None:
    """Raises AddressInUse when something listens there, ConfigError when nobody could; ``setting`` names the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUse(
                    f"port {port} on {host} is in use; stop what listens there, or set {setting}"
                ) from None
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror}; check the address, or {setting}"
            ) from None


def check_data_directory(settings: Settings) -> None:
    """Create it if need be. Raises ConfigError when it cannot be used."""
    path = settings.data_path
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"data directory {path}: {error.strerror}; check RELO_DATA_DIR") from None
