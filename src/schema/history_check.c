/* Do the files and what was recorded agree?
 *
 * The text is compared by its SHA-256. A record's chain is not: a file of the other database that
 * comes between changes the chains of all behind it, and breaks nothing here. Nor is the name: it
 * may be made clearer.
 */
#include "schema/history.h"

#include <string.h>

static long long number(int64_t version) {
    return (long long)version;
}

static rc check_newer(const struct set *set, const struct records *r, const char *database,
                      struct err *e) {
    if (r->min_version <= set_newest(set)) return ok();
    return err_set(e, RC_UNFIT,
                   "%s: its schema is newer: %lld has taken away what older programs use, and "
                   "these migrations end with %lld: start a newer program",
                   database, number(r->min_version), number(set_newest(set)));
}

static rc check_record(const struct set *set, const struct record *r, bool noise,
                       const char *database, size_t *ahead, struct err *e) {
    const struct migration *m = set_find(set, r->version);
    if (!m && r->version > set_newest(set)) {
        ++*ahead;
        return ok();
    }
    if (!m)
        return err_set(e, RC_CONFLICT,
                       "%s: %lld (%s) was applied, and its file is missing: put it back", database,
                       number(r->version), r->name);
    if (m->noise != noise)
        return err_set(e, RC_CONFLICT, "%s: %lld (%s) was applied here, and the file is of %s now",
                       database, number(r->version), r->name, m->noise ? "noise" : "main");
    if (strcmp(m->sha256, r->sha256) == 0) return ok();
    return err_set(e, RC_CONFLICT,
                   "%s: edited since it was applied to %s: put the file back as it was, and %s",
                   m->name, database,
                   r->phase == PHASE_DONE ? "write a new migration"
                                          : "revert what was begun before it is edited");
}

static rc check_file(const struct migration *m, const struct records *r, const char *database,
                     struct err *e) {
    const struct record *last = &r->at[r->count - 1];
    if (m->version > last->version || records_find(r, m->version)) return ok();
    return err_set(e, RC_CONFLICT,
                   "%s: out of order: %s has %lld (%s) already, which is newer: give the file a "
                   "newer version",
                   m->name, database, number(last->version), last->name);
}

rc history_check(const struct set *set, const struct records *r, bool noise, const char *database,
                 size_t *ahead, struct err *e) {
    size_t newer = 0;
    TRY(check_newer(set, r, database, e));
    for (size_t i = 0; i < r->count; i++)
        TRY(check_record(set, &r->at[i], noise, database, &newer, e));
    for (size_t i = 0; r->count && i < set->count; i++)
        if (set->at[i]->noise == noise) TRY(check_file(set->at[i], r, database, e));
    *ahead = newer;
    return ok();
}
