/* Holdfast: SQLite as the main database of a service.
 *
 *     static int add(hf_tx *tx, void *arg) {
 *         return hf_run(tx, "INSERT INTO node(name, ip) VALUES (?, ?)", "ss", "n1", "10.0.0.1");
 *     }
 *     hf_store *s;
 *     hf_store_options o = {.size = sizeof o, .noise = "", .main_schema = "CREATE TABLE IF NOT ..."};
 *     if (hf_store_open("app.db", &o, &s) != HF_OK) puts(hf_errmsg());
 *     hf_store_replicate(s, (const char *[]){"s3://bucket/app", NULL}, NULL);
 *     if (hf_write(s, HF_MAIN, "add node", add, NULL) == HF_OK && hf_wait(s, NULL, NULL) == HF_OK)
 *         ... answer: the loss of this machine no longer loses the node
 *     hf_store_close(s);
 *
 * Results. Every function that can fail returns an int: HF_OK (0), or one of the codes below;
 * hf_errmsg() then has the words, for this thread. Out-parameters are untouched on failure. The
 * library never prints, exits or aborts on input.
 *
 * Threads. A store and a source may be used from any thread at once. A transaction belongs to the
 * thread that began it. No handle may be used after fork() in the child: HF_USAGE; nor may the
 * child open a file that was open when it was forked, as SQLite's record of its locks is the
 * parent's. A child of a process with threads, and replication is one, should exec: one of them may
 * have held a mutex of SQLite's, which nobody gives back in the child.
 *
 * Ownership. Text that is passed in is copied if it is kept. What a function returns by `char **`
 * is the caller's, to be freed with hf_free. Statements belong to their transaction.
 *
 * Options. Every struct of options begins with its own size, so that programs built against an
 * older header go on working; zero means the default, and NULL in place of a struct means all
 * defaults. Durations are in milliseconds unless their name ends otherwise.
 *
 * Sources: docs/tuning.md for the settings and what each was measured to give; docs/format.md for
 * the bytes of a replica; docs/design.md for the reasons.
 */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HF_API __attribute__((visibility("default")))
#else
#define HF_API
#endif

struct sqlite3;
struct sqlite3_stmt;

/* ---- results ---- */

enum hf_code {
    HF_OK = 0,
    HF_RETRY,   /* passing fault: the same call may succeed later */
    HF_TIMEOUT, /* a deadline passed; of hf_wait: the commit stands here, elsewhere it is unknown */
    HF_BUSY,    /* somebody else holds it */
    HF_NOTFOUND,  /* no such key, file, index, position or destination */
    HF_CORRUPT,   /* bytes are not what they must be */
    HF_CONFLICT,  /* a constraint; a comparison that did not hold; two that disagree */
    HF_FENCED,    /* another writer took over the replica: stop writing */
    HF_BEHIND,    /* the local database lacks what its replica has */
    HF_FULL,      /* no space */
    HF_CANCELLED, /* what was waited for ended */
    HF_USAGE,     /* called in a wrong way; the words say what to do instead */
    HF_NOMEM,
    HF_IO,       /* the system refused */
    HF_UNFIT,    /* this library, SQLite or object store lacks what is needed here */
    HF_ROW = 100 /* hf_step: there is a row */
};

HF_API const char *hf_version(void);
HF_API const char *hf_strcode(int code); /* "timeout" */
/* What the last failed call of this thread had to say: one line, valid until its next call. */
HF_API const char *hf_errmsg(void);
HF_API void hf_free(void *); /* what a function here returned; NULL is fine */

/* ---- a store: main, and noise beside it ---- */

typedef struct hf_store hf_store;
typedef struct hf_tx hf_tx;

enum hf_scope {
    HF_READ = 0,
    HF_MAIN = 1,  /* write the main database */
    HF_NOISE = 2, /* write noise alone: main's lock is not touched, nothing is uploaded */
    /* Both; main is locked first, and committed first. If noise's part then cannot be written (no
     * space), main's stands: HF_OK, and the event "noise.lost". */
    HF_BOTH = 3
};

enum hf_sync {
    HF_SYNC_DEFAULT = 0, /* main: normal; noise: off */
    HF_SYNC_OFF,         /* a power cut may corrupt the file */
    HF_SYNC_NORMAL,      /* a power cut may lose the last commits; hf_wait covers those */
    HF_SYNC_FULL         /* a commit is on the disk when it returns */
};

/* One transaction that has ended, for a trace. */
typedef struct hf_trace {
    const char *why;
    int scope, code;   /* enum hf_scope; what it ended with */
    int64_t wait_ns;   /* for other writers */
    int64_t run_ns;    /* from its begin to its commit */
    int64_t commit_ns; /* the commit itself */
} hf_trace;

typedef struct hf_store_options {
    size_t size;
    const char *noise; /* NULL: none; "": beside main, app.db -> app-noise.db; or a path */
    /* Keys of the key-value table that live in noise: NULL-terminated prefixes. The others live in
     * main. Keys that main has from before under such a prefix are told at open: "kv.misplaced". */
    const char *const *noise_prefixes;
    /* SQL, run at each open in one transaction: CREATE TABLE IF NOT EXISTS and the like. A noise
     * file that was lost or damaged is made anew, and gets its tables from here. */
    const char *main_schema, *noise_schema;
    int main_sync, noise_sync; /* enum hf_sync */
    int readers;               /* connections that may read at once: 16 */
    int64_t timeout_ms;        /* how long a transaction waits for locks: 10000 */
    int64_t cache_kib;         /* page cache of a connection: 8192 */
    /* What happened, for a log: a name ("noise.recreated"), then `count` texts, keys and values in
     * turn. Called on any thread, never under a lock. */
    void (*event)(void *arg, const char *name, const char *const *pairs, int count);
    void *event_arg;
    void (*trace)(void *arg, const hf_trace *); /* on the thread of the transaction */
    void *trace_arg;
} hf_store_options;

/* Opens main, making it if it is not there, and noise. Each connection of the store is in WAL mode,
 * with foreign keys on, defensive, and without memory-mapped reads.
 * HF_UNFIT: written by a newer library. HF_CORRUPT: main is not a database. HF_USAGE: a path or an
 * option that cannot be. HF_NOTFOUND: its directory is not there. HF_IO: no permission, a read-only
 * directory. HF_BUSY: noise is damaged, and another process has it open. HF_FULL.
 * A noise file that was lost or damaged is made anew: the event "noise.recreated" has the reason,
 * and what was there is kept beside it as .damaged-1, -2, ... */
HF_API int hf_store_open(const char *path, const hf_store_options *, hf_store **out);
/* For tests: a private store in a directory of its own, in memory where there is a tmpfs, removed
 * at close. The same code, files and locks as any store. */
HF_API int hf_store_open_temp(const hf_store_options *, hf_store **out);
/* Ships what is left (hf_replicate_options.drain_ms), ends watches and closes. HF_BUSY: a
 * transaction is open, and named; HF_USAGE: called by a callback of a watch or of the
 * replication. The store then stays open; else it is gone, whatever is returned: what ended its
 * replication, or HF_TIMEOUT, not all was shipped. Those in hf_wait are told that it ended; no
 * other call on the store may be under way, or begin. NULL is fine. */
HF_API int hf_store_close(hf_store *);
HF_API const char *hf_store_path(const hf_store *);

/* ---- transactions ---- */

/* Runs fn in a transaction that holds the write lock of its scope from its begin (BEGIN IMMEDIATE):
 * nothing in it fails for a lock. Commits if fn returns 0, else rolls back and returns what fn
 * returned. Writers of a process are served in the order in which they came. `why` labels it, in
 * hf_stats, traces and errors ("add node"): a literal, of few kinds. HF_TIMEOUT: the lock was not
 * had in time; the words name its holder. HF_USAGE: this thread is in a transaction of this store
 * already; or the store has no noise. */
HF_API int hf_write(hf_store *, int scope, const char *why, int (*fn)(hf_tx *, void *arg),
                    void *arg);
/* Runs fn in a read transaction: one snapshot of each file, of main and noise. */
HF_API int hf_read(hf_store *, const char *why, int (*fn)(hf_tx *, void *arg), void *arg);

/* The same in pieces. Each begin has its end on the same thread; both ends take the transaction,
 * also when they fail: then nothing was committed. */
HF_API int hf_begin(hf_store *, int scope, const char *why, hf_tx **out);
HF_API int hf_commit(hf_tx *);
HF_API void hf_rollback(hf_tx *);

/* SQL in a transaction. Tables of noise are named noise.x. `types` has a letter for each parameter
 * that follows: i int64_t, d double, s const char * (NULL: null), b const void * and size_t, n
 * nothing (null). BEGIN, COMMIT, ATTACH and the like are refused: the transaction is the
 * store's. */
HF_API int hf_exec(hf_tx *, const char *sql); /* statements; rows are dropped */
HF_API int hf_run(hf_tx *, const char *sql, const char *types, ...); /* one statement, no rows */
/* A statement with its parameters bound, for hf_step. It is kept prepared; it is the store's, is
 * reset at its last row or the transaction's end, and is used once at a time. */
HF_API int hf_query(hf_tx *, struct sqlite3_stmt **out, const char *sql, const char *types, ...);
HF_API int hf_step(hf_tx *, struct sqlite3_stmt *); /* HF_ROW, then HF_OK at the end */
HF_API int64_t hf_changes(hf_tx *);                 /* rows of the last INSERT, UPDATE or DELETE */
/* The connection, for what is not here. Its transaction is not yours to end. */
HF_API struct sqlite3 *hf_sqlite(hf_tx *);

/* ---- figures ---- */

/* Of the transactions with one label. */
typedef struct hf_stat {
    const char *why; /* valid in the call */
    int scope;
    uint64_t count, failed;                        /* failed: rolled back, timed out */
    int64_t wait_p50_ns, wait_p99_ns, wait_max_ns; /* within 1/8 of the true value; max exact */
    int64_t run_p50_ns, run_p99_ns, run_max_ns;
} hf_stat;
HF_API int hf_stats(hf_store *, void (*each)(void *arg, const hf_stat *), void *arg);

/* ---- replication in the process, and the barrier ---- */

typedef struct hf_source hf_source;

/* A place in the history of main's commits. Opaque; all zero: everything committed until now. */
typedef struct hf_place {
    uint32_t v[4];
} hf_place;

typedef struct hf_replicate_options {
    size_t size;
    int64_t interval_ms;       /* under steady writes at most one shipment per this: 1000 */
    uint32_t checkpoint_pages; /* length of the log at which it is checkpointed: 1000 */
    int64_t level_ms[4];       /* [1..3]: how often levels are compacted: 30 s, 5 min, 1 h */
    int64_t snapshot_ms;       /* 24 h */
    int64_t keep_level0_ms, keep_snapshots_ms; /* 5 min, 24 h */
    int64_t verify_ms; /* how often the replica is proven: 24 h; negative: never */
    int64_t start_ms;  /* how long a start waits for silent destinations: 10000 */
    int64_t drain_ms;  /* at the end, how long to ship what is left: 30000 */
    int unfenced, take_over, adopt_local; /* as the options of `holdfast replicate` */
    int socket; /* 1: answer on the Unix socket of the database, as the command does */
    void (*event)(void *arg, const char *name, const char *const *pairs, int count);
    void *event_arg;
} hf_replicate_options;

/* Streams each commit of main to every URL (directories, s3://; NULL-terminated), on a thread of
 * its own, for as long as the store is open. Returns when each destination was found to be
 * continuable or did not answer for start_ms: those are tried again. HF_BEHIND, HF_CONFLICT: the
 * local file is older than the replica, or another's; the words name the command that goes on;
 * nothing was shipped. HF_BUSY: it is replicated already, and by whom. */
HF_API int hf_store_replicate(hf_store *, const char *const *urls, const hf_replicate_options *);

/* The same for a database whose connections are the application's own. No hook is set on `db`, and
 * no descriptor opened on its files; `db` is only asked for its path, and need not stay open.
 * HF_USAGE: a database in memory, or a connection of another copy of SQLite than the library's. */
HF_API int hf_attach(struct sqlite3 *db, const char *const *urls, const hf_replicate_options *,
                     hf_source **out);
/* Ships what is left, ends the thread and takes the handle, also when it fails. HF_TIMEOUT: not all
 * was shipped within drain_ms; else what had ended the run before. HF_USAGE: the run of a store,
 * which keeps it. NULL is fine. */
HF_API int hf_detach(hf_source *);
HF_API hf_source *hf_store_source(hf_store *); /* NULL: it is not replicated. Not to be detached. */

/* For a second door into the process, like the extension of SQLite: the run here that replicates
 * this file, to be waited on. HF_NOTFOUND: none does. It is released, not detached; until then it
 * stays valid, whoever ends the run meanwhile: waits then say HF_CANCELLED. */
HF_API int hf_source_find(const char *path, hf_source **out);
HF_API void hf_source_release(hf_source *); /* NULL is fine */

/* Before a first open: if there is no file at `path`, or an empty one, the newest state of these
 * replicas. *restored is 1 if it was restored, 0 if the file is there or no replica holds a backup.
 * What this process restored goes on as the writer of its replica: take_over need not be set.
 * HF_TIMEOUT: one that may alone hold a backup did not answer within start_ms. HF_CONFLICT: the
 * -wal, -shm or -journal of a file that is gone lies there, and is named: move it away. */
HF_API int hf_restore_if_missing(const char *path, const char *const *urls,
                                 const hf_replicate_options *, int *restored);

/* *out is filled when this transaction commits, and must live until then. Of a transaction that
 * does not write main: a place that is always safe. */
HF_API int hf_position(hf_tx *, hf_place *out);
/* Of everything committed so far on a connection of the application's. */
HF_API int hf_position_of(struct sqlite3 *, hf_place *out);

typedef struct hf_wait_options {
    size_t size;
    int64_t timeout_ms;      /* 30000; negative: for ever */
    const char *destination; /* NULL: all of them; "any": one of them; or its URL, as it
                                was given or as hf_source_status has it */
    int flush; /* 1: begin a shipment now, or right after the one on its way; else ride the next */
} hf_wait_options;

/* Returns HF_OK when everything up to the place (NULL: committed until now) is acknowledged by the
 * destinations: it survives the loss of the machine at the next instruction. A thousand that wait
 * cost one upload. HF_TIMEOUT, HF_FENCED, HF_CANCELLED (replication ended), HF_NOTFOUND (a place of
 * another run; a destination that is none). HF_USAGE: inside of a transaction; or nothing is
 * replicated. */
HF_API int hf_wait(hf_store *, const hf_place *, const hf_wait_options *);
HF_API int hf_source_wait(hf_source *, const hf_place *, const hf_wait_options *);
/* The same without waiting: `done` is called once, on a thread of the library's, and must not
 * block; `words` are valid in the call. Not called if this returns an error. */
typedef void hf_done(void *arg, int code, const char *words);
HF_API int hf_wait_async(hf_store *, const hf_place *, const hf_wait_options *, hf_done *,
                         void *arg);
HF_API int hf_source_wait_async(hf_source *, const hf_place *, const hf_wait_options *, hf_done *,
                                void *arg);
/* One object of JSON: the database, its position, and for each destination its state, what it lacks
 * and its last error (docs: man 3 holdfast). The caller's, to be freed. */
HF_API int hf_source_status(hf_source *, char **json);

/* ---- keys and values ---- */

/* The table is DBX(Key TEXT PRIMARY KEY, Value TEXT), in main, and in noise if there is one: plain
 * SQL may read and write it, and counts. Keys are UTF-8 without NUL, of 1 to 4096 bytes. A row
 * whose Value is NULL counts as none. HF_UNFIT: DBX was made otherwise, or the database is in
 * UTF-16. */

enum hf_type { HF_NULL, HF_JSON, HF_TEXT, HF_BLOB, HF_INT, HF_REAL };
typedef struct hf_value {
    int type; /* enum hf_type */
    const void *data;
    size_t bytes;
    int64_t i;
    double r;
} hf_value;
HF_API hf_value hf_json(const char *); /* views: they keep the pointer */
HF_API hf_value hf_text(const char *);
HF_API hf_value hf_blob(const void *, size_t);
HF_API hf_value hf_int(int64_t); /* these two for hf_kv_find: a number is put as hf_json */
HF_API hf_value hf_real(double);

/* In a transaction whose scope includes the key's file (HF_READ reads both; HF_USAGE otherwise). */
HF_API int hf_kv_get(hf_tx *, const char *key, char **value,
                     size_t *bytes); /* NUL after; HF_NOTFOUND */
/* hf_json values are checked (HF_USAGE: not JSON); HF_TEXT, which is UTF-8, and HF_BLOB are stored
 * as they are. HF_CONFLICT: a unique index has another key with the same. */
HF_API int hf_kv_put(hf_tx *, const char *key, hf_value);
HF_API int hf_kv_delete(hf_tx *, const char *key); /* HF_NOTFOUND */
/* Puts only if the value now is `expected`, byte for byte; NULL: if there is none. HF_CONFLICT. */
HF_API int hf_kv_swap(hf_tx *, const char *key, const hf_value *expected, hf_value);

typedef struct hf_pair {
    const char *key; /* views, valid in the call */
    const char *value;
    size_t bytes;
} hf_pair;
typedef int hf_each(void *arg, const hf_pair *); /* not 0: stop, and return that */
typedef struct hf_scan {
    size_t size;
    const char *prefix; /* NULL: all of main */
    const char *after;  /* a cursor: keys greater than this one; NULL: from the first */
    int64_t limit;      /* 0: none */
} hf_scan;
/* In the order of their bytes. The function may read and write, also by a scan of its own; whether
 * the scan comes by a key that was put meanwhile is open. HF_USAGE: a prefix with keys in both
 * files. HF_CORRUPT: a key with a NUL, which only plain SQL can put. */
HF_API int hf_kv_scan(hf_tx *, const hf_scan *, hf_each *, void *arg);

enum hf_index_flags {
    HF_UNIQUE = 1, /* two values under the prefix cannot have the same; nulls can */
    HF_ABSENT = 2  /* make it although no value that is there has this path */
};
/* Declares an index over the values under a prefix, by a path in them ("$.user.id"); builds it if
 * it is not there, in one write transaction. Values that are not JSON are left out, and can still
 * be put. That a query uses it is proven with EXPLAIN QUERY PLAN, now and at each open.
 * One that no query can use any more is told by the event "kv.index_unused"; hf_kv_find refuses it
 * (HF_UNFIT), and declaring it again makes it anew. HF_NOTFOUND: values are there, and none has the
 * path. HF_CONFLICT: unique, and two are the same; or it is there, and not as unique as declared.
 * HF_USAGE: not a path; a prefix with keys in both files. */
HF_API int hf_kv_index(hf_store *, const char *prefix, const char *path, int flags);
HF_API int hf_kv_unindex(hf_store *, const char *prefix, const char *path); /* HF_NOTFOUND */
typedef struct hf_find {
    size_t size;
    const char *prefix, *path; /* as declared; HF_NOTFOUND: they were not */
    hf_value equals;           /* HF_TEXT, HF_INT or HF_REAL; of JSON's true and false: 1 and 0 */
    int64_t limit;
} hf_find;
/* In no promised order. Never scans: HF_NOTFOUND, HF_UNFIT instead. */
HF_API int hf_kv_find(hf_tx *, const hf_find *, hf_each *, void *arg);

/* One key, one transaction of its own. */
HF_API int hf_get(hf_store *, const char *key, char **value, size_t *bytes);
HF_API int hf_put(hf_store *, const char *key, hf_value);
HF_API int hf_delete(hf_store *, const char *key);

typedef struct hf_watch hf_watch;
typedef struct hf_change {
    const char *key;
    const char *value; /* NULL: deleted */
    size_t bytes;
    uint64_t commit; /* changes of one transaction share it; it grows in commit order */
} hf_change;
/* Calls fn for each change under a prefix (NULL: all of main) that this store commits from now on,
 * by these functions or by SQL, in commit order, on one thread of the library's; fn may read and
 * write the store, and stop watches. A transaction's change of a key is one, with the value that it
 * left. Writers wait, holding no lock, when a watcher is more than 100,000 changes or 64 MiB
 * behind, but for no longer than timeout_ms (event "kv.watch_behind"). Begins between two
 * transactions: HF_TIMEOUT, and HF_USAGE within one. A watch ends with its store. */
HF_API int hf_kv_watch(hf_store *, const char *prefix, void (*fn)(void *arg, const hf_change *),
                       void *arg, hf_watch **out);
/* When it returns, fn is not running and never will be; so not in a transaction, for which fn may
 * wait. A callback may stop its own watch. */
HF_API void hf_watch_stop(hf_watch *);

typedef struct hf_transfer {
    size_t size;
    const char *prefix; /* export: only these, with it; import: put before each key */
    int replace; /* import: delete what is there first; else a key that is there is an error */
    int text;    /* import: strings become text values; else every value is kept as JSON */
    void (*progress)(void *arg, uint64_t bytes, uint64_t of_bytes, uint64_t keys);
    void *progress_arg;
} hf_transfer;
/* A file that is one object of JSON, each member a key. In one transaction, in constant memory: all
 * of it or nothing; other writers wait meanwhile. HF_CORRUPT: not such a file; the words give the
 * byte. HF_CONFLICT: a key is twice in it, or there already. */
HF_API int hf_kv_import(hf_store *, const char *file, const hf_transfer *);
/* A file that must not exist (HF_CONFLICT): a line for each key, of main and noise, in order; JSON
 * as it is, other text as a string. HF_USAGE: a value is a blob, and named. */
HF_API int hf_kv_export(hf_store *, const char *file, const hf_transfer *);

/* ---- the schema: versioned migrations ---- */

/* A migration is a text of SQL with a version in its name (docs/schema.md): expand, sync, backfill
 * and verify while old programs go on; contract when they are gone. A step and its row of history
 * are one transaction. A program carries its migrations in an array, or reads a directory. */
typedef struct hf_migration {
    const char *name; /* "20260901120000_split_name"; of noise: "noise/20260901130000_seen" */
    const char *sql;
} hf_migration;

typedef struct hf_schema hf_schema;

typedef struct hf_schema_options {
    size_t size;
    const char *dir;                /* the migrations: files in a directory, */
    const hf_migration *migrations; /* or an array, ended by a name that is NULL */
    const char *app;    /* how this program is called to others: "control 41"; NULL: its own name */
    int64_t timeout_ms; /* how long to wait for others that change the schema: 10 min */
    int64_t lock_ms;    /* for the database's write lock: 10 s */
    int64_t target_ms;  /* how long a batch of a backfill should hold the write lock: 5 */
    int64_t wait_ms;    /* for a restore point to be safe elsewhere: 60 s */
    void (*event)(void *arg, const char *name, const char *const *pairs, int count);
    void *event_arg;
} hf_schema_options;

/* Of a database by its path, or of a store, whose files are then those. Nothing is written.
 * `noise`: NULL: none; HF_NOTFOUND: no database. HF_CORRUPT: a migration cannot be read: file and
 * line. HF_USAGE: migrations of noise, and no noise. A store must outlive its handle. */
HF_API int hf_schema_open(const char *path, const char *noise, const hf_schema_options *,
                          hf_schema **out);
HF_API int hf_schema_of(hf_store *, const hf_schema_options *, hf_schema **out);
HF_API void hf_schema_close(hf_schema *); /* NULL is fine */

/* From now until the close this program counts as a client that knows the newest of its migrations
 * (none yet: an array that is empty): no contract of a newer one passes meanwhile. HF_UNFIT: the
 * schema is newer than this program may write. Where the handle is of a store each write
 * transaction asks that again. One row is written, in noise where there is one. */
HF_API int hf_schema_join(hf_schema *);

typedef struct hf_schema_run {
    size_t size;
    const char *phase;      /* how far: "expand", "sync", "backfill", "verify"; NULL: all */
    int64_t version;        /* up to, or of, this one; 0: all, or the newest */
    int no_restore_point;   /* 1: do without; else one is made where the database is replicated */
    int need_restore_point; /* 1: HF_NOTFOUND where it is not */
    int accept_lossy;       /* 1: a down that loses data */
    int assume_gone;  /* 1: contract though older programs live; their writes are refused then */
    int no_soak;      /* 1: contract before its soak time */
    int discard;      /* undo: 1: lose the commits made since */
    const char *from; /* rehearse: "replica", "live", or a replica's URL; undo: a URL; NULL: the
                            replica where there is one */
    const char *keep; /* rehearse: a directory in which the copies stay; NULL: they are removed */
} hf_schema_run;

/* Each gives one object of JSON, to be freed with hf_free; docs/schema.md 6 has their members.
 * `json` may be NULL.
 *
 * Applies what is not applied, in order. One process does, and others wait for it. HF_OK though a
 * contract waits: "waits" says for what. HF_CONFLICT: a file was edited, is missing or out of
 * order; a verification failed; rows would lose their parents. HF_UNFIT: the database is newer than
 * this program. HF_TIMEOUT, HF_FULL, ... : the database is as it was before the step that
 * failed. */
HF_API int hf_schema_apply(hf_schema *, const hf_schema_run *, char **json);
HF_API int hf_schema_revert(hf_schema *, const hf_schema_run *, char **json); /* before contract */
HF_API int hf_schema_down(hf_schema *, const hf_schema_run *, char **json);   /* after it */
HF_API int hf_schema_undo(hf_schema *, const hf_schema_run *, char **json); /* the restore point */
HF_API int hf_schema_baseline(hf_schema *, const hf_schema_run *, char **json);
HF_API int hf_schema_rehearse(hf_schema *, const hf_schema_run *, char **json);
HF_API int hf_schema_status(hf_schema *, char **json);
HF_API int hf_schema_history(hf_schema *, char **json);
HF_API int hf_schema_plan(hf_schema *, char **json);
/* HF_CONFLICT: it differs; json has in what. HF_CORRUPT: the files do not run on an empty
 * database. */
HF_API int hf_schema_drift(hf_schema *, char **json);
HF_API int hf_schema_clients(hf_schema *, char **json);
HF_API int hf_schema_lint(hf_schema *, char **json); /* HF_CORRUPT: errors; json has them */

/* ---- for tests ---- */

/* A destination and a clock that do as they are told. */
typedef struct hf_fake hf_fake;
HF_API int hf_fake_new(hf_fake **out);
HF_API void hf_fake_free(hf_fake *);             /* after the stores that use it */
HF_API const char *hf_fake_url(const hf_fake *); /* for hf_store_replicate; valid in this process */
enum hf_fault {
    HF_FAULT_NONE,
    HF_FAULT_REFUSE, /* nothing is stored, and it says so (503) */
    HF_FAULT_LOST    /* it is stored, and the reply is lost */
};
/* The next shipments, which hf_fake_puts counts; times -1: until told otherwise. */
HF_API void hf_fake_fail(hf_fake *, int fault, int times);
HF_API void hf_fake_slow(hf_fake *, int64_t ms); /* each request takes this long */
HF_API void hf_fake_fence(hf_fake *);            /* another writer takes the next slot */
HF_API uint64_t hf_fake_puts(const hf_fake *);   /* that it was asked for, level 0 only */
/* From now on time stands still for what is replicated to it, until it is moved. */
HF_API void hf_fake_stop_clock(hf_fake *);
HF_API void hf_fake_advance(hf_fake *, int64_t ms);

#ifdef __cplusplus
}
#endif
#endif
