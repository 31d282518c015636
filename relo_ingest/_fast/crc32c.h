/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), for rows of a segment.
 *
 * Two implementations with the same results: the SSE4.2 instruction where the CPU has it, and
 * slicing-by-8 tables elsewhere. The choice is made at run time, because a wheel built on one machine
 * runs on others. Every unit that includes this file calls relo_crc32c_init() when it is imported
 * (under the import lock), before any other call.
 */
#ifndef RELO_CRC32C_H
#define RELO_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "relo_ingest writes little-endian files and rows by plain stores: a little-endian machine is needed"
#endif

#define RELO_CRC32C_POLYNOMIAL 0x82F63B78u /* 0x1EDC6F41, bits reversed */

static uint32_t relo_crc32c_table[8][256];
static int relo_crc32c_has_instruction;

static void relo_crc32c_init(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) ? RELO_CRC32C_POLYNOMIAL : 0);
        relo_crc32c_table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t before = relo_crc32c_table[slice - 1][byte];
            relo_crc32c_table[slice][byte] = (before >> 8) ^ relo_crc32c_table[0][before & 0xff];
        }
#if defined(__x86_64__)
    __builtin_cpu_init();
    relo_crc32c_has_instruction = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

static inline uint32_t relo_crc32c_portable(uint32_t seed, const void *data, size_t size) {
    const unsigned char *p = (const unsigned char *)data;
    uint32_t crc = ~seed;
    while (size >= 8) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= crc;
        crc = relo_crc32c_table[7][low & 0xff] ^ relo_crc32c_table[6][(low >> 8) & 0xff]
            ^ relo_crc32c_table[5][(low >> 16) & 0xff] ^ relo_crc32c_table[4][low >> 24]
            ^ relo_crc32c_table[3][high & 0xff] ^ relo_crc32c_table[2][(high >> 8) & 0xff]
            ^ relo_crc32c_table[1][(high >> 16) & 0xff] ^ relo_crc32c_table[0][high >> 24];
        p += 8;
        size -= 8;
    }
    while (size--)
        crc = (crc >> 8) ^ relo_crc32c_table[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t relo_crc32c_sse42(uint32_t seed, const void *data, size_t size) {
    const unsigned char *p = (const unsigned char *)data;
    uint64_t crc = (uint32_t)~seed;
    while (size >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = __builtin_ia32_crc32di(crc, word);
        p += 8;
        size -= 8;
    }
    while (size--)
        crc = __builtin_ia32_crc32qi((uint32_t)crc, *p++);
    return ~(uint32_t)crc;
}
#endif

/* The CRC-32C of `size` bytes. `seed` is the CRC of the bytes before them (0 for none), so that
 * crc(crc(0, a), b) == crc(0, ab). */
static inline uint32_t relo_crc32c(uint32_t seed, const void *data, size_t size) {
#if defined(__x86_64__)
    if (relo_crc32c_has_instruction)
        return relo_crc32c_sse42(seed, data, size);
#endif
    return relo_crc32c_portable(seed, data, size);
}

#endif
