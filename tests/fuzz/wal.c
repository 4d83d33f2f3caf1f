/* The wal-index, whatever is in it: searched inside its region, with an end, and what is found is
 * there. Input: region number, page number, bound; then the region, zeros after its end. */
#include "fuzz.h"

#include "base/bytes.h"
#include "format/wal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct walindex_header h;
    struct wal_frame_header frame;
    if (size < 9) return 0;
    uint32_t number = bytes[0] % 4, pgno = get_u32be(bytes + 1), last = get_u32be(bytes + 5);
    size_t n = size - 9 < WALINDEX_REGION_SIZE ? size - 9 : WALINDEX_REGION_SIZE;
    uint8_t *region = calloc(1, WALINDEX_REGION_SIZE); /* exact, for the sanitizer */
    memcpy(region, bytes + 9, n);
    if (walindex_header_read(region, &h)) MUST(h.page_size <= 65536);
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
