/* Positions: see the header. */
#include "source/position.h"

#include "format/wal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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
    *out = (struct position){
        .kind = POSITION_FRAME, .frame = h.frame_count, .salt = {h.salt[0], h.salt[1]}};
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
