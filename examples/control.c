/* A small coordination service on Holdfast: machines register here and find each other. An example
 * to be read from top to bottom, and to begin a service of one's own with.
 *
 *     cc -o control control.c http.c $(pkg-config --cflags --libs holdfast libmicrohttpd jansson sqlite3)
 *     ./control control.db 8080 s3://bucket/control
 *
 *     POST   /node    {"name": "n1", "ip": "10.0.0.1", "user": "ada"}     201
 *     GET    /node?ip=10.0.0.1                                            200 [{"ip": ...}]
 *     DELETE /node?name=n1                                                204, its keys go with it
 *     POST   /seen    {"node": "n1", "rx": 100, "tx": 20}                 204
 *     GET    /stats                                                       200 {"records": ...}
 *
 * Records (keys, policies) are JSON in the key-value table of the main database, under KIND/ID.
 * Nodes have been that, too, and have become rows of a table while the service ran: see RELEASE.
 * What may be lost (when a node was last seen, what it sent) is a table of noise, which is never
 * uploaded: after a restore it begins empty.
 *
 * Why each answer to a change waits, a refusal too: it says what is in the database, and somebody
 * will rely on that. By then it is at the destinations, and the machine may burn at the next
 * instruction. Whoever got no answer sends the request again: the same record twice is one record.
 */
#include "control_schema.h"
#include "http.h"

#include <holdfast.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID_MAX 200
#define KEY_MAX (ID_MAX + 50)
#define PAGE 1000      /* records in an answer */
#define BAD_REQUEST -1 /* beside the codes of holdfast.h */
#define COUNT(array) (int)(sizeof(array) / sizeof(array)[0])

/* How the nodes came to be a table: three releases after one that knew only keys, each with the
 * migration of its number. A new one is started beside the old one, on the same database, and then
 * that one is ended; so each must bear what the releases beside it write.
 *
 *     0  nodes are keys
 *     1  the same; triggers keep a table of them, which SQL may read
 *     2  nodes are rows; triggers keep the keys, for a release 1 that still runs
 *     3  the same; the keys are deleted, once nobody runs that would write them
 */
#ifndef RELEASE
#define RELEASE 3
#endif

static hf_store *store;
static hf_schema *schema;

struct request {
    struct http *http;
    const struct route *route;
    const struct kind *kind; /* of /KIND; else NULL */
    hf_tx *tx;
};

/* ---- records ---- */

static const struct kind {
    const char *prefix;
    const char *id; /* the field that names a record */
    int of_node;    /* its field "node" names the one that it belongs to, and is deleted with */
    struct {
        const char *path;
        int flags;
    } index[3]; /* each is a field that GET /KIND?FIELD=VALUE finds by */
} kinds[] = {
    {"node/", "name", 0, {{"$.ip", HF_UNIQUE}, {"$.user", 0}}},
    {"key/", "id", 1, {{"$.node", 0}}},
    {"policy/", "name", 0, {{"$.user", 0}}},
};

__attribute__((format(printf, 3, 4))) static int refuse(struct request *r, int code,
                                                        const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(r->http->error, sizeof r->http->error, format, args);
    va_end(args);
    return code;
}

static const char *text_of(const json_t *object, const char *field) {
    return json_string_value(json_object_get(object, field));
}

/* PREFIX and ID, if that is a name that can be: printable, and of one part. */
static int make_key(struct request *r, char key[KEY_MAX], const char *prefix, const char *id) {
    size_t length = id ? strlen(id) : 0;
    int good = length > 0 && length <= ID_MAX && !strchr(id, '/');
    for (size_t i = 0; i < length; i++) good &= id[i] > ' ' && id[i] < 0x7f;
    if (!good)
        return refuse(r, BAD_REQUEST, "%s: a name is 1 to %d printable characters", prefix, ID_MAX);
    snprintf(key, KEY_MAX, "%s%s", prefix, id);
    return HF_OK;
}

/* Called for each record that is found. */
static int add_record(void *arg, const hf_pair *p) {
    struct request *r = arg;
    json_t *record = json_loadb(p->value, p->bytes, 0, NULL);
    return json_array_append_new(r->http->out, record) == 0 ? HF_OK : HF_NOMEM;
}

static int add_by_id(struct request *r, const char *prefix, const char *id) {
    char key[KEY_MAX], *value;
    size_t bytes;
    int code = make_key(r, key, prefix, id);
    if (!code) code = hf_kv_get(r->tx, key, &value, &bytes);
    if (code) return code;
    code = add_record(r, &(hf_pair){key, value, bytes});
    hf_free(value);
    return code;
}

static int add_by_field(struct request *r, const char *prefix, const char *path,
                        const char *value) {
    hf_find find = {sizeof find, prefix, path, hf_text(value), PAGE};
    return hf_kv_find(r->tx, &find, add_record, r);
}

/* ---- nodes as rows ---- */

#define IS_ROWS(kind) (RELEASE >= 2 && (kind) == &kinds[0])
#define NODE "SELECT v.kv_value FROM main.node JOIN main.node_value AS v USING (name) "

static int add_nodes(struct request *r, json_t *out, const char *sql, const char *value) {
    sqlite3_stmt *row;
    int code = hf_query(r->tx, &row, sql, value ? "s" : "", value);
    while (!code && (code = hf_step(r->tx, row)) == HF_ROW) {
        json_t *node = json_loads((const char *)sqlite3_column_text(row, 0), 0, NULL);
        code = json_array_append_new(out, node) == 0 ? HF_OK : HF_NOMEM;
    }
    return code;
}

/* Into `out`; there is one, or none. */
static int find_node(struct request *r, json_t *out, const char *name) {
    char key[KEY_MAX];
    int code = make_key(r, key, "node/", name);
    if (!code) code = add_nodes(r, out, NODE "WHERE node.name = ?", name);
    if (code || json_array_size(out)) return code;
    return refuse(r, HF_NOTFOUND, "there is no %s", key);
}

static int get_nodes(struct request *r) {
    const char *field = r->http->field, *value = r->http->value;
    if (!field) return add_nodes(r, r->http->out, NODE "ORDER BY node.name LIMIT 1000", NULL);
    if (strcmp(field, "name") == 0) return find_node(r, r->http->out, value);
    if (strcmp(field, "ip") == 0)
        return add_nodes(r, r->http->out, NODE "WHERE node.ip = ?", value);
    if (strcmp(field, "user") == 0)
        return add_nodes(r, r->http->out, NODE "WHERE node.user = ? LIMIT 1000", value);
    return refuse(r, BAD_REQUEST, "there is no index on '%.50s'", field);
}

/* Two members have columns; what else a node says of itself is kept as JSON. */
static int insert_node(struct request *r) {
    static const char *const columns[] = {"ip", "user"};
    json_t *rest = json_copy(r->http->in);
    int code = HF_OK;
    for (int i = 0; i < COUNT(columns); i++) {
        const json_t *member = json_object_get(rest, columns[i]);
        if (json_is_string(member)) json_object_del(rest, columns[i]);
        else if (member && !json_is_null(member))
            code = refuse(r, BAD_REQUEST, "%s: not a text", columns[i]);
    }
    char *extra = json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS);
    if (!code)
        code = extra ? hf_run(r->tx,
                              "INSERT INTO main.node(name, ip, user, extra) VALUES (?, ?, ?, ?)",
                              "ssss", text_of(r->http->in, "name"), text_of(r->http->in, "ip"),
                              text_of(r->http->in, "user"), extra)
                     : HF_NOMEM;
    free(extra);
    json_decref(rest);
    return code;
}

static int put_node(struct request *r) {
    json_t *there = json_array();
    int code = find_node(r, there, text_of(r->http->in, "name"));
    if (code == HF_NOTFOUND) {
        r->http->error[0] = 0;
        code = insert_node(r);
    } else if (!code && !json_equal(json_array_get(there, 0), r->http->in))
        code =
            refuse(r, HF_CONFLICT, "node/%s is there, and differs", text_of(r->http->in, "name"));
    json_decref(there);
    return code;
}

static int delete_node(struct request *r) {
    int code = hf_run(r->tx, "DELETE FROM main.node WHERE name = ?", "s", r->http->value);
    return code || hf_changes(r->tx)
               ? code
               : refuse(r, HF_NOTFOUND, "there is no node/%s", r->http->value);
}

/* ---- requests: each runs in a transaction of its route's scope, which commits if it is 0 ---- */

static int get_records(struct request *r) {
    hf_scan all = {.size = sizeof all, .prefix = r->kind->prefix, .limit = PAGE};
    r->http->out = json_array();
    if (IS_ROWS(r->kind)) return get_nodes(r);
    if (!r->http->field) return hf_kv_scan(r->tx, &all, add_record, r);
    if (strcmp(r->http->field, r->kind->id) == 0)
        return add_by_id(r, r->kind->prefix, r->http->value);
    for (int i = 0; i < COUNT(r->kind->index) && r->kind->index[i].path; i++)
        if (strcmp(r->http->field, r->kind->index[i].path + 2) == 0)
            return add_by_field(r, r->kind->prefix, r->kind->index[i].path, r->http->value);
    return refuse(r, BAD_REQUEST, "there is no index on '%.50s'", r->http->field);
}

static int node_exists(struct request *r, const char *name) {
    char key[KEY_MAX], *value = NULL;
    size_t bytes;
    json_t *there = json_array();
    int code = make_key(r, key, "node/", name);
    if (!code && RELEASE >= 2) code = find_node(r, there, name);
    else if (!code) code = hf_kv_get(r->tx, key, &value, &bytes);
    hf_free(value);
    json_decref(there);
    return code == HF_NOTFOUND ? refuse(r, code, "there is no %s", key) : code;
}

/* What is there already is not overwritten; the same again is fine. */
static int put_once(struct request *r, const char *key, const char *text) {
    char *there;
    size_t bytes;
    int code = hf_kv_get(r->tx, key, &there, &bytes);
    if (code == HF_NOTFOUND) return hf_kv_put(r->tx, key, hf_json(text));
    if (code) return code;
    if (strcmp(there, text) != 0) code = refuse(r, HF_CONFLICT, "%s is there, and differs", key);
    hf_free(there);
    return code;
}

static int put_record(struct request *r) {
    char key[KEY_MAX];
    int code = make_key(r, key, r->kind->prefix, text_of(r->http->in, r->kind->id));
    if (!code && r->kind->of_node) code = node_exists(r, text_of(r->http->in, "node"));
    if (code) return code;
    r->http->out = json_incref(r->http->in);
    if (IS_ROWS(r->kind)) return put_node(r);
    char *text = json_dumps(r->http->in, JSON_COMPACT | JSON_SORT_KEYS);
    code = text ? put_once(r, key, text) : HF_NOMEM;
    free(text);
    return code;
}

/* The keys and values are a table: SQL may change it, too. */
static int delete_record(struct request *r) {
    char key[KEY_MAX];
    if (!r->http->field || strcmp(r->http->field, r->kind->id) != 0)
        return refuse(r, BAD_REQUEST, "say which one: ?%s=", r->kind->id);
    int code = make_key(r, key, r->kind->prefix, r->http->value);
    if (!code) code = IS_ROWS(r->kind) ? delete_node(r) : hf_kv_delete(r->tx, key);
    for (int i = 0; !code && r->kind == &kinds[0] && i < COUNT(kinds); i++)
        if (kinds[i].of_node)
            code = hf_run(r->tx,
                          "DELETE FROM main.DBX WHERE Key > ?1 AND Key < ?1 || char(127)"
                          " AND json_extract(Value, '$.node') = ?2",
                          "ss", kinds[i].prefix, r->http->value);
    return code;
}

static int put_seen(struct request *r) {
    const char *node = text_of(r->http->in, "node");
    json_int_t rx = json_integer_value(json_object_get(r->http->in, "rx"));
    json_int_t tx = json_integer_value(json_object_get(r->http->in, "tx"));
    if (!node || strlen(node) > ID_MAX) return refuse(r, BAD_REQUEST, "which node was seen?");
    return hf_run(r->tx,
                  "INSERT INTO noise.seen VALUES (?, unixepoch(), ?, ?) ON CONFLICT(node) DO"
                  " UPDATE SET at = excluded.at, rx = rx + excluded.rx, tx = tx + excluded.tx",
                  "sii", node, (int64_t)rx, (int64_t)tx);
}

/* A row of a query into an object: what it says of itself, and a number. */
static int add_numbers(struct request *r, json_t *object, const char *sql) {
    sqlite3_stmt *row;
    int code = hf_query(r->tx, &row, sql, "");
    while (!code && (code = hf_step(r->tx, row)) == HF_ROW) {
        json_object_set_new(object, (const char *)sqlite3_column_text(row, 0),
                            json_integer(sqlite3_column_int64(row, 1)));
        code = HF_OK;
    }
    return code;
}

static void add_label(void *arg, const hf_stat *s) {
    json_array_append_new(arg, json_pack("{s:s, s:I, s:I}", "why", s->why, "count",
                                         (json_int_t)s->count, "p99_us",
                                         (json_int_t)((s->wait_p99_ns + s->run_p99_ns) / 1000)));
}

/* The keys and values are a table: SQL may ask it anything. */
static int get_stats(struct request *r) {
    json_t *records = json_object(), *traffic = json_object(), *labels = json_array();
    char *status = NULL;
    r->http->out = json_pack("{s:o, s:o, s:o}", "records", records, "traffic", traffic,
                             "transactions", labels);
    if (!r->http->out) return HF_NOMEM;
    int code = add_numbers(r, records,
                           RELEASE >= 2 ? "SELECT substr(Key, 1, instr(Key, '/') - 1), count(*)"
                                          " FROM main.DBX WHERE Key NOT LIKE 'node/%' GROUP BY 1"
                                          " UNION ALL SELECT 'node', count(*) FROM main.node"
                                        : "SELECT substr(Key, 1, instr(Key, '/') - 1), count(*)"
                                          " FROM main.DBX GROUP BY 1");
    if (!code)
        code = add_numbers(r, traffic,
                           "SELECT 'nodes', count(*) FROM noise.seen UNION ALL"
                           " SELECT 'rx', sum(rx) FROM noise.seen UNION ALL"
                           " SELECT 'tx', sum(tx) FROM noise.seen");
    if (!code) code = hf_stats(store, add_label, labels);
    if (!code && hf_store_source(store)) code = hf_source_status(hf_store_source(store), &status);
    if (status) json_object_set_new(r->http->out, "replication", json_loads(status, 0, NULL));
    hf_free(status);
    return code;
}

static const struct route {
    const char *method, *path; /* NULL: of each kind */
    int scope;                 /* of its transaction */
    const char *why;           /* what that is called in figures and errors */
    int (*serve)(struct request *);
    unsigned status; /* when all is well */
} routes[] = {
    {"GET", NULL, HF_READ, "get records", get_records, 200},
    {"POST", NULL, HF_MAIN, "put record", put_record, 201},
    {"DELETE", NULL, HF_MAIN, "delete record", delete_record, 204},
    {"POST", "/seen", HF_NOISE, "put seen", put_seen, 204},
    {"GET", "/stats", HF_READ, "get stats", get_stats, 200},
};

static int serve(hf_tx *tx, void *arg) {
    struct request *r = arg;
    r->tx = tx;
    return r->route->serve(r);
}

/* ---- beside the release before ---- */

/* Two things must wait until that one has ended: it replicates the database, and only one can; and
 * what it needs of the schema cannot be taken away. */
static struct {
    const char *const *urls; /* where to replicate; ends with NULL */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool replicates, ending; /* under the lock */
} turn = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void print_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    flockfile(stderr);
    fprintf(stderr, "%s", name);
    for (int i = 0; i + 1 < count; i += 2) fprintf(stderr, " %s=%s", pairs[i], pairs[i + 1]);
    fprintf(stderr, "\n");
    funlockfile(stderr);
}

static struct timespec in_ms(int64_t ms) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    ms += t.tv_nsec / 1000000;
    return (struct timespec){t.tv_sec + ms / 1000, ms % 1000 * 1000000};
}

/* Before a change is answered: what was committed beside the other one is shipped by this one. */
static int wait_for_turn(void) {
    struct timespec end = in_ms(30000);
    int code = HF_OK;
    pthread_mutex_lock(&turn.lock);
    while (!code && !turn.replicates)
        if (pthread_cond_timedwait(&turn.changed, &turn.lock, &end)) code = HF_TIMEOUT;
    pthread_mutex_unlock(&turn.lock);
    return code;
}

/* HF_BUSY: the other one does. */
static int replicate(void) {
    hf_replicate_options o = {.size = sizeof o, .socket = 1, .event = print_event};
    if (!*turn.urls || hf_store_source(store)) return HF_OK;
    int code = hf_store_replicate(store, turn.urls, &o);
    if (code) return code;
    pthread_mutex_lock(&turn.lock);
    turn.replicates = true;
    pthread_cond_broadcast(&turn.changed);
    pthread_mutex_unlock(&turn.lock);
    return HF_OK;
}

/* HF_BUSY: something has to wait for the other one. */
static int take_turn(bool at_start) {
    char *json = NULL;
    int code = replicate(), busy = code == HF_BUSY ? HF_BUSY : HF_OK;
    if (busy && !at_start) return busy;
    if (!code || busy) code = hf_schema_apply(schema, NULL, &json);
    json_t *said = json ? json_loads(json, 0, NULL) : NULL;
    if (json_array_size(json_object_get(said, "waits"))) busy = HF_BUSY;
    json_decref(said);
    hf_free(json);
    return code ? code : busy;
}

static void *take_turn_later(void *arg) {
    int code = HF_BUSY;
    pthread_mutex_lock(&turn.lock);
    while ((code == HF_BUSY || code == HF_TIMEOUT) && !turn.ending) {
        struct timespec again = in_ms(200);
        pthread_cond_timedwait(&turn.changed, &turn.lock, &again);
        pthread_mutex_unlock(&turn.lock);
        code = take_turn(false);
        pthread_mutex_lock(&turn.lock);
    }
    pthread_mutex_unlock(&turn.lock);
    if (code && code != HF_BUSY && code != HF_TIMEOUT) {
        fprintf(stderr, "control: %s\n", hf_errmsg());
        kill(getpid(), SIGTERM);
    }
    return arg;
}

/* The request in a transaction, and until all that it saw is safe. */
static int run(struct request *r) {
    int scope = r->route->scope;
    int code = scope ? hf_write(store, scope, r->route->why, serve, r)
                     : hf_read(store, r->route->why, serve, r);
    if (code && !r->http->error[0])
        snprintf(r->http->error, sizeof r->http->error, "%s", hf_errmsg());
    if (!(scope & HF_MAIN) || !*turn.urls) return code;
    int lost = wait_for_turn();
    if (lost) return refuse(r, lost, "the release before this one does not end");
    lost = hf_wait(store, NULL, &(hf_wait_options){sizeof(hf_wait_options), .flush = 1});
    if (!lost) return code;
    snprintf(r->http->error, sizeof r->http->error, "%s", hf_errmsg());
    if (lost == HF_FENCED) kill(getpid(), SIGTERM); /* another process is the service now */
    return lost;
}

static unsigned status_of(const struct request *r, int code) {
    static const struct {
        int code;
        unsigned status;
    } refusals[] = {
        {BAD_REQUEST, 400}, {HF_NOTFOUND, 404}, {HF_CONFLICT, 409}, {HF_TIMEOUT, 504},
        {HF_FENCED, 503},   {HF_UNFIT, 503},    {HF_FULL, 507},
    };
    for (int i = 0; i < COUNT(refusals); i++)
        if (refusals[i].code == code) return refusals[i].status;
    return code ? 500 : r->route->status;
}

static const struct kind *find_kind(const char *path) {
    for (const struct kind *k = kinds; k < kinds + COUNT(kinds); k++) {
        size_t length = strlen(k->prefix) - 1;
        if (strncmp(path + 1, k->prefix, length) == 0 && !path[1 + length]) return k;
    }
    return NULL;
}

static unsigned answer(struct http *h) {
    struct request r = {.http = h, .kind = find_kind(h->path)};
    bool path_is_known = false;
    for (int i = 0; i < COUNT(routes); i++) {
        if (routes[i].path ? strcmp(routes[i].path, h->path) != 0 : !r.kind) continue;
        if (strcmp(routes[i].method, h->method) == 0) r.route = &routes[i];
        path_is_known = true;
    }
    if (r.route) return status_of(&r, run(&r));
    return (unsigned)refuse(&r, path_is_known ? 405 : 404, "%s %s is no request here", h->method,
                            h->path);
}

/* ---- start and end ---- */

/* From now on no later release takes away what this one needs; and is what it needs there yet? */
static int join_schema(void) {
    hf_migration known[COUNT(migrations)] = {{0}};
    memcpy(known, migrations, RELEASE * sizeof *known);
    hf_schema_options o = {.size = sizeof o, .migrations = known, .event = print_event};
    char app[30];
    snprintf(app, sizeof app, "control %d", RELEASE);
    o.app = app;
    int code = hf_schema_of(store, &o, &schema);
    return code ? code : hf_schema_join(schema);
}

static int open_store(const char *path) {
    hf_replicate_options replication = {.size = sizeof replication, .event = print_event};
    hf_store_options options = {
        .size = sizeof options,
        .noise = "",
        .noise_schema = "CREATE TABLE IF NOT EXISTS noise.seen(node TEXT PRIMARY KEY, at INTEGER,"
                        " rx INTEGER, tx INTEGER)",
        .event = print_event,
    };
    int code = HF_OK, restored;
    if (*turn.urls) code = hf_restore_if_missing(path, turn.urls, &replication, &restored);
    if (!code) code = hf_store_open(path, &options, &store);
    if (!code) code = join_schema();
    for (const struct kind *k = kinds + (RELEASE >= 3); k < kinds + COUNT(kinds); k++)
        for (int i = 0; !code && i < COUNT(k->index) && k->index[i].path; i++)
            code = hf_kv_index(store, k->prefix, k->index[i].path, k->index[i].flags | HF_ABSENT);
    return code;
}

static int serve_until(int port, const sigset_t *stop, bool waits) {
    pthread_t later;
    bool begun = waits && pthread_create(&later, NULL, take_turn_later, NULL) == 0;
    int failed = http_serve(port, stop, answer);
    if (!begun) return failed;
    pthread_mutex_lock(&turn.lock);
    turn.ending = true;
    pthread_cond_broadcast(&turn.changed);
    pthread_mutex_unlock(&turn.lock);
    pthread_join(later, NULL);
    return failed;
}

int main(int argc, char **argv) {
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL); /* here, and so in each thread that is started */
    if (argc < 3) {
        fprintf(stderr, "usage: control DB PORT [URL...]\n");
        return 2;
    }
    turn.urls = (const char *const *)argv + 3;
    int code = open_store(argv[1]);
    if (!code) code = take_turn(true);
    int failed = code && code != HF_BUSY ? code : HF_OK;
    if (failed) fprintf(stderr, "control: %s\n", hf_errmsg());
    else failed = serve_until(atoi(argv[2]), &stop, code == HF_BUSY);
    hf_schema_close(schema);
    code = hf_store_close(store); /* ships what is left */
    if (code) fprintf(stderr, "control: %s\n", hf_errmsg());
    return code ? code : failed;
}
