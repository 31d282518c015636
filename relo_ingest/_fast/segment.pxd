from libc.stdint cimport int64_t, uint32_t, uint64_t


# Of the index: in the lower half where the row ends, from the start of the body; in the upper the CRC-32C of
# its bytes, seeded with the header's. An integer, because it has to be written in one store.
ctypedef uint64_t IndexEntry


cdef class Segment:
    cdef unsigned char *_map  # the whole file (writable), or NULL (recovered, or closed)
    cdef size_t _map_bytes
    cdef unsigned char *_heap  # what recover() read: index, then body
    cdef IndexEntry *_index
    cdef unsigned char *_body
    cdef uint64_t *_counter
    cdef uint32_t _seed
    cdef uint32_t _rows
    cdef uint32_t _max_rows
    cdef uint32_t _body_bytes
    cdef uint32_t _capacity
    cdef uint32_t _lost_rows
    cdef uint32_t _schema_version
    cdef int64_t _created_ms
    cdef size_t _header_bytes
    cdef int _fd
    cdef int _syncs  # sync() calls under way, with the GIL released
    cdef Py_ssize_t _exports  # buffers given out and not returned
    cdef bint _writable
    cdef bint _closed
    cdef bint _directory_synced
    cdef readonly str segment_id
    cdef readonly str lane
    cdef readonly str columns
    cdef readonly str path
    cdef bytes _path_bytes

    # For a writer of rows (rowbinary): check_writable(), write at most room() bytes from tail() on, commit
    # what was written. No Python code may run in between.
    cdef int check_writable(self) except -1
    cdef unsigned char *tail(self) noexcept nogil
    cdef size_t room(self) noexcept nogil  # 0 when all rows are taken
    cdef void commit(self, size_t size) noexcept nogil  # 0 < size <= room()

    cdef int _check_open(self) except -1
    cdef int _read_header(self) except -1
    cdef int _read_rows(self, uint64_t file_bytes) except -1
    cdef void _release(self) noexcept
