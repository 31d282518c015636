"""Events as RowBinary rows, written straight into the open segment. See rowbinary.pyi for the rules.

The columns of relo_ingest.events are turned into a plan when this is imported: for each field its offset in
the Struct (from its member descriptor: a read is one load instead of an attribute lookup), how to write it,
and its bound. A row is one pass over the plan, each write checked against the end of the segment.

Marks (what was cut, replaced, clamped) belong in `properties`, the last thing one can know. So a row is
written as if there were none, which is nearly always true; if one arose, it is written again with the marks
spliced into the text of `properties`. Nothing is committed before that.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from relo_ingest._fast.segment cimport Segment

from msgspec import Raw as _Raw
from msgspec import json as _json

from relo_ingest.events import COLUMNS, Event


cdef extern from *:
    """
    #include <structmember.h>
    #ifndef Py_T_OBJECT_EX
    #define Py_T_OBJECT_EX T_OBJECT_EX
    #endif
    /* The offset of a field with a __slots__ descriptor, or -1 if it is none that a plain load can read. */
    static Py_ssize_t relo_slot_offset(PyObject *descriptor) {
        PyMemberDef *member;
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) return -1;
        member = ((PyMemberDescrObject *)descriptor)->d_member;
        return member->type == Py_T_OBJECT_EX ? member->offset : -1;
    }
    """
    Py_ssize_t relo_slot_offset(object descriptor)

cdef extern from "Python.h" nogil:  # macros and reads of one object, whose reference the caller holds
    bint PyUnicode_Check(PyObject *o)
    bint PyUnicode_IS_COMPACT_ASCII(PyObject *o)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *o)
    int PyUnicode_KIND(PyObject *o)
    void *PyUnicode_DATA(PyObject *o)
    uint32_t PyUnicode_READ(int kind, void *data, Py_ssize_t index)
    bint PyLong_Check(PyObject *o)
    bint PyBool_Check(PyObject *o)
    bint PyBytes_Check(PyObject *o)
    bint PyTuple_Check(PyObject *o)
    bint PyList_Check(PyObject *o)
    Py_ssize_t PySequence_Fast_GET_SIZE(PyObject *o)
    PyObject **PySequence_Fast_ITEMS(PyObject *o)
    PyObject *Py_True
    PyObject *Py_False
    ctypedef struct PyTypeObject:
        pass
    PyTypeObject *Py_TYPE(PyObject *o)
    bint PyObject_TypeCheck(PyObject *o, PyTypeObject *kind)

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(PyObject *o, int *overflow) except? -1


cdef enum Kind:
    TEXT
    U32
    BOOL
    MS
    DECIMAL4
    TEXTS
    JSON

cdef enum Mark:
    CUT = 1
    REPLACED = 2
    CLAMPED = 4

cdef enum Outcome:
    FULL = 0  # no room: what was written is void
    WRITTEN = 1
    MARKED = 2  # written, and something had to be marked

cdef enum:
    MOST_COLUMNS = 64
    # Asked for before every length: a row that ends so near to the segment's end takes the way of a full one,
    # where its length is known to the byte.
    LONGEST_VARINT = 10
    FIRST_GUESS = 4096

cdef struct Step:
    Kind kind
    Py_ssize_t offset
    Py_ssize_t max_bytes

# DateTime64(3) holds 1900-01-01 00:00:00.000 .. 2299-12-31 23:59:59.999.
cdef int64_t FIRST_MS = -2_208_988_800_000
cdef int64_t LAST_MS = 10_413_791_999_999
cdef int64_t LARGEST_DECIMAL = 999_999_999_999_999_999

cdef Step _plan[MOST_COLUMNS]
cdef int _columns = 0
cdef Py_ssize_t _properties_offset = 0
cdef tuple _names = tuple(column.name for column in COLUMNS)
cdef object _event_class = Event  # owns what the next line borrows
cdef PyTypeObject *_event_type = <PyTypeObject *>_event_class

MARKS_KEY = "_relo_marks"
cdef bytes _MARKS_KEY = MARKS_KEY.encode("ascii")


class RowTooLarge(ValueError):
    pass


def _make_plan():
    global _columns, _properties_offset
    kinds = {
        "text": TEXT, "u32": U32, "bool": BOOL, "ms": MS, "decimal4": DECIMAL4, "texts": TEXTS, "json": JSON,
    }
    if len(COLUMNS) > MOST_COLUMNS:
        raise ImportError(f"rowbinary has room for {MOST_COLUMNS} columns")
    if [column.name for column in COLUMNS if column.kind == "json"] != ["properties"]:
        raise ImportError("rowbinary puts its marks into the one json column, properties")
    for i, column in enumerate(COLUMNS):
        offset = relo_slot_offset(getattr(Event, column.name))
        if offset < 0:
            raise ImportError(f"Event.{column.name} is no slot")
        _plan[i].kind = kinds[column.kind]
        _plan[i].offset = offset
        _plan[i].max_bytes = column.max_bytes
        if column.kind == "json":
            _properties_offset = offset
    _columns = len(COLUMNS)


cdef inline unsigned char *_write_varint(unsigned char *p, uint64_t value) noexcept nogil:
    while value >= 0x80:
        p[0] = <unsigned char>(value | 0x80)
        value >>= 7
        p += 1
    p[0] = <unsigned char>value
    return p + 1


cdef unsigned char *_write_wide(
    unsigned char *p, unsigned char *end, PyObject *text, Py_ssize_t max_bytes, uint8_t *marks
) noexcept nogil:
    # A text that is not ASCII, as UTF-8. PyUnicode_AsUTF8AndSize would leave a copy in the object, and it
    # refuses surrogates.
    cdef int kind = PyUnicode_KIND(text)
    cdef void *data = PyUnicode_DATA(text)
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(text)
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t width
    cdef Py_ssize_t kept = 0
    cdef uint32_t c  # not Py_UCS4, whose arithmetic Cython does on str
    cdef Py_ssize_t i
    while kept < length:
        c = PyUnicode_READ(kind, data, kept)
        width = 1 if c < 0x80 else 2 if c < 0x800 else 3 if c < 0x10000 else 4
        if size + width > max_bytes:
            marks[0] |= CUT
            break
        size += width
        kept += 1
    if end - p < size + LONGEST_VARINT:
        return NULL
    p = _write_varint(p, <uint64_t>size)
    for i in range(kept):
        c = PyUnicode_READ(kind, data, i)
        if c < 0x80:
            p[0] = <unsigned char>c
            p += 1
        elif c < 0x800:
            p[0] = <unsigned char>(0xC0 | (c >> 6))
            p[1] = <unsigned char>(0x80 | (c & 0x3F))
            p += 2
        elif c < 0x10000:
            if 0xD800 <= c <= 0xDFFF:  # a lone surrogate has no UTF-8
                c = 0xFFFD
                marks[0] |= REPLACED
            p[0] = <unsigned char>(0xE0 | (c >> 12))
            p[1] = <unsigned char>(0x80 | ((c >> 6) & 0x3F))
            p[2] = <unsigned char>(0x80 | (c & 0x3F))
            p += 3
        else:
            p[0] = <unsigned char>(0xF0 | (c >> 18))
            p[1] = <unsigned char>(0x80 | ((c >> 12) & 0x3F))
            p[2] = <unsigned char>(0x80 | ((c >> 6) & 0x3F))
            p[3] = <unsigned char>(0x80 | (c & 0x3F))
            p += 4
    return p


cdef inline unsigned char *_write_text(
    unsigned char *p, unsigned char *end, PyObject *text, Py_ssize_t max_bytes, uint8_t *marks
) noexcept nogil:
    # NULL when there is no room. `text` is a str.
    cdef Py_ssize_t size
    if not PyUnicode_IS_COMPACT_ASCII(text):
        return _write_wide(p, end, text, max_bytes, marks)
    size = PyUnicode_GET_LENGTH(text)
    if size > max_bytes:
        size = max_bytes
        marks[0] |= CUT
    if end - p < size + LONGEST_VARINT:
        return NULL
    p = _write_varint(p, <uint64_t>size)
    memcpy(p, PyUnicode_DATA(text), size)
    return p + size


cdef int _wrong_type(int i, str wanted, PyObject *value) except -1:
    # The value itself is not repeated: it may be a visitor's.
    raise TypeError(f"{_names[i]}: {wanted} is needed, not {type(<object>value).__name__}")


cdef inline bint _is_space(char c) noexcept nogil:
    return c == c" " or c == c"\t" or c == c"\n" or c == c"\r"


cdef Outcome _write_row(
    PyObject *event, unsigned char *start, unsigned char *end, bytes properties, uint8_t *marks, size_t *size
) except? FULL:
    # Writes the row between start and end. `properties`, if given, stands in for the event's own.
    cdef unsigned char *p = start
    cdef PyObject *value
    cdef PyObject **items
    cdef Step *step
    cdef int64_t number
    cdef uint32_t u32
    cdef int overflow
    cdef Py_ssize_t count
    cdef Py_ssize_t n
    cdef const char *text
    cdef int i
    for i in range(_columns):
        step = &_plan[i]
        value = (<PyObject **>(<char *>event + step.offset))[0]
        if value == NULL:
            raise AttributeError(f"{_names[i]}: not set")
        if step.kind == TEXT:
            if not PyUnicode_Check(value):
                _wrong_type(i, "str", value)
            p = _write_text(p, end, value, step.max_bytes, &marks[i])
            if p == NULL:
                return FULL
        elif step.kind == BOOL:
            if value != Py_True and value != Py_False:
                _wrong_type(i, "bool", value)
            if end - p < 1:
                return FULL
            p[0] = value == Py_True
            p += 1
        elif step.kind == TEXTS:
            if not PyTuple_Check(value) and not PyList_Check(value):
                _wrong_type(i, "a tuple of str", value)
            count = PySequence_Fast_GET_SIZE(value)
            items = PySequence_Fast_ITEMS(value)
            if end - p < LONGEST_VARINT:
                return FULL
            p = _write_varint(p, <uint64_t>count)
            for n in range(count):
                if not PyUnicode_Check(items[n]):
                    _wrong_type(i, "a tuple of str", items[n])
                p = _write_text(p, end, items[n], step.max_bytes, &marks[i])
                if p == NULL:
                    return FULL
        elif step.kind == JSON:
            if not PyBytes_Check(value):
                _wrong_type(i, "bytes", value)
            if properties is not None:
                value = <PyObject *>properties
            text = PyBytes_AS_STRING(<object>value)
            count = PyBytes_GET_SIZE(<object>value)
            if count < 2 or text[0] != c"{" or text[count - 1] != c"}":
                while count and _is_space(text[0]):
                    text += 1
                    count -= 1
                while count and _is_space(text[count - 1]):
                    count -= 1
                if count < 2 or text[0] != c"{" or text[count - 1] != c"}":
                    raise ValueError(f"{_names[i]}: not the text of a JSON object")
            if end - p < count + LONGEST_VARINT:
                return FULL
            p = _write_varint(p, <uint64_t>count)
            memcpy(p, text, count)
            p += count
        else:
            if not PyLong_Check(value) or PyBool_Check(value):
                _wrong_type(i, "int", value)
            number = PyLong_AsLongLongAndOverflow(value, &overflow)
            if step.kind == U32:
                if overflow or not 0 <= number <= 0xFFFFFFFF:
                    raise OverflowError(f"{_names[i]}: outside 0 .. 2**32-1")
                if end - p < 4:
                    return FULL
                u32 = <uint32_t>number
                memcpy(p, &u32, 4)
                p += 4
                continue
            if step.kind == MS:
                if overflow < 0 or (not overflow and number < FIRST_MS):
                    number = FIRST_MS
                    marks[i] |= CLAMPED
                elif overflow > 0 or number > LAST_MS:
                    number = LAST_MS
                    marks[i] |= CLAMPED
            elif overflow or not -LARGEST_DECIMAL <= number <= LARGEST_DECIMAL:
                raise OverflowError(f"{_names[i]}: outside Decimal(18, 4)")
            if end - p < 8:
                return FULL
            memcpy(p, &number, 8)
            p += 8
    size[0] = <size_t>(p - start)
    cdef uint8_t seen = 0
    for i in range(_columns):
        seen |= marks[i]
    return MARKED if seen else WRITTEN


cdef inline bytes _inside(bytes text):
    # What stands between the braces. (wraparound is off: an index from the end would not do.)
    return text[1:PyBytes_GET_SIZE(text) - 1]


cdef bytes _with_marks(bytes properties, const uint8_t *marks):
    # The text of `properties` with the marks as its first key.
    cdef list words = []
    cdef int i
    for i in range(_columns):
        if marks[i] & CUT:
            words.append(f'"{_names[i]}:cut"')
        if marks[i] & REPLACED:
            words.append(f'"{_names[i]}:replaced"')
        if marks[i] & CLAMPED:
            words.append(f'"{_names[i]}:clamped"')
    cdef bytes splice = f'"{MARKS_KEY}":[{",".join(words)}]'.encode("ascii")
    cdef bytes inner = _inside(properties.strip(b" \t\r\n"))
    if _MARKS_KEY in inner or b"\\u" in inner:
        # Perhaps the key is there already (an escape may hide it). A row with the key twice is refused by
        # ClickHouse: a sender could make bad rows. The rare case of the rare case may parse.
        try:
            fields = _json.decode(properties, type=dict[str, _Raw])
        except ValueError:
            raise ValueError("properties: not the text of a JSON object") from None
        fields.pop(MARKS_KEY, None)
        inner = _inside(_json.encode(fields))
    if not inner.strip(b" \t\r\n"):
        return b"{" + splice + b"}"
    return b"{" + splice + b"," + inner + b"}"


cdef Outcome _write_marked_row(
    PyObject *event, unsigned char *start, unsigned char *end, size_t *size
) except? FULL:
    cdef uint8_t marks[MOST_COLUMNS]
    cdef uint8_t again[MOST_COLUMNS]
    cdef bytes properties
    memset(marks, 0, sizeof(marks))
    memset(again, 0, sizeof(again))
    cdef Outcome outcome = _write_row(event, start, end, None, marks, size)
    if outcome == MARKED:
        properties = <bytes>(<PyObject **>(<char *>event + _properties_offset))[0]
        properties = _with_marks(properties, marks)
        outcome = _write_row(event, start, end, properties, again, size)
    return FULL if outcome == FULL else WRITTEN


cdef inline int _check_event(object event) except -1:
    if not PyObject_TypeCheck(<PyObject *>event, _event_type):
        raise TypeError(f"an Event is needed, not {type(event).__name__}")
    return 0


def encode(object event) -> bytes:
    cdef size_t size = 0
    cdef size_t room = FIRST_GUESS
    cdef unsigned char *buffer
    _check_event(event)
    while True:
        buffer = <unsigned char *>malloc(room)
        if buffer == NULL:
            raise MemoryError
        try:
            if _write_marked_row(<PyObject *>event, buffer, buffer + room, &size) == WRITTEN:
                return PyBytes_FromStringAndSize(<char *>buffer, <Py_ssize_t>size)
        finally:
            free(buffer)
        room *= 2


cdef uint32_t _append_rarely(Segment segment, object event) except? 0:
    # No room, or marks. Everything Python is done on a copy outside, then the row is taken over in one go.
    cdef bytes row = encode(event)
    if <size_t>PyBytes_GET_SIZE(row) > segment._capacity:
        raise RowTooLarge(f"a row of {len(row)} bytes fits no segment of {segment._capacity}")
    return segment._rows if segment.append_raw(row) else 0


def append(Segment segment not None, object event) -> int:
    cdef uint8_t marks[MOST_COLUMNS]
    cdef size_t size = 0
    cdef unsigned char *tail
    _check_event(event)
    segment.check_writable()
    memset(marks, 0, sizeof(marks))
    tail = segment.tail()
    if _write_row(<PyObject *>event, tail, tail + segment.room(), None, marks, &size) != WRITTEN:
        return _append_rarely(segment, event)
    segment.commit(size)
    return segment._rows


_make_plan()
