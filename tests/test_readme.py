"""What the README says of settings and commands is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from relo_ingest import settings
from relo_ingest.cli import COMMANDS

README = Path(__file__).parent.parent.joinpath("README.md").read_text()


def defaults() -> dict[str, object]:
    tree = msgspec.to_builtins(settings.Settings())
    found: dict[str, object] = {}
    for variable, path in settings.environment_names().items():
        value: object = tree
        for step in path:
            value = value[step]  # type: ignore[index]
        found[variable] = ",".join(value) if isinstance(value, tuple) else value
    return found


def test_readme_tells_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| `(\w+)` \| (\S+) \|", README, flags=re.MULTILINE)
    told = {variable: default for _, variable, default in rows}
    assert told == {k: f"`{v}`" if v != "" else "empty" for k, v in defaults().items()}
    names = settings.environment_names()
    assert {variable: name for name, variable, _ in rows} == {k: ".".join(p) for k, p in names.items()}


def test_readme_names_only_commands_that_exist() -> None:
    commands = {c.__name__.replace("_", "-") for c in COMMANDS}
    used = set(re.findall(r"(?:\.venv/bin/|`)relo ([a-z-]+)", README))
    assert used
    assert used <= commands


def test_readme_names_only_make_targets_that_exist() -> None:
    makefile = Path(__file__).parent.parent.joinpath("Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    used = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE))
    assert {"run", "test"} <= used <= targets
