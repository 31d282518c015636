"""Keys: rotated as a list, made once, readable by nobody else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from relo_ingest.errors import ConfigError
from relo_ingest.registry.secrets import KEY_FILE, Keyring, Undecryptable, fingerprint, keyring, last_four
from relo_ingest.settings import Settings

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
SettingsFor = Callable[..., Settings]


def test_new_key_before_the_old_one_opens_what_the_old_one_closed() -> None:
    token = Keyring(OLD).encrypt("whsec_x")
    both = Keyring(f" {NEW} , {OLD},")
    assert both.decrypt(token) == "whsec_x"
    assert Keyring(NEW).decrypt(both.encrypt("whsec_y")) == "whsec_y", "the first key encrypts"


def test_wrong_key_and_broken_token_cannot_be_opened() -> None:
    for token in (Keyring(OLD).encrypt("whsec_x"), "", "gAAAA"):
        with pytest.raises(Undecryptable):
            Keyring(NEW).decrypt(token)


def test_token_does_not_hold_the_secret() -> None:
    assert "whsec" not in Keyring(OLD).encrypt("whsec_x")
    assert "whsec" not in fingerprint("whsec_x")
    assert last_four("whsec_abcdef") == "…cdef"


@pytest.mark.parametrize(
    "keys",
    ["", ",", "short", "é" * 44, f"{OLD},short", OLD[:-2]],
    ids=["empty", "a comma", "short", "not ASCII", "one of two", "cut"],
)
def test_what_is_no_fernet_key_is_refused_without_being_shown(keys: str) -> None:
    with pytest.raises(ConfigError, match="RELO_SECRET_KEY: expected Fernet keys") as caught:
        Keyring(keys)
    assert OLD not in str(caught.value)


def test_first_start_makes_a_key_that_only_its_owner_reads(settings_for: SettingsFor) -> None:
    settings = settings_for()
    token = keyring(settings, create=True).encrypt("whsec_x")
    assert (settings.data_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [p.name for p in settings.data_path.iterdir()] == [KEY_FILE]
    assert keyring(settings, create=True).decrypt(token) == "whsec_x"
    assert keyring(settings).decrypt(token) == "whsec_x"


def test_first_start_makes_the_data_directory_too(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(data_dir=str(tmp_path / "not" / "yet"))
    keyring(settings, create=True)
    assert (tmp_path / "not" / "yet" / KEY_FILE).exists()


def _make_at_once(settings: Settings, barrier: Barrier, answers: multiprocessing.Queue[str]) -> None:
    barrier.wait()
    answers.put(keyring(settings, create=True).encrypt("whsec_x"))


def test_processes_that_start_at_once_end_up_with_one_key(settings_for: SettingsFor, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(10):
        settings = settings_for(data_dir=str(tmp_path / str(attempt)))
        barrier, answers = context.Barrier(4), context.Queue()
        processes = [context.Process(target=_make_at_once, args=(settings, barrier, answers)) for _ in range(4)]
        for process in processes:
            process.start()
        tokens = [answers.get(timeout=150) for _ in processes]
        for process in processes:
            process.join()
        assert {keyring(settings).decrypt(t) for t in tokens} == {"whsec_x"}


def test_given_key_wins_over_the_file(settings_for: SettingsFor) -> None:
    keyring(settings_for(), create=True)
    token = keyring(settings_for(secret_key=OLD)).encrypt("whsec_x")
    assert Keyring(OLD).decrypt(token) == "whsec_x"


def test_no_key_is_made_unless_asked_or_for_somebody_elses_clickhouse(settings_for: SettingsFor) -> None:
    for settings, create in ((settings_for(), False), (settings_for(clickhouse="http://h:8123/d"), True)):
        with pytest.raises(ConfigError, match="relo new-key"):
            keyring(settings, create=create)
        assert not (settings.data_path / KEY_FILE).exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"not a key\n"])
def test_damaged_key_file_is_named_and_left_alone(settings_for: SettingsFor, content: bytes) -> None:
    settings = settings_for()
    path = settings.data_path / KEY_FILE
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"secret\.key: expected Fernet keys"):
        keyring(settings, create=True)
    assert path.read_bytes() == content


def test_unusable_data_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for data_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="RELO_DATA_DIR"):
            keyring(Settings(data_dir=str(data_dir)), create=True)
