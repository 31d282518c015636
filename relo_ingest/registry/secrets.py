"""Secrets at rest: encrypted with MultiFernet, so that keys can be rotated as a list."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from relo_ingest.errors import ConfigError, ReloError
from relo_ingest.registry.model import BEGINNING, END
from relo_ingest.settings import Settings

KEY_FILE = "secret.key"

Mode = Literal["live", "test", "both"]


class StripeSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A signing secret as the registry keeps it: the body of a row of the kind ``stripe_secret``.

    In force from ``valid_from`` until before ``valid_to``, for events of its mode. ``retired`` says that a person ended
    it: it still holds until ``valid_to``, and no file brings it back. Rows of before these fields have their defaults.
    """

    client_id: int
    client: str
    token: str
    last_four: str
    mode: Mode = "both"
    valid_from: dt.datetime = BEGINNING
    valid_to: dt.datetime = END
    status: Literal["active", "retired"] = "active"


class Undecryptable(ReloError):
    """No key of ours opens this secret."""


class Keyring:
    """Encrypts with the first key, decrypts with any."""

    def __init__(self, keys: str, source: str = "RELO_SECRET_KEY") -> None:
        """``keys``: Fernet keys, comma-separated. Raises ConfigError when one is not a Fernet key."""
        try:
            self._fernet = MultiFernet([Fernet(k.strip()) for k in keys.split(",") if k.strip()])
        except ValueError:
            raise ConfigError(
                f"{source}: expected Fernet keys (32 bytes in URL-safe base64), comma-separated; "
                "`relo new-key` prints one"
            ) from None

    def encrypt(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Raises Undecryptable."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken:
            raise Undecryptable("a stored secret was encrypted with a key that RELO_SECRET_KEY does not hold") from None


def keyring(settings: Settings, *, create: bool = False) -> Keyring:
    """The keys in force. With ``create``, an embedded start without any makes one (mode 0600).

    Raises ConfigError when there is no key and none may be made.
    """
    if settings.secret_key:
        return Keyring(settings.secret_key)
    path = settings.data_path / KEY_FILE
    try:
        if create and settings.embedded and not path.exists():
            _generate(path)
        return Keyring(path.read_text(encoding="utf-8", errors="replace"), str(path))
    except FileNotFoundError:
        raise ConfigError("RELO_SECRET_KEY is not set; `relo new-key` prints one") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made or read: {error.strerror}; check RELO_DATA_DIR") from None


def fingerprint(secret: str) -> str:
    """Names a secret without telling it."""
    return hashlib.sha256(b"relo-secret:" + secret.encode()).hexdigest()[:16]


def last_four(secret: str) -> str:
    return "…" + secret[-4:]


def _generate(path: Path) -> None:
    """Write a new key so that it is complete or absent, and readable by nobody else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(Fernet.generate_key() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # unlike rename, never replaces a key that another process just made
    except FileExistsError:
        pass
    finally:
        draft.unlink()
