/* The page index of an LTX file. Input: a byte that chooses the page size, 8 bytes where the index
 * begins, then the entries; and the last 24 bytes once more as the end of a file. */
#include "fuzz.h"

#include "format/ltx.h"

static void place(const uint8_t *last24, uint64_t file_size) {
    uint64_t at, n;
    struct err e;
    if (!is_ok(ltx_index_place(last24, file_size, &at, &n, &e))) return;
    MUST(n > 0 && n <= LIMIT_INDEX);
    MUST(at >= LTX_HEADER_SIZE + 6 && at + n + 24 == file_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct ltx_index_cursor c;
    struct ltx_entry entry;
    struct err e;
    if (size < 9) return 0;
    uint32_t page_size = 512u << bytes[0] % 8, last = 0;
    uint64_t at = get_u64be(bytes + 1), next = LTX_HEADER_SIZE;
    if (size >= 24) place(bytes + size - 24, at);
    at >>= 8; /* no store holds more */
    ltx_index_begin(&c, bytes + 9, size - 9, page_size, at);
    for (;;) {
        if (!is_ok(ltx_index_next(&c, &entry, &e))) return 0;
        if (!entry.pgno) break;
        MUST(entry.pgno > last && entry.pgno <= LIMIT_PAGES);
        MUST(entry.pgno != ltx_lock_page(page_size));
        MUST(entry.offset == next && entry.size <= ltx_frame_max(page_size));
        last = entry.pgno;
        next = entry.offset + entry.size;
    }
    MUST(next + 6 == at);
    return 0;
}
