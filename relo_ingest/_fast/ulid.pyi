"""ULIDs (https://github.com/ulid/spec): 48 bits of Unix milliseconds and 80 random bits, as 26 characters.

Texts are Crockford base 32, upper-case when made here. What is read may be lower-case (foreign ids), and is
strict otherwise: 26 ASCII characters, no I, L, O, U, first character at most 7.
"""

def new() -> str:
    """A new id, larger than every id this process made before with ``new``.

    *Order.* Ids ascend within a process, over all threads. A clock that stands still or steps back keeps the
    last millisecond; one that jumps ahead and returns leaves ids at the later time until the clock is there.
    Otherwise the timestamp is the clock's (of the ids that share a millisecond, about one in 2**33 is moved
    to the next for want of room).

    *Unguessable.* The first id of a millisecond has 80 bits of getrandom(2). Each further one of the same
    millisecond lies 1 .. 2**48 above the one before, evenly: who holds one id has a chance of 2**-48 per try
    at its neighbour, and none to tell ids of other milliseconds or processes.

    *Unique.* Within a process always; across processes, machines and forks by the 80 random bits.

    OSError if the kernel gives no random bytes; OverflowError after the year 10889.
    """

def new_at(ms: int) -> str:
    """An id with the given Unix milliseconds and 80 fresh random bits; not ordered among its equals.

    ValueError outside 0 .. 2**48-1.
    """

def timestamp_ms(ulid: str) -> int:
    """Unix milliseconds of an id. ValueError if it is not one."""

def is_valid(text: object) -> bool:
    """True for the text of a ULID in either case; False for anything else, of any type."""

def normalize(text: str) -> str:
    """The id in upper case. ValueError if it is not one."""

def encode(b: bytes) -> str:
    """16 bytes, most significant first, as 26 characters. ValueError for another length."""

def decode(s: str) -> bytes:
    """The 16 bytes of an id, most significant first. ValueError if it is not one."""

def _new_from_clock(ms: int) -> str:
    """``new`` as if the clock read ``ms``: for tests of clocks that stand still or step."""
