/* The write-ahead log and the wal-index as bytes.
 *
 * Why the wal-index and not the log's own frame headers: the index answers "which pages did these
 * frames change" and "which frame holds this page" from shared memory, without one read of the log,
 * and for any commit boundary that is still in the log.
 *
 * Invariants
 *  1. A header is believed only when both copies are equal, its checksum is right, and it is
 *     initialised.
 *  2. Frames above the header's frame count are never looked at: they may be overwritten.
 */
#include "format/wal.h"

#include "base/bytes.h"
#include "base/limits.h"

#include <string.h>

#define FIRST_REGION_FRAMES 4062u /* the header takes the place of 34 page numbers */
#define REGION_FRAMES 4096u
#define FIRST_REGION_OFFSET 136u
#define HASH_OFFSET 16384u
#define HASH_SLOTS 8192u
#define HASH_PRIME 383u
#define WAL_MAGIC 0x377f0682u
#define WAL_VERSION 3007000u

static uint32_t swapped(bool big_endian, uint32_t word) {
    return big_endian == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) ? word : __builtin_bswap32(word);
}

void wal_checksum(bool big_endian, const uint8_t *bytes, size_t n, uint32_t sum[2]) {
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint32_t words[2];
        memcpy(words, bytes + i, sizeof words);
        sum[0] += swapped(big_endian, words[0]) + sum[1];
        sum[1] += swapped(big_endian, words[1]) + sum[0];
    }
}

void wal_checksum_back(const uint8_t *bytes, size_t n, uint32_t sum[2]) {
    for (uint32_t words[2]; n >= 8; n -= 8) {
        memcpy(words, bytes + n - 8, sizeof words);
        sum[1] -= words[1] + sum[0];
        sum[0] -= words[0] + sum[1];
    }
}

rc wal_header_decode(const uint8_t bytes[WAL_HEADER_SIZE], struct wal_header *out, struct err *e) {
    struct rd r = rd_of(bytes, WAL_HEADER_SIZE);
    struct wal_header h;
    uint32_t sum[2] = {0}, magic = rd_u32be(&r), version = rd_u32be(&r);
    h.page_size = rd_u32be(&r);
    (void)rd_u32be(&r); /* how often the log was begun anew */
    for (int i = 0; i < 2; i++) h.salt[i] = rd_u32be(&r);
    for (int i = 0; i < 2; i++) h.checksum[i] = rd_u32be(&r);
    h.big_endian = magic & 1;
    if ((magic & ~1u) != WAL_MAGIC || version != WAL_VERSION)
        return err_set(e, RC_CORRUPT, "it does not begin with the header of a log");
    if (h.page_size < 512 || h.page_size > LIMIT_PAGE_SIZE || (h.page_size & (h.page_size - 1)))
        return err_set(e, RC_CORRUPT, "the log has pages of %u bytes", h.page_size);
    wal_checksum(h.big_endian, bytes, WAL_HEADER_SIZE - 8, sum);
    if (memcmp(sum, h.checksum, sizeof sum) != 0)
        return err_set(e, RC_CORRUPT, "the checksum of the log's header is wrong");
    *out = h;
    return ok();
}

void wal_frame_header_decode(const uint8_t bytes[WAL_FRAME_HEADER_SIZE],
                             struct wal_frame_header *h) {
    struct rd r = rd_of(bytes, WAL_FRAME_HEADER_SIZE);
    h->pgno = rd_u32be(&r);
    h->commit = rd_u32be(&r);
    h->salt[0] = rd_u32be(&r);
    h->salt[1] = rd_u32be(&r);
    h->checksum[0] = rd_u32be(&r);
    h->checksum[1] = rd_u32be(&r);
}

uint64_t wal_frame_offset(uint32_t frame, uint32_t page_size) {
    return WAL_HEADER_SIZE + (uint64_t)(frame - 1) * (WAL_FRAME_HEADER_SIZE + page_size);
}

/* The index is shared with SQLite, which publishes what it wrote there by the header, with
 * barriers. A sanitizer that does not see these takes each look at it for a race. */
#define READS_INDEX __attribute__((no_sanitize("thread")))

/* SQLite's own struct, copied out of shared memory. */
struct raw_header {
    uint32_t version, unused, change;
    uint8_t initialised, big_endian_checksum;
    uint16_t page_size;
    uint32_t frame_count, page_count, frame_checksum[2];
    uint8_t salt[8];
    uint32_t checksum[2];
};
_Static_assert(sizeof(struct raw_header) == WALINDEX_HEADER_SIZE, "wal-index header");

READS_INDEX static void copy_out(void *to, const volatile uint8_t *from, size_t n) {
    const volatile uint32_t *words = (const volatile uint32_t *)(const volatile void *)from;
    for (size_t i = 0; i < n / 4; i++) {
        uint32_t word = words[i];
        memcpy((uint8_t *)to + 4 * i, &word, 4);
    }
}

static bool checksum_right(const struct raw_header *h) {
    uint32_t words[10], s1 = 0, s2 = 0;
    memcpy(words, h, sizeof words);
    for (int i = 0; i < 10; i += 2) {
        s1 += words[i] + s2;
        s2 += words[i + 1] + s1;
    }
    return s1 == h->checksum[0] && s2 == h->checksum[1];
}

bool walindex_header_read(const volatile uint8_t *region0, struct walindex_header *out) {
    struct raw_header a, b;
    copy_out(&a, region0, sizeof a);
    __sync_synchronize();
    copy_out(&b, region0 + sizeof a, sizeof b);
    if (memcmp(&a, &b, sizeof a) != 0 || !a.initialised || a.version != WAL_VERSION ||
        !checksum_right(&a))
        return false;
    out->change = a.change;
    out->page_size = (a.page_size & 0xfe00u) + ((a.page_size & 1u) << 16);
    out->frame_count = a.frame_count;
    out->page_count = a.page_count;
    memcpy(out->checksum, a.frame_checksum, sizeof out->checksum);
    out->salt[0] = get_u32be(a.salt);
    out->salt[1] = get_u32be(a.salt + 4);
    return true;
}

bool walindex_header_same(const struct walindex_header *a, const struct walindex_header *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

READS_INDEX static uint32_t word_at(const volatile uint8_t *region, size_t at) {
    return __atomic_load_n((const volatile uint32_t *)(const volatile void *)(region + at),
                           __ATOMIC_SEQ_CST);
}

uint32_t walindex_backfilled(const volatile uint8_t *region0) {
    return word_at(region0, 96);
}
uint32_t walindex_backfill_attempted(const volatile uint8_t *region0) {
    return word_at(region0, 128);
}

uint32_t walindex_read_mark(const volatile uint8_t *region0, int reader) {
    return word_at(region0, 100 + 4 * (size_t)reader);
}

uint32_t walindex_region_of(uint32_t frame) {
    return frame <= FIRST_REGION_FRAMES ? 0 : 1 + (frame - FIRST_REGION_FRAMES - 1) / REGION_FRAMES;
}

uint32_t walindex_region_base(uint32_t region) {
    return region == 0 ? 0 : FIRST_REGION_FRAMES + (region - 1) * REGION_FRAMES;
}

static const volatile uint32_t *page_numbers(const volatile uint8_t *region, uint32_t number) {
    return (const volatile uint32_t *)(const volatile void *)(region +
                                                              (number ? 0 : FIRST_REGION_OFFSET));
}

READS_INDEX uint32_t walindex_page_of(const volatile uint8_t *region, uint32_t frame) {
    uint32_t number = walindex_region_of(frame);
    return page_numbers(region, number)[frame - 1 - walindex_region_base(number)];
}

READS_INDEX uint32_t walindex_find(const volatile uint8_t *region, uint32_t number, uint32_t pgno,
                                   uint32_t last) {
    const volatile uint32_t *pages = page_numbers(region, number);
    const volatile uint16_t *hash =
        (const volatile uint16_t *)(const volatile void *)(region + HASH_OFFSET);
    uint32_t base = walindex_region_base(number), best = 0;
    uint32_t slots = number ? REGION_FRAMES : FIRST_REGION_FRAMES;
    uint32_t key = (pgno * HASH_PRIME) & (HASH_SLOTS - 1);
    for (uint32_t probes = 0; probes < HASH_SLOTS; probes++, key = (key + 1) & (HASH_SLOTS - 1)) {
        uint32_t slot = hash[key];
        if (slot == 0) break;
        if (slot > slots) continue; /* never in a healthy index; stay inside the region */
        uint32_t frame = base + slot;
        if (frame <= last && frame > best && pages[slot - 1] == pgno) best = frame;
    }
    return best;
}
