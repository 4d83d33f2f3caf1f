/* Positions: see the header.
 *
 * Why the boot is mixed into the salts: a log that lost its end in a power cut goes on where it was
 * cut, with the same salts, so that another commit comes to lie where the lost one was.
 */
#include "source/position.h"

#include "format/wal.h"
#include "os/system.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* The first digits of a random number. */
static uint32_t this_boot(void) {
    static _Atomic uint32_t known;
    char id[BOOT_ID_SIZE];
    uint32_t boot = known;
    if (boot) return boot;
    system_boot_id(id);
    if (sscanf(id, "%8" SCNx32, &boot) == 1) known = boot;
    return boot;
}

struct position position_of(uint32_t frame, const uint32_t salt[2]) {
    return (struct position){
        .kind = POSITION_FRAME, .frame = frame, .salt = {salt[0] ^ this_boot(), salt[1]}};
}

rc position_read(sqlite3 *db, const char *schema, struct position *out, struct err *e) {
    sqlite3_file *file = NULL, *wal = NULL;
    void volatile *region = NULL;
    struct walindex_header h;
    int code = sqlite3_file_control(db, schema, SQLITE_FCNTL_FILE_POINTER, &file);
    if (code == SQLITE_OK)
        code = sqlite3_file_control(db, schema, SQLITE_FCNTL_JOURNAL_POINTER, &wal);
    bool open = code == SQLITE_OK && file && file->pMethods && wal && wal->pMethods;
    if (!open || file->pMethods->iVersion < 2)
        return err_set(e, RC_USAGE, "database %s is not open in WAL mode", schema);
    code = file->pMethods->xShmMap(file, 0, (int)WALINDEX_REGION_SIZE, 0, &region);
    if (code != SQLITE_OK || !region)
        return err_set(e, RC_USAGE, "database %s is not in WAL mode, or was never read", schema);
    if (!walindex_header_read(region, &h))
        return err_set(e, RC_BUSY, "database %s: a commit is being published", schema);
    *out = position_of(h.frame_count, h.salt);
    return ok();
}

void position_text(const struct position *p, char out[POSITION_TEXT_SIZE]) {
    if (p->kind == POSITION_FRAME)
        snprintf(out, POSITION_TEXT_SIZE, "%08" PRIx32 "%08" PRIx32 "-%" PRIu32, p->salt[0],
                 p->salt[1], p->frame);
    else snprintf(out, POSITION_TEXT_SIZE, p->kind == POSITION_NOW ? "now" : "nothing");
}

bool position_parse(const char *text, struct position *out) {
    struct position p = {.kind = POSITION_FRAME};
    char again[POSITION_TEXT_SIZE];
    if (strcmp(text, "now") == 0) p.kind = POSITION_NOW;
    else if (strcmp(text, "nothing") == 0) p.kind = POSITION_NOTHING;
    else if (sscanf(text, "%8" SCNx32 "%8" SCNx32 "-%10" SCNu32, &p.salt[0], &p.salt[1],
                    &p.frame) != 3)
        return false;
    position_text(&p, again); /* one way to write each: what reads otherwise is no position */
    if (strcmp(text, again) != 0) return false;
    *out = p;
    return true;
}
