/* Has the schema gone on without this program? Asked in each transaction that writes.
 *
 * Why it costs nothing: what the answer comes from changes by a commit only, and not by one of this
 * connection, which may not write those tables. SQLite counts the commits that a connection has
 * made or seen; where that number is the one behind our own last, so is the answer.
 *
 * Invariant: it is asked behind BEGIN IMMEDIATE, so that no contract comes between the answer and
 * the commit.
 */
#include "store/min_version.h"
#include "store/parts.h"

#include <stdio.h>

static rc check_file(struct conn *c, int i, const char *schema, int64_t known, struct err *e) {
    char app[sizeof c->store->known_by];
    unsigned commits = 0;
    sqlite3_file_control(c->db, schema, SQLITE_FCNTL_DATA_VERSION, &commits);
    if (c->fits[i].known == known && c->fits[i].commits == commits) return ok();
    pthread_mutex_lock(&c->store->hook_lock);
    snprintf(app, sizeof app, "%s", c->store->known_by);
    pthread_mutex_unlock(&c->store->hook_lock);
    c->own = true;
    rc r = min_version_check(c->db, schema, app, known - 1, e);
    c->own = false;
    TRY(r);
    c->fits[i].known = known;
    c->fits[i].commits = commits;
    return ok();
}

rc check_newer(struct conn *c, struct err *e) {
    int64_t known = c->store->known;
    c->asked = known != 0;
    if (!known) return ok();
    if (c->scope & HF_MAIN) TRY(check_file(c, 0, "main", known, e));
    if (c->scope & HF_NOISE) TRY(check_file(c, 1, "noise", known, e));
    return ok();
}

/* Nobody else could commit since the answer. */
void newer_ended(struct conn *c) {
    if (c->asked && c->scope & HF_MAIN)
        sqlite3_file_control(c->db, "main", SQLITE_FCNTL_DATA_VERSION, &c->fits[0].commits);
    if (c->asked && c->scope & HF_NOISE)
        sqlite3_file_control(c->db, "noise", SQLITE_FCNTL_DATA_VERSION, &c->fits[1].commits);
}

rc store_set_known_schema(hf_store *s, const char *app, int64_t version, struct err *e) {
    pthread_mutex_lock(&s->hook_lock);
    bool twice = version >= 0 && s->known;
    if (!twice) {
        snprintf(s->known_by, sizeof s->known_by, "%s", app ? app : "");
        s->known = version + 1;
    }
    pthread_mutex_unlock(&s->hook_lock);
    return twice ? err_set(e, RC_USAGE, "%s: another hf_schema of this store has joined already",
                           s->path)
                 : ok();
}
