"""ULIDs: order, uniqueness over threads and forks, clocks that step, strict reading."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import relo_ingest
from relo_ingest._fast import ulid

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_BITS = 80


def number_of(text: str) -> int:
    """Independent reading: base 32, digit by digit."""
    number = 0
    for character in text.upper():
        number = number * 32 + ALPHABET.index(character)
    return number


def text_of(number: int) -> str:
    text = ""
    for _ in range(26):
        number, digit = divmod(number, 32)
        text = ALPHABET[digit] + text
    return text


def run(code: str) -> object:
    """The JSON that the code prints, run in a fresh process (its clock state is its own)."""
    environment = {**os.environ, "PYTHONPATH": str(Path(relo_ingest.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_million_ids_are_unique_and_ascend():
    new = ulid.new
    ids = [new() for _ in range(1_000_000)]
    assert all(map(str.__lt__, ids, ids[1:]))  # strictly ascending, hence unique
    assert all(len(text) == 26 for text in ids)


def test_text_is_upper_case_crockford_and_carries_the_clock():
    texts = run(
        """
        import json, time
        from relo_ingest._fast import ulid
        before = time.time_ns() // 1_000_000
        ids = [ulid.new() for _ in range(1000)]
        print(json.dumps([before, ids, time.time_ns() // 1_000_000]))
        """
    )
    assert isinstance(texts, list)
    before, ids, after = texts
    for text in ids:
        assert set(text) <= set(ALPHABET)
        assert before <= ulid.timestamp_ms(text) <= after
        assert ulid.timestamp_ms(text) == number_of(text) >> RANDOM_BITS


def test_threads_share_one_ascending_sequence():
    made: list[list[str]] = []

    def make() -> None:
        made.append([ulid.new() for _ in range(30_000)])

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ids in made:
        assert all(map(str.__lt__, ids, ids[1:]))
    assert len({text for ids in made for text in ids}) == 6 * 30_000


@pytest.mark.parametrize("fork", ["os.fork()", "ctypes.PyDLL(None).fork()"], ids=["os.fork", "fork of libc"])
def test_children_of_a_fork_never_repeat_the_parent_or_each_other(fork):
    result = run(
        f"""
        import ctypes, json, os
        from relo_ingest._fast import ulid
        ahead = ulid.timestamp_ms(ulid.new()) + 60_000
        last = ulid._new_from_clock(ahead)  # the clock stands still: all would count on from the same id
        pipes = []
        for _ in range(4):
            r, w = os.pipe()
            if {fork} == 0:
                os.close(r)
                with open(w, "w") as out:
                    out.write(json.dumps([ulid.new() for _ in range(5000)]))
                os._exit(0)
            os.close(w)
            pipes.append(r)
        mine = [ulid.new() for _ in range(5000)]
        theirs = [json.loads(open(r).read()) for r in pipes]
        for _ in pipes:
            os.wait()
        print(json.dumps([last, mine, *theirs]))
        """
    )
    assert isinstance(result, list)
    last, *families = result
    assert len({text for family in families for text in family}) == 5 * 5000
    for family in families:
        assert all(map(str.__lt__, [last, *family], family))
    # Nor do they hand out the same random bytes after another timestamp.
    random_parts = {number_of(family[0]) & ((1 << RANDOM_BITS) - 1) for family in families}
    assert len(random_parts) == 5


def test_a_clock_that_steps_never_takes_an_id_back():
    clock = [5000, 5000, 4999, 1, 0, -7, 5001, 9000, 9000, 5001, 8999, 9001, 9001, 100, 9002] * 200
    ids = run(
        f"""
        import json
        from relo_ingest._fast import ulid
        print(json.dumps([ulid._new_from_clock(ms) for ms in {clock}]))
        """
    )
    assert isinstance(ids, list)
    assert all(map(str.__lt__, ids, ids[1:]))
    latest = 0
    for ms, text in zip(clock, ids, strict=True):
        latest = max(latest, ms)
        assert ulid.timestamp_ms(text) == latest


def test_a_clock_before_1970_gives_the_first_millisecond():
    assert run("from relo_ingest._fast import ulid; print(ulid.timestamp_ms(ulid._new_from_clock(-(2**62))))") == 0


def test_ids_end_with_the_48_bits_of_their_time():
    result = run(
        """
        import json
        from relo_ingest._fast import ulid
        last = ulid._new_from_clock(2**48 - 1)
        try:
            ulid._new_from_clock(2**48)
        except OverflowError:
            print(json.dumps([last, ulid._new_from_clock(5)]))
        """
    )
    assert isinstance(result, list)
    assert result[0] < result[1]
    assert result[0].startswith("7ZZZZZZZZZ")


def test_neighbours_of_one_millisecond_lie_a_wide_random_step_apart():
    ids = run(
        """
        import json
        from relo_ingest._fast import ulid
        print(json.dumps([ulid._new_from_clock(1000) for _ in range(4000)]))
        """
    )
    assert isinstance(ids, list)
    numbers = [number_of(text) for text in ids]
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    assert len(set(steps)) == len(steps)
    assert all(1 <= step <= 1 << 48 for step in steps)
    for bit in range(48):  # each bit of a step is set about every other time (4000 tries: 6 sigma is 0.047)
        share = sum((step - 1) >> bit & 1 for step in steps) / len(steps)
        assert 0.44 < share < 0.56, bit


def test_every_random_bit_is_set_half_of_the_time():
    numbers = [number_of(ulid.new_at(0)) for _ in range(20_000)]
    for bit in range(RANDOM_BITS):
        share = sum(number >> bit & 1 for number in numbers) / len(numbers)
        assert 0.475 < share < 0.525, bit  # 7 sigma
    assert all(number >> RANDOM_BITS == 0 for number in numbers)


@given(st.integers(0, 2**48 - 1))
def test_new_at_keeps_the_given_time(ms):
    text = ulid.new_at(ms)
    assert ulid.timestamp_ms(text) == ms
    assert ulid.is_valid(text)
    assert ulid.new_at(ms) != text


@pytest.mark.parametrize("ms", [-1, 2**48, -(2**63), 2**63 - 1])
def test_new_at_refuses_a_time_outside_48_bits(ms):
    with pytest.raises(ValueError, match="outside"):
        ulid.new_at(ms)


def test_new_at_does_not_disturb_the_order_of_new():
    before = ulid.new()
    ulid.new_at(2**48 - 1)
    after = ulid.new()
    assert before < after < ulid.new()
    assert ulid.timestamp_ms(after) < time.time() * 1000 + 5000


@given(st.binary(min_size=16, max_size=16))
def test_bytes_and_text_agree_with_base_32_arithmetic(raw):
    text = ulid.encode(raw)
    assert text == text_of(int.from_bytes(raw, "big"))
    assert ulid.decode(text) == raw
    assert ulid.decode(text.lower()) == raw
    assert ulid.normalize(text.lower()) == text
    assert ulid.is_valid(text)
    assert ulid.is_valid(text.lower())


@given(st.binary(max_size=40).filter(lambda raw: len(raw) != 16))
def test_only_16_bytes_make_an_id(raw):
    with pytest.raises(ValueError, match="16 bytes"):
        ulid.encode(raw)


GOOD = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.mark.parametrize("position", range(26))
def test_no_foreign_character_is_accepted_anywhere(position):
    accepted = set(ALPHABET + ALPHABET.lower()) if position else set("01234567")
    for code in [*range(0x180), 0xFF10, 0xFF21, 0x1D7CE, 0xD800]:
        text = GOOD[:position] + chr(code) + GOOD[position + 1 :]
        assert ulid.is_valid(text) == (chr(code) in accepted), ascii(chr(code))


BAD = ["", "0", GOOD[:-1], GOOD + "0", GOOD + "\n", " " + GOOD[1:], "8" + GOOD[1:], "Z" * 26, GOOD[:-1] + "U"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_ulid_is_refused_everywhere(text):
    assert not ulid.is_valid(text)
    for function in (ulid.timestamp_ms, ulid.normalize, ulid.decode):
        with pytest.raises(ValueError, match="not a ULID"):
            function(text)


def test_the_error_does_not_repeat_what_was_sent():
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        ulid.timestamp_ms("secret@example.com")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("thing", [None, 5, GOOD.encode(), [GOOD], 1.5])
def test_is_valid_is_false_for_any_other_type(thing):
    assert ulid.is_valid(thing) is False
    with pytest.raises(TypeError):
        ulid.timestamp_ms(thing)


def test_the_largest_id_is_valid():
    assert ulid.timestamp_ms("7ZZZZZZZZZZZZZZZZZZZZZZZZZ") == 2**48 - 1
