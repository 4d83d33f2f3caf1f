/* Checksums.
 *
 * crc64: CRC-64/GO-ISO, the LTX polynomial (docs/format.md 1.4), by isa-l: crc64(0, "", 0) == 0,
 * crc64(0, "123456789", 9) == b90956c775a41001; feed in pieces by passing the last result.
 *
 * page_sum: what one page contributes to the database's sum: mix64(crc64(u32be(pgno) || page)),
 * mix64 being the finaliser of MurmurHash3. The database's sum is the sum modulo 2^64 over all
 * pages but the lock page; 0 means unknown (a sum that happens to be 0 is stored as 1). A sum, and
 * mixed: an XOR of bare CRCs is blind to swapped pages and to a change that is missing twice.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t crc64(uint64_t crc, const void *bytes, size_t n);
uint64_t page_sum(uint32_t pgno, const void *page, size_t page_size);

#endif
