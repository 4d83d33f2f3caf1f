/* What Litestream 0.3 wrote: a name that parses is what is formatted, and a log gives the same
 * frames in whatever pieces it comes. Input: the size of the pieces, a byte; a name up to a zero; a
 * log. The mutator gives most logs their salts and checksums. */
#include "fuzz.h"

#include "base/bytes.h"

#include "format/v03.h"

static void check_name(const char *name, bool segment) {
    char key[KEY_SIZE];
    uint32_t index;
    uint64_t offset;
    if (!v03_name_parse(name, segment, &index, &offset)) return;
    MUST(segment || offset == 0);
    v03_key("0123456789abcdef", segment, index, offset, key);
    MUST(v03_is_generation("0123456789abcdef"));
    MUST(strcmp(strrchr(key, '/') + 1, name) == 0);
}

/* Pages and commits of the frames up to the first failure, and where that was. */
static uint64_t walk(const uint8_t *bytes, size_t size, size_t step, bool *failed) {
    struct v03_log *log = calloc(1, sizeof *log);
    uint64_t seen = 1;
    *failed = false;
    for (size_t at = 0; at < size && !*failed; at += step) {
        struct rd in = rd_of(bytes + at, size - at < step ? size - at : step);
        struct wal_frame_header h;
        const uint8_t *page;
        struct err e;
        while (!(*failed = !is_ok(v03_log_next(log, &in, &h, &page, &e))) && h.pgno)
            seen = seen * 31 + h.pgno + h.commit + page[log->header.page_size - 1];
        MUST(*failed || rd_left(&in) == 0);
    }
    if (!*failed) MUST(log->size == size);
    free(log);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < 2) return 0;
    size_t name = strnlen((const char *)bytes + 1, size - 1);
    if (name + 1 == size) return 0;
    check_name((const char *)bytes + 1, true);
    check_name((const char *)bytes + 1, false);
    check_name((const char *)bytes + 1, v03_is_generation((const char *)bytes + 1));
    const uint8_t *log = bytes + name + 2;
    size_t n = size - name - 2;
    bool failed, failed_too;
    uint64_t seen = walk(log, n, n + 1, &failed);
    MUST(walk(log, n, 1 + bytes[0], &failed_too) == seen && failed == failed_too);
    return 0;
}

/* Header and frames as one log. */
static void sign(uint8_t *log, size_t n, uint32_t page_size) {
    bool big_endian = log[3] & 1;
    uint32_t sum[2] = {0, 0};
    put_u32be(log, 0x377f0682u | big_endian);
    put_u32be(log + 4, 3007000);
    put_u32be(log + 8, page_size);
    wal_checksum(big_endian, log, WAL_HEADER_SIZE - 8, sum);
    put_u32be(log + 24, sum[0]);
    put_u32be(log + 28, sum[1]);
    size_t whole = WAL_FRAME_HEADER_SIZE + page_size;
    for (uint8_t *f = log + WAL_HEADER_SIZE; f + whole <= log + n; f += whole) {
        memcpy(f + 8, log + 16, 8);
        wal_checksum(big_endian, f, 8, sum);
        wal_checksum(big_endian, f + WAL_FRAME_HEADER_SIZE, page_size, sum);
        put_u32be(f + 16, sum[0]);
        put_u32be(f + 20, sum[1]);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed) {
    size = LLVMFuzzerMutate(bytes, size, max);
    size_t log = size > 1 ? 2 + strnlen((const char *)bytes + 1, size - 1) : size;
    if (seed % 8 == 0 || log + WAL_HEADER_SIZE > size) return size;
    sign(bytes + log, size - log, 512u << (seed % 64 == 1 ? seed / 64 % 8 : 0));
    return size;
}
