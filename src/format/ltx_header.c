/* The header of an LTX file, and the rules between its fields. */
#include "format/ltx.h"

#include <string.h>

#define RESERVED_AT 80u

uint32_t ltx_lock_page(uint32_t page_size) {
    return 0x40000000u / page_size + 1;
}

void ltx_header_encode(const struct ltx_header *h, uint8_t out[LTX_HEADER_SIZE]) {
    memset(out, 0, LTX_HEADER_SIZE);
    memcpy(out, "LTX1", 4);
    put_u32be(out + 4, h->flags ? h->flags : LTX_FLAG_NO_CHECKSUM);
    put_u32be(out + 8, h->page_size);
    put_u32be(out + 12, h->commit);
    put_u64be(out + 16, h->min_txid);
    put_u64be(out + 24, h->max_txid);
    put_u64be(out + 32, (uint64_t)h->timestamp_ms);
    put_u64be(out + 40, h->pre_apply_checksum);
    put_u64be(out + 48, h->wal_offset);
    put_u64be(out + 56, h->wal_size);
    put_u32be(out + 64, h->salt[0]);
    put_u32be(out + 68, h->salt[1]);
    put_u64be(out + 72, h->node_id);
    if (!h->chain.present) return;
    memcpy(out + RESERVED_AT, "HF01", 4);
    put_u64be(out + 84, h->chain.sum);
    put_u32be(out + 92, h->chain.frame_checksum[0]);
    put_u32be(out + 96, h->chain.frame_checksum[1]);
}

static bool legal_page_size(uint32_t n) {
    return n >= 512 && n <= LIMIT_PAGE_SIZE && !(n & (n - 1));
}

static rc check(const struct ltx_header *h, struct err *e) {
    uint64_t pre = h->pre_apply_checksum;
    if (h->flags & ~LTX_FLAG_NO_CHECKSUM)
        return err_set(e, RC_CORRUPT, "header: flags %#x", h->flags);
    if (!legal_page_size(h->page_size))
        return err_set(e, RC_CORRUPT, "header: page size %u", h->page_size);
    if (h->commit == 0) return err_set(e, RC_CORRUPT, "header: a database of no pages");
    if (h->commit > LIMIT_PAGES)
        return err_set(e, RC_CORRUPT, "header: a database of %u pages", h->commit);
    if (h->min_txid == 0 || h->max_txid < h->min_txid)
        return err_set(e, RC_CORRUPT, "header: TXIDs %llu to %llu", (unsigned long long)h->min_txid,
                       (unsigned long long)h->max_txid);
    if (h->wal_offset >> 63 || h->wal_size >> 63)
        return err_set(e, RC_CORRUPT, "header: a negative log offset or size");
    if ((h->salt[0] || h->salt[1] || h->wal_size) && !h->wal_offset)
        return err_set(e, RC_CORRUPT, "header: salts or log size without a log offset");
    if (ltx_is_snapshot(h) && pre)
        return err_set(e, RC_CORRUPT, "header: a snapshot with a checksum before it");
    if (ltx_is_snapshot(h)) return ok();
    if (h->flags & LTX_FLAG_NO_CHECKSUM ? pre != 0 : !(pre >> 63))
        return err_set(e, RC_CORRUPT, "header: the checksum before it does not fit the flags");
    return ok();
}

rc ltx_header_decode(struct ltx_header *out, const uint8_t bytes[LTX_HEADER_SIZE], struct err *e) {
    struct rd r = rd_of(bytes, LTX_HEADER_SIZE);
    if (memcmp(rd_bytes(&r, 4), "LTX1", 4) != 0) return err_set(e, RC_CORRUPT, "not an LTX file");
    struct ltx_header h = {.flags = rd_u32be(&r)};
    h.page_size = rd_u32be(&r);
    h.commit = rd_u32be(&r);
    h.min_txid = rd_u64be(&r);
    h.max_txid = rd_u64be(&r);
    h.timestamp_ms = (int64_t)rd_u64be(&r);
    h.pre_apply_checksum = rd_u64be(&r);
    h.wal_offset = rd_u64be(&r);
    h.wal_size = rd_u64be(&r);
    h.salt[0] = rd_u32be(&r);
    h.salt[1] = rd_u32be(&r);
    h.node_id = rd_u64be(&r);
    h.chain.present = memcmp(rd_bytes(&r, 4), "HF01", 4) == 0;
    if (h.chain.present) {
        h.chain.sum = rd_u64be(&r);
        h.chain.frame_checksum[0] = rd_u32be(&r);
        h.chain.frame_checksum[1] = rd_u32be(&r);
    }
    TRY(check(&h, e));
    *out = h;
    return ok();
}
