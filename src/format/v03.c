/* Litestream 0.3's names and logs: see the header.
 *
 * Why a name is formatted again to see whether it is one: only names that give their own key back
 * may be ours, and one that nearly is must not stand for another object.
 *
 * Invariant: a frame is given out only if the checksum from the log's header to its end is right.
 */
#include "format/v03.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool v03_is_generation(const char *name) {
    return strlen(name) == V03_GENERATION_SIZE - 1 &&
           strspn(name, "0123456789abcdef") == V03_GENERATION_SIZE - 1;
}

void v03_key(const char *generation, bool segment, uint32_t index, uint64_t offset,
             char out[KEY_SIZE]) {
    int n = snprintf(out, KEY_SIZE, "generations/%.16s/%s/%08" PRIx32, generation,
                     segment ? "wal" : "snapshots", index);
    if (segment) snprintf(out + n, KEY_SIZE - (size_t)n, "_%08" PRIx64 ".wal.lz4", offset);
    else snprintf(out + n, KEY_SIZE - (size_t)n, ".snapshot.lz4");
}

bool v03_name_parse(const char *name, bool segment, uint32_t *index, uint64_t *offset) {
    char key[KEY_SIZE];
    uint32_t i;
    uint64_t at = 0;
    if (sscanf(name, "%8" SCNx32 "_%16" SCNx64, &i, &at) < 1) return false;
    v03_key("", segment, i, at, key);
    if (strcmp(name, strrchr(key, '/') + 1) != 0) return false;
    *index = i;
    *offset = at;
    return true;
}

static rc take_frame(struct v03_log *l, struct wal_frame_header *h, struct err *e) {
    wal_frame_header_decode(l->part, h);
    if (memcmp(h->salt, l->header.salt, sizeof h->salt) != 0)
        return err_set(e, RC_CORRUPT, "the frame before byte %" PRIu64 " has another log's salts",
                       l->size);
    wal_checksum(l->header.big_endian, l->part, 8, l->sum);
    wal_checksum(l->header.big_endian, l->part + WAL_FRAME_HEADER_SIZE, l->header.page_size,
                 l->sum);
    if (memcmp(h->checksum, l->sum, sizeof l->sum) != 0 || h->pgno == 0)
        return err_set(e, RC_CORRUPT, "the frame before byte %" PRIu64 " has a wrong checksum",
                       l->size);
    return ok();
}

rc v03_log_next(struct v03_log *l, struct rd *in, struct wal_frame_header *frame,
                const uint8_t **page, struct err *e) {
    for (;;) {
        bool begun = l->header.page_size != 0;
        size_t whole = begun ? WAL_FRAME_HEADER_SIZE + l->header.page_size : WAL_HEADER_SIZE;
        size_t n = whole - l->held < rd_left(in) ? whole - l->held : rd_left(in);
        memcpy(l->part + l->held, rd_bytes(in, n), n);
        l->held += n;
        l->size += n;
        frame->pgno = 0;
        if (l->held < whole) return ok();
        l->held = 0;
        *page = l->part + WAL_FRAME_HEADER_SIZE;
        if (begun) return take_frame(l, frame, e);
        TRY(wal_header_decode(l->part, &l->header, e));
        memcpy(l->sum, l->header.checksum, sizeof l->sum);
    }
}
