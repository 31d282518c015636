"""The memory-mapped batch: one file that is batch, crash journal, retry unit and insert body.

The file, little-endian throughout:

    0             magic "RELOSEG1"
    8   u32       format version (1)
    12  u32       header_bytes: length of the header, a multiple of 4096
    16  u32       schema_version
    20  u32       max_rows
    24  u64       capacity: most bytes of rows
    32  i64       created_ms
    40  u16, u16  lengths of segment id and lane
    44  u32       length of the column list
    48  u32       CRC-32C of bytes 0..47 and of the texts
    64  u64       committed counter: rows in the lower half, its complement in the upper
    128           segment id, lane, column list (UTF-8), zeros up to header_bytes
    header_bytes  index: max_rows entries of {u32 end offset in the body, u32 CRC-32C of the row}
    body          the rows in RowBinary, end to end; starts at the next multiple of 4096

A row is committed by three stores in this order: its bytes, its index entry, the counter (with release).
A killed process leaves all or none of them in the page cache in that order; a power failure may leave any
subset on disk. Recovery therefore believes nothing but checksums: it takes the longest prefix of rows whose
index entries ascend and whose bytes have the sum they should have. The counter only says how many rows are
missing. Sums are seeded with the header's, so that an entry of another file never fits; an entry of zeros is
an empty row, which does not exist.

Why no access can raise SIGBUS: the writer's file is preallocated before it is mapped, and shrinks only behind
the last committed byte, after which that part of the mapping is given back. Recovery maps nothing: it reads
the file into memory, so that a file that is cut or fails while it is read gives a short read or an OSError,
and what was checked is what is sent.

One thread appends, under the GIL. sync() may run beside it. After fork() only one side may append.
"""

import os

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, EINVAL, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy
from posix.fcntl cimport O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NONBLOCK, O_RDONLY, O_RDWR, open
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, mprotect, munmap
from posix.stat cimport S_ISREG, fstat, struct_stat
from posix.types cimport off_t
from posix.unistd cimport close, fdatasync, fsync, ftruncate, unlink

from relo_ingest._fast.digest cimport relo_crc32c, relo_crc32c_init


cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    object PyMemoryView_FromObject(object exporter)

cdef extern from "fcntl.h" nogil:
    int posix_fallocate(int fd, off_t offset, off_t size)
    int fallocate(int fd, int mode, off_t offset, off_t size)
    enum:
        FALLOC_FL_PUNCH_HOLE
        FALLOC_FL_KEEP_SIZE

cdef extern from "unistd.h" nogil:
    Py_ssize_t pread(int fd, void *buffer, size_t size, off_t offset)

cdef extern from *:
    """
    static inline void relo_store_release(uint64_t *p, uint64_t value) {
        __atomic_store_n(p, value, __ATOMIC_RELEASE);
    }
    """
    void relo_store_release(uint64_t *p, uint64_t value) noexcept nogil


cdef enum:
    FORMAT_VERSION = 1
    PAGE = 4096
    COUNTER_OFFSET = 64
    TEXTS_OFFSET = 128
    # Enough for thousands of columns; keeps a damaged length from asking for much memory.
    LONGEST_HEADER = 1 << 20

cdef packed struct Header:
    char magic[8]
    uint32_t format_version
    uint32_t header_bytes
    uint32_t schema_version
    uint32_t max_rows
    uint64_t capacity
    int64_t created_ms
    uint16_t id_size
    uint16_t lane_size
    uint32_t columns_size
    uint32_t crc

cdef const char *_MAGIC = b"RELOSEG1"
cdef size_t _SUMMED = 48  # bytes of Header before its crc

relo_crc32c_init()


cdef int _sync_file(int fd, const char *directory) noexcept nogil:
    # 0 or an errno. The directory (if given) is synced after the file: a name never leads to unsynced rows.
    cdef int code = 0
    if fdatasync(fd) != 0:
        return errno
    if directory == NULL:
        return 0
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if fd < 0:
        return errno
    if fsync(fd) != 0:
        code = errno
    close(fd)
    # Some file systems cannot sync a directory, and say so with EINVAL: nothing more can be done there.
    return 0 if code == EINVAL else code


class SegmentDamaged(ValueError):
    pass


cdef inline uint64_t _whole_pages(uint64_t size) noexcept nogil:
    return (size + PAGE - 1) & ~<uint64_t>(PAGE - 1)


cdef inline uint64_t _counter_of(uint32_t rows) noexcept nogil:
    return (<uint64_t>~rows << 32) | rows


cdef inline IndexEntry _entry(uint32_t end, uint32_t crc) noexcept nogil:
    return (<uint64_t>crc << 32) | end


cdef inline uint32_t _end_of(IndexEntry entry) noexcept nogil:
    return <uint32_t>entry


cdef inline uint32_t _crc_of(IndexEntry entry) noexcept nogil:
    return <uint32_t>(entry >> 32)


cdef uint32_t _header_sum(const unsigned char *header, size_t texts_size) noexcept nogil:
    return relo_crc32c(relo_crc32c(0, header, _SUMMED), header + TEXTS_OFFSET, texts_size)


cdef object _os_error(int code, str path):
    return OSError(code, os.strerror(code), path)


cdef Py_ssize_t _read_at(int fd, void *target, size_t size, uint64_t offset) except -1:
    # Up to `size` bytes; fewer only where the file ends.
    cdef size_t filled = 0
    cdef Py_ssize_t n
    cdef int code
    while filled < size:
        with nogil:
            n = pread(fd, <char *>target + filled, size - filled, <off_t>(offset + filled))
            code = errno
        if n == 0:
            break
        if n < 0:
            if code == EINTR:
                PyErr_CheckSignals()
                continue
            raise OSError(code, os.strerror(code))
        filled += <size_t>n
    return <Py_ssize_t>filled


cdef class Segment:
    def __cinit__(self):
        self._fd = -1
        self._closed = True

    def __init__(self):
        raise TypeError("use Segment.create or Segment.recover")

    def __dealloc__(self):
        self._release()

    @staticmethod
    def create(
        path,
        *,
        str segment_id not None,
        str lane not None,
        uint32_t schema_version,
        str columns not None,
        int64_t capacity,
        int64_t max_rows,
        int64_t created_ms,
    ) -> Segment:
        cdef Segment self = Segment.__new__(Segment)
        cdef bytes id_text = segment_id.encode("utf-8")
        cdef bytes lane_text = lane.encode("utf-8")
        cdef bytes columns_text = columns.encode("utf-8")
        cdef bytes texts = id_text + lane_text + columns_text
        cdef Header header
        cdef int fd
        cdef int code
        cdef unsigned char *mapping
        cdef const char *c_path
        if not 0 < capacity <= 0xFFFFFFFF:
            raise ValueError("capacity is outside 1 .. 2**32-1 bytes")
        if not 0 < max_rows <= 0x7FFFFFFF:
            raise ValueError("max_rows is outside 1 .. 2**31-1")
        if len(id_text) > 0xFFFF or len(lane_text) > 0xFFFF:
            raise ValueError("segment_id or lane is longer than 65535 bytes")
        cdef uint64_t header_bytes = _whole_pages(TEXTS_OFFSET + <uint64_t>PyBytes_GET_SIZE(texts))
        if header_bytes > LONGEST_HEADER:
            raise ValueError("the column list is too long for a segment's header")
        cdef uint64_t body_offset = _whole_pages(header_bytes + <uint64_t>max_rows * sizeof(IndexEntry))
        cdef uint64_t file_bytes = body_offset + <uint64_t>capacity

        self._path_bytes = os.fsencode(path)
        self.path = os.fsdecode(self._path_bytes)
        if b"\0" in self._path_bytes:
            raise ValueError("the path contains a NUL")
        c_path = PyBytes_AS_STRING(self._path_bytes)
        with nogil:
            # 0600: rows hold what visitors did.
            fd = open(c_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            code = errno
        if fd < 0:
            raise _os_error(code, self.path)
        self._fd = fd
        self._closed = False
        try:
            while True:
                with nogil:
                    code = posix_fallocate(fd, 0, <off_t>file_bytes)
                if code != EINTR:
                    break
                PyErr_CheckSignals()
            if code != 0:
                raise _os_error(code, self.path)
            mapping = <unsigned char *>mmap(
                NULL, <size_t>file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0
            )
            if <void *>mapping == MAP_FAILED:
                raise _os_error(errno, self.path)
        except BaseException:
            # O_EXCL made the file ours.
            unlink(c_path)
            self._closed = True
            self._release()
            raise
        self._map = mapping
        self._map_bytes = <size_t>file_bytes

        memcpy(header.magic, _MAGIC, 8)
        header.format_version = FORMAT_VERSION
        header.header_bytes = <uint32_t>header_bytes
        header.schema_version = schema_version
        header.max_rows = <uint32_t>max_rows
        header.capacity = <uint64_t>capacity
        header.created_ms = created_ms
        header.id_size = <uint16_t>PyBytes_GET_SIZE(id_text)
        header.lane_size = <uint16_t>PyBytes_GET_SIZE(lane_text)
        header.columns_size = <uint32_t>PyBytes_GET_SIZE(columns_text)
        memcpy(mapping + TEXTS_OFFSET, PyBytes_AS_STRING(texts), PyBytes_GET_SIZE(texts))
        memcpy(mapping, &header, _SUMMED)
        header.crc = _header_sum(mapping, PyBytes_GET_SIZE(texts))
        memcpy(mapping, &header, sizeof(Header))

        self._header_bytes = <size_t>header_bytes
        self._index = <IndexEntry *>(mapping + header_bytes)
        self._body = mapping + body_offset
        self._counter = <uint64_t *>(mapping + COUNTER_OFFSET)
        self._seed = header.crc
        self._max_rows = <uint32_t>max_rows
        self._capacity = <uint32_t>capacity
        self._schema_version = schema_version
        self._created_ms = created_ms
        self.segment_id = segment_id
        self.lane = lane
        self.columns = columns
        self._writable = True
        relo_store_release(self._counter, _counter_of(0))
        return self

    @staticmethod
    def recover(path) -> Segment:
        cdef Segment self = Segment.__new__(Segment)
        cdef struct_stat status
        cdef int fd
        cdef int code
        cdef const char *c_path
        self._path_bytes = os.fsencode(path)
        self.path = os.fsdecode(self._path_bytes)
        if b"\0" in self._path_bytes:
            raise ValueError("the path contains a NUL")
        c_path = PyBytes_AS_STRING(self._path_bytes)
        with nogil:
            # O_NONBLOCK: a FIFO of that name does not hold us up.
            fd = open(c_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            code = errno
        if fd < 0:
            raise _os_error(code, self.path)
        self._fd = fd  # closed with self, whatever happens below
        self._closed = False
        if fstat(fd, &status) != 0:
            raise _os_error(errno, self.path)
        if not S_ISREG(status.st_mode):
            raise SegmentDamaged(f"{self.path}: not a file")
        try:
            self._read_header()
            self._read_rows(<uint64_t>status.st_size)
        except OSError as error:
            if error.filename is None:
                error.filename = self.path
            raise
        return self

    cdef int _read_header(self) except -1:
        cdef Header header
        cdef bytes texts
        cdef uint64_t counter
        cdef uint64_t texts_size
        cdef bytes head = PyBytes_FromStringAndSize(NULL, TEXTS_OFFSET)
        cdef unsigned char *p = <unsigned char *>PyBytes_AS_STRING(head)
        if _read_at(self._fd, p, TEXTS_OFFSET, 0) < TEXTS_OFFSET:
            raise SegmentDamaged(f"{self.path}: shorter than a header")
        memcpy(&header, p, sizeof(Header))
        if memcmp(header.magic, _MAGIC, 8) != 0:
            raise SegmentDamaged(f"{self.path}: not a segment")
        texts_size = <uint64_t>header.id_size + header.lane_size + header.columns_size
        if texts_size > LONGEST_HEADER - TEXTS_OFFSET:
            raise SegmentDamaged(f"{self.path}: damaged header")
        texts = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>texts_size)
        if _read_at(self._fd, PyBytes_AS_STRING(texts), texts_size, TEXTS_OFFSET) < <Py_ssize_t>texts_size:
            raise SegmentDamaged(f"{self.path}: shorter than its header")
        if relo_crc32c(relo_crc32c(0, p, _SUMMED), PyBytes_AS_STRING(texts), texts_size) != header.crc:
            raise SegmentDamaged(f"{self.path}: damaged header")
        # From here on the header is what a writer wrote; another version's may still surprise.
        if header.format_version != FORMAT_VERSION:
            raise SegmentDamaged(f"{self.path}: format {header.format_version} is not known here")
        if (
            header.header_bytes != _whole_pages(TEXTS_OFFSET + texts_size)
            or not 0 < header.capacity <= 0xFFFFFFFF
            or not 0 < header.max_rows <= 0x7FFFFFFF
        ):
            raise SegmentDamaged(f"{self.path}: impossible sizes in the header")
        try:
            self.segment_id = texts[:header.id_size].decode("utf-8")
            self.lane = texts[header.id_size:header.id_size + header.lane_size].decode("utf-8")
            self.columns = texts[header.id_size + header.lane_size:].decode("utf-8")
        except UnicodeDecodeError:
            raise SegmentDamaged(f"{self.path}: damaged header") from None
        memcpy(&counter, p + COUNTER_OFFSET, 8)
        self._lost_rows = 0xFFFFFFFF  # no counter
        if counter == _counter_of(<uint32_t>counter) and <uint32_t>counter <= header.max_rows:
            self._lost_rows = <uint32_t>counter
        self._header_bytes = header.header_bytes
        self._seed = header.crc
        self._max_rows = header.max_rows
        self._capacity = <uint32_t>header.capacity
        self._schema_version = header.schema_version
        self._created_ms = header.created_ms
        return 0

    cdef int _read_rows(self, uint64_t file_bytes) except -1:
        cdef uint64_t body_offset = _whole_pages(
            self._header_bytes + <uint64_t>self._max_rows * sizeof(IndexEntry)
        )
        cdef uint64_t entries = 0
        cdef uint64_t readable = 0
        cdef uint64_t body_size
        cdef uint64_t claimed
        cdef uint32_t plausible = 0
        cdef uint32_t begin = 0
        cdef uint32_t end
        cdef uint32_t row = 0
        cdef IndexEntry *index
        cdef unsigned char *body
        if file_bytes > self._header_bytes:
            entries = min(<uint64_t>self._max_rows, (file_bytes - self._header_bytes) // sizeof(IndexEntry))
        index = <IndexEntry *>malloc(<size_t>(entries * sizeof(IndexEntry)) + 1)
        if index == NULL:
            raise MemoryError
        self._heap = <unsigned char *>index
        entries = <uint64_t>_read_at(
            self._fd, index, <size_t>(entries * sizeof(IndexEntry)), self._header_bytes
        ) // sizeof(IndexEntry)

        # Only the part of the body that the index can mean is read: an open segment is mostly empty.
        if file_bytes > body_offset:
            readable = min(<uint64_t>self._capacity, file_bytes - body_offset)
        while plausible < entries and begin < _end_of(index[plausible]) <= readable:
            begin = _end_of(index[plausible])
            plausible += 1
        claimed = entries
        while claimed > plausible and index[claimed - 1] == 0:
            claimed -= 1
        body_size = begin
        # One block for both: the index of the rows there may be, then their bytes.
        self._heap = <unsigned char *>malloc(<size_t>(plausible * sizeof(IndexEntry) + body_size) + 1)
        if self._heap == NULL:
            self._heap = <unsigned char *>index
            raise MemoryError
        memcpy(self._heap, index, plausible * sizeof(IndexEntry))
        free(index)
        index = <IndexEntry *>self._heap
        body = self._heap + plausible * sizeof(IndexEntry)
        body_size = <uint64_t>_read_at(self._fd, body, <size_t>body_size, body_offset)
        begin = 0
        with nogil:
            while row < plausible:
                end = _end_of(index[row])
                if end > body_size:
                    break
                if relo_crc32c(self._seed, body + begin, end - begin) != _crc_of(index[row]):
                    break
                begin = end
                row += 1
        self._index = index
        self._body = body
        self._rows = row
        self._body_bytes = begin
        if self._lost_rows == 0xFFFFFFFF:
            # The counter itself is damaged: whatever stands in the index was once a row.
            self._lost_rows = <uint32_t>claimed
        self._lost_rows = self._lost_rows - row if self._lost_rows > row else 0
        return 0

    # For writers of rows

    cdef int _check_open(self) except -1:
        if self._closed:
            raise ValueError("the segment is closed")
        return 0

    cdef int check_writable(self) except -1:
        if self._closed:
            raise ValueError("the segment is closed")
        if not self._writable:
            raise ValueError("the segment is sealed")
        return 0

    cdef unsigned char *tail(self) noexcept nogil:
        return self._body + self._body_bytes

    cdef size_t room(self) noexcept nogil:
        return self._capacity - self._body_bytes if self._rows < self._max_rows else 0

    cdef void commit(self, size_t size) noexcept nogil:
        cdef uint32_t crc = relo_crc32c(self._seed, self._body + self._body_bytes, size)
        self._body_bytes += <uint32_t>size
        relo_store_release(&self._index[self._rows], _entry(self._body_bytes, crc))
        self._rows += 1
        relo_store_release(self._counter, _counter_of(self._rows))

    def append_raw(self, bytes row not None) -> bool:
        cdef size_t size = <size_t>PyBytes_GET_SIZE(row)
        self.check_writable()
        if size == 0:
            raise ValueError("a row has at least one byte")
        if size > self.room():
            return False
        memcpy(self.tail(), PyBytes_AS_STRING(row), size)
        self.commit(size)
        return True

    # What was written

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        self._check_open()
        PyBuffer_FillInfo(buffer, self, self._body, self._body_bytes, 1, flags)
        self._exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self._exports -= 1
        if self._closed:
            self._release()

    def body(self) -> memoryview:
        return PyMemoryView_FromObject(self)

    def body_range(self, Py_ssize_t first, Py_ssize_t last) -> memoryview:
        self._check_open()
        if not 0 <= first <= last <= self._rows:
            raise IndexError("no such rows")
        cdef uint32_t begin = 0 if first == 0 else _end_of(self._index[first - 1])
        cdef uint32_t end = 0 if last == 0 else _end_of(self._index[last - 1])
        return PyMemoryView_FromObject(self)[begin:end]

    def row(self, Py_ssize_t i) -> bytes:
        self._check_open()
        if not 0 <= i < self._rows:
            raise IndexError("no such row")
        cdef uint32_t begin = 0 if i == 0 else _end_of(self._index[i - 1])
        return PyBytes_FromStringAndSize(<char *>self._body + begin, _end_of(self._index[i]) - begin)

    # Its life

    def sync(self) -> None:
        cdef int fd = self._fd
        cdef int code
        cdef bytes directory
        cdef const char *c_directory = NULL
        self._check_open()
        if not self._directory_synced:
            # A file is safe only when its name is: the first sync of a segment includes its directory.
            directory = os.path.dirname(self._path_bytes) or b"."
            c_directory = PyBytes_AS_STRING(directory)
        self._syncs += 1  # close() leaves us the descriptor
        with nogil:
            code = _sync_file(fd, c_directory)
        self._syncs -= 1
        if self._closed:
            self._release()
        if code != 0:
            raise _os_error(code, self.path)
        self._directory_synced = True

    def seal(self) -> None:
        cdef size_t used
        cdef size_t kept
        cdef size_t index_used
        cdef size_t index_end
        self._check_open()
        if not self._writable:
            return
        self._writable = False
        used = <size_t>(self._body - self._map) + self._body_bytes
        kept = <size_t>_whole_pages(used)
        # The mapping first, the file after it: no mapped page is ever beyond the file's end.
        if kept < self._map_bytes:
            munmap(self._map + kept, self._map_bytes - kept)
            self._map_bytes = kept
        mprotect(self._map, self._map_bytes, PROT_READ)
        # Whole pages of the index that no row used. A file system without holes keeps them: no harm.
        index_used = <size_t>_whole_pages(self._header_bytes + self._rows * sizeof(IndexEntry))
        index_end = <size_t>(self._body - self._map)
        if index_used < index_end:
            fallocate(
                self._fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, <off_t>index_used,
                <off_t>(index_end - index_used),
            )
        while ftruncate(self._fd, <off_t>used) != 0:
            if errno != EINTR:
                raise _os_error(errno, self.path)

    def close(self) -> None:
        self._closed = True
        self._writable = False
        self._release()

    cdef void _release(self) noexcept:
        # What nobody uses any more: the descriptor when no sync() runs, the bytes when no view is left.
        if self._fd >= 0 and self._syncs == 0:
            close(self._fd)
            self._fd = -1
        if self._exports == 0:
            if self._map != NULL:
                munmap(self._map, self._map_bytes)
                self._map = NULL
            free(self._heap)
            self._heap = NULL
            self._index = NULL
            self._body = NULL
            self._counter = NULL

    def fileno(self) -> int:
        self._check_open()
        return self._fd

    def __enter__(self):
        self._check_open()
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        state = "closed" if self._closed else "open" if self._writable else "sealed"
        return f"<Segment {self.segment_id} {self.lane} {self._rows} rows {self._body_bytes} bytes {state}>"

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def lost_rows(self) -> int:
        return self._lost_rows

    @property
    def body_bytes(self) -> int:
        return self._body_bytes

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def max_rows(self) -> int:
        return self._max_rows

    @property
    def schema_version(self) -> int:
        return self._schema_version

    @property
    def created_ms(self) -> int:
        return self._created_ms

    @property
    def sealed(self) -> bool:
        return not self._writable

    @property
    def closed(self) -> bool:
        return self._closed
