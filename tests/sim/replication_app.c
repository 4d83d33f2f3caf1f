/* Applications, and the disks below them: commits, checkpoints, readers, closes; a disk that is put
 * back to what it was.
 *
 * After each commit a second connection reads the database as it is: that is the state. Of a cut
 * the log's position says which state it is of; also where that is an emptied log's, since a
 * source that is to stop ships from there what it saw last, whatever is committed meanwhile.
 */
#include "replication_hosts.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- applications ---- */

bool app_sql(sqlite3 *db, const char *text) {
    bool done = sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK;
    if (!done && !sqlite3_get_autocommit(db)) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return done;
}

static bool header_of(struct host *h, struct walindex_header *out) {
    sqlite3_file *file = NULL;
    void volatile *region = NULL;
    app_sql(h->witness, "PRAGMA schema_version");
    sqlite3_file_control(h->witness, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (file->pMethods->xShmMap(file, 0, WALINDEX_REGION_SIZE, 0, &region) != SQLITE_OK || !region)
        return false;
    return walindex_header_read(region, out);
}

static void note_seen(struct host *h, const struct walindex_header *at) {
    if (h->seen_count == h->seen_capacity) {
        h->seen_capacity = h->seen_capacity ? 2 * h->seen_capacity : 64;
        h->seen = realloc(h->seen, h->seen_capacity * sizeof *h->seen);
        ENSURE(h->seen);
    }
    struct seen *s = &h->seen[h->seen_count++];
    *s = (struct seen){.frame = at->frame_count, .state = h->state};
    memcpy(s->salt, at->salt, sizeof s->salt);
    memcpy(s->checksum, at->checksum, sizeof s->checksum);
}

static int state_at(const struct host *h, const struct walindex_header *at) {
    for (size_t i = h->seen_count; i > 0; i--) {
        const struct seen *s = &h->seen[i - 1];
        if (s->frame == at->frame_count && same_salts(s->salt, at->salt) &&
            memcmp(s->checksum, at->checksum, sizeof s->checksum) == 0)
            return s->state;
    }
    violated("harness", "%s: frame %u of %08x was never seen", h->m.name, at->frame_count,
             at->salt[0]);
}

/* What is on its way holds which state? Before anything else is committed. */
void note_cuts(struct run *r) {
    for (int i = 0; r && r->source && i < r->source->dest_count; i++) {
        struct dest *d = &r->source->dest[i];
        struct bucket *b = bucket_of(d->store);
        uint64_t txid = d->ship.header.max_txid;
        if (!d->ship.active || r->noted[i] == txid) continue;
        r->noted[i] = txid;
        count.ships++;
        trace("  %s cuts at frame %u of %08x", r->host->m.name, d->ship.cut.at.frame_count,
              d->ship.cut.at.salt[0]);
        oracle_attempt(b, txid, r->source->nonce, state_at(r->host, &d->ship.cut.at), r->turns);
    }
}

/* After whatever may have been a commit. */
void note_commit(struct host *h) {
    struct walindex_header now;
    sqlite3_int64 size = 0;
    if (!header_of(h, &now)) violated("harness", "%s: no header", h->m.name);
    if (h->seen_count) {
        const struct seen *s = &h->seen[h->seen_count - 1];
        if (s->frame == now.frame_count && same_salts(s->salt, now.salt) &&
            memcmp(s->checksum, now.checksum, sizeof s->checksum) == 0)
            return;
        if (now.frame_count == 0) { /* emptied: a cut there is of what had been committed then */
            note_seen(h, &now);
            return;
        }
    }
    uint8_t *bytes = sqlite3_serialize(h->witness, "main", &size, 0);
    if (!bytes) violated("harness", "%s: cannot read the database", h->m.name);
    h->state = state_new(h->state, bytes, (size_t)size, swarm.page_size);
    sqlite3_free(bytes);
    note_seen(h, &now);
    count.commits++;
    trace("%s commits state %d: frame %u of %08x", h->m.name, h->state, now.frame_count,
          now.salt[0]);
}

static sqlite3 *connect(struct host *h) {
    sqlite3 *db = NULL;
    char text[100];
    if (sqlite3_open(h->m.db, &db) != SQLITE_OK) violated("harness", "open %s", h->m.db);
    snprintf(text, sizeof text, "PRAGMA page_size = %u; PRAGMA wal_autocheckpoint = %u",
             swarm.page_size, swarm.autocheckpoint);
    app_sql(db, text);
    return db;
}

void app_open(struct host *h) {
    h->app = connect(h);
    if (!h->there && swarm.vacuum) app_sql(h->app, "PRAGMA auto_vacuum = INCREMENTAL");
    if (!app_sql(h->app, "PRAGMA journal_mode = WAL"))
        violated("harness", "%s: %s", h->m.db, sqlite3_errmsg(h->app));
    h->witness = connect(h);
    app_sql(h->witness, "PRAGMA schema_version");
}

/* `clean`: as a program that ends; else as one that is killed. */
void app_close(struct host *h, bool clean) {
    sqlite3 *all[] = {h->reader, h->app, h->witness};
    for (int i = 0; i < 3; i++) {
        if (!clean && all[i])
            sqlite3_db_config(all[i], SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
        sqlite3_close(all[i]);
    }
    h->reader = h->app = h->witness = NULL;
}

static void app_told(struct host *h) {
    if (!h->run || !chance(800)) return;
    h->run->changed = true;
    co_wake(h->run->co);
}

static void commit(struct host *h, const char *text) {
    note_cuts(h->run);
    app_sql(h->app, text);
    note_commit(h);
    app_told(h);
}

/* Perhaps: some change nothing, or are rolled back. */
void app_commit(struct host *h) {
    char text[300];
    uint32_t id = 1 + below(swarm.rows), n = 1 + below(swarm.blob);
    switch (below(swarm.vacuum ? 12 : 10)) {
    case 0: snprintf(text, sizeof text, "DELETE FROM t WHERE id %% 3 = %u", id % 3); break;
    case 1:
        snprintf(text, sizeof text,
                 "BEGIN; UPDATE t SET v = randomblob(%u) WHERE id %% 4 = 1; INSERT OR REPLACE INTO "
                 "t VALUES"
                 " (%u, randomblob(%u)); COMMIT",
                 1 + n / 4, id, n);
        break;
    case 2:
        snprintf(text, sizeof text, "BEGIN; UPDATE t SET v = randomblob(%u); ROLLBACK", n);
        break;
    case 3: snprintf(text, sizeof text, "DELETE FROM t WHERE id = %u", id); break;
    case 10: snprintf(text, sizeof text, "PRAGMA incremental_vacuum(%u)", 1 + below(8)); break;
    case 11: snprintf(text, sizeof text, "VACUUM"); break;
    default:
        snprintf(text, sizeof text, "INSERT OR REPLACE INTO t VALUES (%u, randomblob(%u))", id, n);
    }
    commit(h, text);
}

void app_commit_surely(struct host *h) {
    commit(h, "INSERT OR REPLACE INTO t VALUES (1, randomblob(16))");
}

void app_checkpoint(struct host *h) {
    static const int modes[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL,
                                SQLITE_CHECKPOINT_RESTART, SQLITE_CHECKPOINT_TRUNCATE};
    int mode = modes[below(4)];
    note_cuts(h->run);
    int done = sqlite3_wal_checkpoint_v2(h->app, NULL, mode, NULL, NULL);
    trace("%s: a checkpoint, mode %d: %d", h->m.name, mode, done);
    note_commit(h);
    app_told(h);
}

void app_reader(struct host *h) {
    if (h->reader) {
        sqlite3_close(h->reader);
        h->reader = NULL;
        return;
    }
    h->reader = connect(h);
    app_sql(h->reader, "BEGIN; SELECT count(*) FROM t");
}

/* ---- files, as a copy or a restored disk has them ---- */

static void path_of(const char *db, int part, char out[100]) {
    snprintf(out, 100, "%s%s", db, part ? "-wal" : "");
}

static uint8_t *read_all(const char *path, size_t *size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    *size = 0;
    if (fd < 0) return NULL;
    ENSURE(fstat(fd, &st) == 0);
    uint8_t *bytes = malloc((size_t)st.st_size + 1);
    ENSURE(bytes && read(fd, bytes, (size_t)st.st_size) == st.st_size);
    close(fd);
    *size = (size_t)st.st_size;
    return bytes;
}

void disk_save(struct host *h, struct saved *s) {
    char path[100];
    for (int i = 0; i < 2; i++) {
        free(s->bytes[i]);
        path_of(h->m.db, i, path);
        s->bytes[i] = read_all(path, &s->size[i]);
    }
    s->state = h->state;
}

void disk_remove(struct host *h) {
    static const char *const ends[] = {"", "-wal", "-shm", ".holdfast-new"};
    char path[120];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s%s", h->m.db, ends[i]);
        unlink(path);
    }
}

void disk_put_back(struct host *h, const struct saved *s, bool same_file) {
    char path[100];
    if (!same_file) disk_remove(h);
    for (int i = 0; i < 2; i++) {
        path_of(h->m.db, i, path);
        if (!s->bytes[i]) {
            unlink(path);
            continue;
        }
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ENSURE(fd >= 0 && write(fd, s->bytes[i], s->size[i]) == (ssize_t)s->size[i]);
        close(fd);
    }
    snprintf(path, sizeof path, "%s-shm", h->m.db);
    unlink(path);
    h->state = s->state;
}

void note_opened(struct host *h) {
    struct walindex_header now;
    h->seen_count = 0;
    if (header_of(h, &now)) note_seen(h, &now);
}

/* As after a boot. */
void disk_boots(struct host *h) {
    char path[400];
    DIR *d = opendir(h->m.run_dir);
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", h->m.run_dir, entry->d_name);
        unlink(path);
    }
    if (d) closedir(d);
}
