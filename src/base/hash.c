/* Checksums: see the header. */
#include "base/hash.h"

#include "base/bytes.h"

#include <isa-l/crc64.h>

uint64_t crc64(uint64_t crc, const void *bytes, size_t n) {
    return crc64_iso_refl(crc, bytes, n);
}

static uint64_t mix64(uint64_t h) {
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 33);
}

uint64_t page_sum(uint32_t pgno, const void *page, size_t page_size) {
    uint8_t number[4];
    put_u32be(number, pgno);
    return mix64(crc64(crc64(0, number, sizeof number), page, page_size));
}
