"""Machine instructions per call of the compiled units, counted by valgrind's callgrind: the same on every run.

``python -m bench.instructions``          counts, and compares with instructions.json
``python -m bench.instructions --write``  counts, and keeps the counts there

Time on a shared machine moves by tens of per cent; a count of instructions does not move at all, as long as compiler,
Python and libraries are the same. So a change that makes a unit dearer by more than TOLERANCE is seen in CI, where no
clock can be trusted. The counts belong to the versions that stand beside them; elsewhere there is nothing to compare.

One process under callgrind calls each unit N times and then 2 N times. ``getppid`` between the parts makes callgrind
write down what was counted since the last (``--dump-before``), so the difference of two parts is N calls and nothing
else: no interpreter start, no imports.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from itertools import repeat, starmap
from pathlib import Path

import msgspec

from bench.harness import rows
from bench.harness.events import SECRET, checkout_completed
from bench.harness.requests import HEADERS
from relo_ingest._fast import digest, jsontext, rowbinary, signature, ulid
from relo_ingest.ingest import pixel

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.05
CALLS = 200
AT_MS = 1_700_000_000_000


class Counts(msgspec.Struct):
    """``made_with`` is what the counts depend on besides our code; ``per_call`` is by unit."""

    made_with: dict[str, str]
    per_call: dict[str, int]


class CannotCount(Exception):
    """There is no valgrind, or it does not run here."""


def made_with() -> dict[str, str]:
    return {
        "compiler": _compiler(),
        "python": f"{platform.python_version()} {sys.platform} {platform.machine()}",
        "openssl": ssl.OPENSSL_VERSION,
        "libc": " ".join(platform.libc_ver()),
        "valgrind": _valgrind("--version"),
        "cpu": "avx2" if "avx2" in Path("/proc/cpuinfo").read_text().split() else "no avx2",
    }


def _compiler() -> str:
    """What the compiler wrote of itself into an extension: it built it, whatever ``cc`` is by now."""
    found = re.search(rb"(?:GCC: |clang version )[ -~]+", Path(str(rowbinary.__file__)).read_bytes())
    return found[0].decode() if found else "unknown"


def _valgrind(*arguments: str) -> str:
    program = shutil.which("valgrind")
    if not program:
        raise CannotCount("valgrind is missing: make test installs it")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=ROOT, env=_environment())
    if done.returncode:
        raise CannotCount(f"valgrind failed: {done.stderr[-500:]}")
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """The same every time: hashes without a seed of the day, our own memory allocator of Python."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def count() -> Counts:
    """Counts now. Raises CannotCount."""
    versions = made_with()
    with tempfile.TemporaryDirectory(prefix="relo-bench-") as path:
        _valgrind(
            "--tool=callgrind",
            f"--callgrind-out-file={path}/out",
            "--dump-before=getppid",
            "--compress-strings=yes",
            sys.executable,
            "-m",
            "bench.instructions",
            "--called",
            path,
        )
        # out.1 ends before the first part; then two dumps for each unit.
        names = list(units(Path(path)))
        parts = [_total(Path(path, f"out.{n}")) for n in range(2, 2 + 2 * len(names))]
    found = zip(names, parts[::2], parts[1::2], strict=True)
    return Counts(versions, {name: round((twice - once) / CALLS) for name, once, twice in found})


def _total(dump: Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.MULTILINE)
    assert found, f"{dump} has no total"
    return int(found[1])


def changes(kept: Counts, now: Counts) -> list[str]:
    """A line for each unit whose count moved by more than TOLERANCE, appeared or went."""
    found = []
    for name in sorted(kept.per_call.keys() | now.per_call.keys()):
        before, after = kept.per_call.get(name), now.per_call.get(name)
        if before is None or after is None:
            found.append(f"{name}: {before or 'not kept'} → {after or 'not counted'}")
        elif abs(after - before) > TOLERANCE * before:
            found.append(f"{name}: {before:,} → {after:,} instructions a call ({after / before - 1:+.1%})")
    return found


def read() -> Counts:
    return msgspec.json.decode(KEPT.read_bytes(), type=Counts)


def units(directory: Path) -> dict[str, tuple[Callable[..., object], tuple[object, ...]]]:
    """What is counted; ``directory`` is for the segment. Nothing here depends on the clock.

    ``rowbinary.encode`` is left out: it makes a bytes object, and what that costs depends on the heap, and so on the
    directory this runs in. ``rowbinary.append`` is the same encoder into a segment.
    """
    body, event = checkout_completed("01JD4Z5G7QH8M3N2P1R0S9T8V7"), rows.page_view()
    signed_at = AT_MS // 1000
    header = signature.sign(body, SECRET, signed_at)
    headers = [(name.encode(), value.encode()) for name, value in HEADERS]
    row, segment, raw = rowbinary.encode(event), rows.new_segment(directory), rows.new_segment(directory)
    return {
        "ulid.new": (ulid._new_from_clock, (AT_MS,)),
        "ulid.normalize": (ulid.normalize, (event.event_id,)),
        "ulid.timestamp_ms": (ulid.timestamp_ms, (event.event_id,)),
        "signature.verify": (
            signature.verify,
            (
                body,
                header,
                (SECRET,),
                signed_at,
            ),
        ),
        "digest.email_hash": (digest.email_hash, (" Buyer@Example.com ",)),
        "digest.crc32c": (digest.crc32c, (body,)),
        "headers.pick": (pixel.PICK, (headers,)),
        "jsontext.is_plain": (jsontext.is_plain, (body,)),
        "rowbinary.append": (
            rowbinary.append,
            (
                segment,
                event,
            ),
        ),
        "segment.append_raw": (raw.append_raw, (row,)),
    }


def _call_all(directory: Path) -> None:
    """Under callgrind."""
    found = units(directory)
    for function, arguments in found.values():
        function(*arguments)  # what happens only once has happened
    os.getppid()
    for function, arguments in found.values():
        for times in (CALLS, 2 * CALLS):
            # A loop in C, so that hardly anything but the function is counted.
            deque(starmap(function, repeat(arguments, times)), 0)
            os.getppid()


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--called"]:
        _call_all(Path(arguments[1]))
        return 0
    now = count()
    if arguments == ["--write"]:
        KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=2) + b"\n")
    for name, instructions in now.per_call.items():
        print(f"{name:24} {instructions:>8,} instructions a call")
    kept = read()
    if kept.made_with != now.made_with:
        print(f"not compared: counted with {now.made_with}, kept from {kept.made_with}")
        return 0
    moved = changes(kept, now)
    print("\n".join(moved) or f"none moved by more than {TOLERANCE:.0%}")
    return bool(moved)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
