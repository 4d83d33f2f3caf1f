/* The wal-index, whatever is in it: searched inside its region, with an end, and what is found is
 * there. Input: region number, page number, bound; then the region, zeros after its end. The
 * mutator makes most headers one that is believed. */
#include "fuzz.h"

#include "base/bytes.h"
#include "format/wal.h"

/* Every frame has its region, and its place in the log: in 64 bits, whatever its number. */
static void check_places(uint32_t frame, uint32_t number) {
    if (frame == 0) return;
    uint32_t region = walindex_region_of(frame), base = walindex_region_base(region);
    MUST(base < frame && frame - base <= (region ? 4096 : 4062));
    MUST(walindex_region_of(walindex_region_base(number) + 1) == number);
    for (uint32_t page_size = 512; page_size <= 65536; page_size *= 2) {
        uint64_t at = wal_frame_offset(frame, page_size);
        MUST((at - WAL_HEADER_SIZE) / (WAL_FRAME_HEADER_SIZE + page_size) == frame - 1);
        MUST((at - WAL_HEADER_SIZE) % (WAL_FRAME_HEADER_SIZE + page_size) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct walindex_header h;
    struct wal_frame_header frame;
    if (size < 9) return 0;
    uint32_t number = bytes[0] % 4, pgno = get_u32be(bytes + 1), last = get_u32be(bytes + 5);
    size_t n = size - 9 < WALINDEX_REGION_SIZE ? size - 9 : WALINDEX_REGION_SIZE;
    uint8_t *region = calloc(1, WALINDEX_REGION_SIZE); /* exact, for the sanitizer */
    memcpy(region, bytes + 9, n);
    if (walindex_header_read(region, &h)) {
        uint32_t coded = (uint32_t)region[14] | (uint32_t)region[15] << 8; /* as SQLite has it */
        MUST(h.page_size == (coded & 0xfe00) + ((coded & 1) << 16));
        region[WALINDEX_HEADER_SIZE + 16] ^= 1; /* the copies differ: a writer is between them */
        MUST(!walindex_header_read(region, &h));
        region[WALINDEX_HEADER_SIZE + 16] ^= 1;
    }
    check_places(last, number);
    for (int i = 0; i < WALINDEX_READERS; i++) (void)walindex_read_mark(region, i);
    (void)walindex_backfilled(region);
    (void)walindex_backfill_attempted(region);
    uint32_t found = walindex_find(region, number, pgno, last);
    if (found) {
        MUST(found <= last && walindex_region_of(found) == number);
        MUST(walindex_page_of(region, found) == pgno);
    }
    if (n >= WAL_FRAME_HEADER_SIZE) wal_frame_header_decode(region, &frame);
    free(region);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed) {
    size = LLVMFuzzerMutate(bytes, size, max);
    uint32_t words[12], sum[2] = {0, 0};
    uint8_t *header = bytes + 9;
    if (seed % 8 == 0 || size < 9 + 2 * WALINDEX_HEADER_SIZE) return size;
    memcpy(words, header, sizeof words);
    words[0] = 3007000;
    words[3] |= 1; /* initialised */
    for (int i = 0; i < 10; i += 2) {
        sum[0] += words[i] + sum[1];
        sum[1] += words[i + 1] + sum[0];
    }
    words[10] = sum[0];
    words[11] = sum[1];
    memcpy(header, words, sizeof words);
    memcpy(header + WALINDEX_HEADER_SIZE, words, sizeof words);
    return size;
}
