from libc.stdint cimport uint32_t


cdef extern from "crc32c.h" nogil:
    void relo_crc32c_init() noexcept
    uint32_t relo_crc32c(uint32_t seed, const void *data, size_t size) noexcept
    uint32_t relo_crc32c_portable(uint32_t seed, const void *data, size_t size) noexcept
