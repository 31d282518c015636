"""ULIDs (https://github.com/ulid/spec): 48 bits of milliseconds and 80 random bits, 26 characters.

See ulid.pyi for what is promised. How it is kept:

* Random bits are the kernel's: a block of getrandom(2), handed out once and wiped behind the reader. There is
  no generator of our own whose state could be guessed, and nothing to reseed but the block.
* Within one millisecond (or while the clock stands still or runs behind) the random part grows by a step of
  1 .. 2**48, so that ids ascend, and the next one is one of 2**48 whatever the previous was. A wider step
  would use up the 80 bits sooner: this one leaves room for some 2**32 ids while a clock stands still.
* A random part that would overflow moves on to the next millisecond with 80 fresh bits.
* The child of a fork throws the block away and starts in a later millisecond. pthread_atfork rather than
  os.register_at_fork: it also sees a fork() made by C or Rust code that does not ask Python.

Everything runs under the GIL, which is never released here: that is the lock of the state below.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec


cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t length, Py_UCS4 widest)
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    unsigned char *PyUnicode_1BYTE_DATA(object text)
    object PyErr_SetFromErrno(object kind)

cdef extern from "sys/random.h" nogil:
    Py_ssize_t getrandom(void *buffer, size_t size, unsigned int flags)

cdef extern from "pthread.h" nogil:
    int pthread_atfork(void (*prepare)() noexcept, void (*parent)() noexcept, void (*child)() noexcept)


cdef enum:
    LENGTH = 26
    STEP_BYTES = 6
    # 400 to 700 ids per system call; 4 KiB take the kernel about 8 microseconds.
    BLOCK = 4096
    INVALID = 0xFF

cdef uint64_t LAST_MS = (<uint64_t>1 << 48) - 1

# The bits of one id. `high16` are the upper 16 of the 80 random bits, `low64` the lower 64.
cdef struct Bits:
    uint64_t ms
    uint64_t high16
    uint64_t low64

cdef uint8_t _block[BLOCK + 8]
cdef size_t _taken = BLOCK
cdef Bits _last
cdef uint16_t _pairs[1024]  # ten bits -> two characters, in memory order
cdef uint8_t _values[256]  # a character -> five bits, or INVALID


cdef void _prepare_tables() noexcept:
    cdef const unsigned char *alphabet = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    cdef int i
    for i in range(1024):
        _pairs[i] = <uint16_t>(alphabet[i >> 5] | (<int>alphabet[i & 31] << 8))
    memset(_values, INVALID, sizeof(_values))
    for i in range(32):
        _values[alphabet[i]] = <uint8_t>i
        if alphabet[i] >= 65:
            _values[alphabet[i] + 32] = <uint8_t>i


cdef void _after_fork_in_child() noexcept nogil:
    # The parent hands out the rest of the block, and goes on from the same last id: use neither.
    global _taken
    memset(_block, 0, sizeof(_block))
    _taken = BLOCK
    _last.high16 = 0xFFFF
    _last.low64 = ~<uint64_t>0  # any step overflows: the next id has a later millisecond and fresh bits


cdef int _refill() except -1:
    global _taken
    cdef size_t filled = 0
    cdef Py_ssize_t n
    while filled < BLOCK:
        n = getrandom(_block + filled, BLOCK - filled, 0)
        if n < 0:
            if errno == EINTR:
                continue  # Python's handlers run later: one that makes ids must not find half a block
            PyErr_SetFromErrno(OSError)
        filled += <size_t>n
    _taken = 0
    return 0


cdef inline uint64_t _draw(size_t size) except? 0:
    # `size` fresh random bytes (1 .. 8) as a number. Wiped where they were: a later look into this memory
    # does not tell ids already given.
    global _taken
    cdef uint64_t word
    if _taken + size > BLOCK:
        _refill()
    memcpy(&word, _block + _taken, 8)  # the block is 8 bytes longer than what is handed out
    memset(_block + _taken, 0, size)
    _taken += size
    return word & (~<uint64_t>0 >> (64 - 8 * size))


cdef inline str _text(Bits bits):
    # 130 bits for 26 characters: the first carries two zero bits before the timestamp.
    cdef object result = PyUnicode_New(LENGTH, 127)
    cdef unsigned char *text = PyUnicode_1BYTE_DATA(result)
    cdef uint64_t ms = bits.ms
    cdef uint64_t upper = (bits.high16 << 24) | (bits.low64 >> 40)
    cdef uint64_t lower = bits.low64  # of which 40 bits are shifted out below
    cdef int i
    for i in range(5):
        memcpy(text + 2 * i, &_pairs[(ms >> (40 - 10 * i)) & 1023], 2)
    for i in range(4):
        memcpy(text + 10 + 2 * i, &_pairs[(upper >> (30 - 10 * i)) & 1023], 2)
    for i in range(4):
        memcpy(text + 18 + 2 * i, &_pairs[(lower >> (30 - 10 * i)) & 1023], 2)
    return <str>result


cdef inline bint _read(object text, Bits *bits) noexcept:
    # False when the text is no ULID. Case does not matter; I, L, O and U are not taken for other letters.
    if not isinstance(text, str) or not PyUnicode_IS_ASCII(text):
        return False
    if PyUnicode_GET_LENGTH(text) != LENGTH:
        return False
    cdef const unsigned char *p = PyUnicode_1BYTE_DATA(text)
    cdef uint8_t seen = 0
    cdef uint8_t value
    cdef uint64_t ms = 0
    cdef uint64_t upper = 0
    cdef uint64_t lower = 0
    cdef int i
    for i in range(10):
        value = _values[p[i]]
        seen |= value
        ms = (ms << 5) | value
    for i in range(10, 18):
        value = _values[p[i]]
        seen |= value
        upper = (upper << 5) | value
    for i in range(18, 26):
        value = _values[p[i]]
        seen |= value
        lower = (lower << 5) | value
    if seen > 31 or _values[p[0]] > 7:
        return False
    bits.ms = ms
    bits.high16 = upper >> 24
    bits.low64 = (upper << 40) | lower
    return True


cdef object _invalid():
    # The text is not repeated: it may be anything a stranger sent.
    return ValueError("not a ULID: 26 characters of Crockford base 32 are needed, the first 0 to 7")


cdef str _next(uint64_t clock_ms):
    cdef Bits bits
    cdef uint64_t step
    if clock_ms > _last.ms:
        bits.ms = clock_ms
        bits.low64 = _draw(8)
        bits.high16 = _draw(2)
    else:
        step = _draw(STEP_BYTES) + 1
        bits.ms = _last.ms
        bits.low64 = _last.low64 + step
        bits.high16 = _last.high16 + (bits.low64 < step)
        if bits.high16 > 0xFFFF:
            bits.ms += 1
            bits.low64 = _draw(8)
            bits.high16 = _draw(2)
    if bits.ms > LAST_MS:
        raise OverflowError("the clock is beyond the year 10889: no ULID can tell that time")
    # Field by field: a copy of the whole would wait for the stores above.
    _last.ms = bits.ms
    _last.high16 = bits.high16
    _last.low64 = bits.low64
    return _text(bits)


def new() -> str:
    cdef timespec now
    if clock_gettime(CLOCK_REALTIME, &now) != 0:
        PyErr_SetFromErrno(OSError)
    if now.tv_sec < 0:  # a clock before 1970
        return _next(0)
    return _next(<uint64_t>now.tv_sec * 1000 + <uint64_t>now.tv_nsec // 1_000_000)


def _new_from_clock(int64_t ms) -> str:
    # new(), told the time: for tests of clocks that stand still or step.
    return _next(<uint64_t>ms if ms > 0 else 0)


def new_at(int64_t ms) -> str:
    cdef Bits bits
    if ms < 0 or <uint64_t>ms > LAST_MS:
        raise ValueError("ms is outside 0 .. 2**48-1")
    bits.ms = <uint64_t>ms
    bits.low64 = _draw(8)
    bits.high16 = _draw(2)
    return _text(bits)


def timestamp_ms(str ulid not None) -> int:
    cdef Bits bits
    if not _read(ulid, &bits):
        raise _invalid()
    return bits.ms


def is_valid(object text) -> bool:
    cdef Bits bits
    return _read(text, &bits)


def normalize(str text not None) -> str:
    cdef Bits bits
    if not _read(text, &bits):
        raise _invalid()
    return _text(bits)


def encode(bytes b not None) -> str:
    cdef Bits bits
    cdef const unsigned char *p = <const unsigned char *>PyBytes_AS_STRING(b)
    cdef int i
    if PyBytes_GET_SIZE(b) != 16:
        raise ValueError("a ULID has 16 bytes")
    bits.ms = bits.high16 = bits.low64 = 0
    for i in range(6):
        bits.ms = (bits.ms << 8) | p[i]
    for i in range(6, 8):
        bits.high16 = (bits.high16 << 8) | p[i]
    for i in range(8, 16):
        bits.low64 = (bits.low64 << 8) | p[i]
    return _text(bits)


def decode(str s not None) -> bytes:
    cdef Bits bits
    cdef unsigned char raw[16]
    cdef int i
    if not _read(s, &bits):
        raise _invalid()
    for i in range(6):
        raw[i] = <unsigned char>(bits.ms >> (40 - 8 * i))
    for i in range(2):
        raw[6 + i] = <unsigned char>(bits.high16 >> (8 - 8 * i))
    for i in range(8):
        raw[8 + i] = <unsigned char>(bits.low64 >> (56 - 8 * i))
    return PyBytes_FromStringAndSize(<char *>raw, 16)


_prepare_tables()
memset(&_last, 0, sizeof(Bits))
if pthread_atfork(NULL, NULL, _after_fork_in_child) != 0:
    raise MemoryError
