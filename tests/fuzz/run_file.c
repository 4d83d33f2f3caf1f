/* The run file: bytes that are one are encoded to the same record again, and all others are none.
 * The mutator makes them of this boot and signs them. */
#include "base/bitmap.h"

#include "fuzz.h"

/* A set of pages may be 512 MB for one number, which is right in a run and slow here. */
#define PAGES_MAX 1000000
static rc add_some(struct bitmap *pages, uint32_t pgno, struct err *e) {
    return pgno > PAGES_MAX ? err_set(e, RC_NOMEM, "no memory") : bitmap_add(pages, pgno, e);
}
#define bitmap_add add_some

/* One that the corpus knows. */
#include "os/system.h"
static void a_boot_id(char out[BOOT_ID_SIZE]) {
    snprintf(out, BOOT_ID_SIZE, "fuzz");
}
#define system_boot_id a_boot_id
#include "source/run_file.c"

#define THIS                                                                                       \
    (struct run_file) {                                                                            \
        .device = 1, .inode = 2, .birth_ns = 3                                                     \
    }
#define HEAD (4 + BOOT_ID_SIZE + 24)

static bool same(const struct run_record *a, const struct run_record *b) {
    bool is = a->nonce == b->nonce && walindex_header_same(&a->at, &b->at) &&
              a->change_counter == b->change_counter && a->dest_count == b->dest_count;
    for (int i = 0; is && i < a->dest_count; i++) {
        is = a->dest[i].id == b->dest[i].id && a->dest[i].full == b->dest[i].full &&
             memcmp(&a->dest[i].tail, &b->dest[i].tail, sizeof a->dest[i].tail) == 0 &&
             a->dest[i].unacked.count == b->dest[i].unacked.count;
        const struct bitmap *x = &a->dest[i].unacked, *y = &b->dest[i].unacked;
        for (uint32_t p = bitmap_next(x, 1); is && p; p = bitmap_next(x, p + 1))
            is = bitmap_has(y, p);
    }
    return is;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const struct run_file f = THIS;
    struct run_record found = {0}, again = {0};
    if (decode(&f, bytes, size, &found)) {
        struct buf b;
        buf_init(&b, RUN_FILE_LIMIT);
        encode(&b, &f, &found);
        MUST(!b.failed && b.size <= size);
        MUST(found.dest_count <= RUN_DESTS);
        MUST(decode(&f, b.bytes, b.size, &again) && same(&found, &again));
        buf_deinit(&b);
    }
    run_record_deinit(&found);
    run_record_deinit(&again);
    return 0;
}

/* A record that could have been written here. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed) {
    char boot[BOOT_ID_SIZE] = {0};
    struct run_file f = THIS;
    size = LLVMFuzzerMutate(bytes, size, max);
    if (size < HEAD + 8 || seed % 16 == 0) return size;
    system_boot_id(boot);
    memcpy(bytes, MAGIC, 4);
    memcpy(bytes + 4, boot, sizeof boot);
    put_u64be(bytes + HEAD - 24, f.device);
    put_u64be(bytes + HEAD - 16, f.inode);
    put_u64be(bytes + HEAD - 8, (uint64_t)f.birth_ns);
    put_u64be(bytes + size - 8, crc64(0, bytes, size - 8));
    return size;
}
