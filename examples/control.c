/* A small coordination service on Holdfast: machines register here and find each other. An example
 * to be read from top to bottom, and to begin a service of one's own with.
 *
 *     cc -o control control.c $(pkg-config --cflags --libs holdfast libmicrohttpd jansson sqlite3)
 *     ./control control.db 8080 s3://bucket/control
 *
 *     POST   /node    {"name": "n1", "ip": "10.0.0.1", "user": "ada"}     201
 *     GET    /node?ip=10.0.0.1                                            200 [{"ip": ...}]
 *     DELETE /node?name=n1                                                204, its keys go with it
 *     POST   /seen    {"node": "n1", "rx": 100, "tx": 20}                 204
 *     GET    /stats                                                       200 {"records": ...}
 *
 * Records (nodes, keys, policies) are JSON in the key-value table of the main database, under
 * KIND/ID. What may be lost (when a node was last seen, what it sent) is a table of noise, which is
 * never uploaded: after a restore it begins empty.
 *
 * Why each answer to a change waits, a refusal too: it says what is in the database, and somebody
 * will rely on that. By then it is at the destinations, and the machine may burn at the next
 * instruction. Whoever got no answer sends the request again: the same record twice is one record.
 */
#include <holdfast.h>
#include <jansson.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX (64 << 10)
#define ID_MAX 200
#define KEY_MAX (ID_MAX + 50)
#define PAGE 1000      /* records in an answer */
#define BAD_REQUEST -1 /* beside the codes of holdfast.h */
#define COUNT(array) (int)(sizeof(array) / sizeof(array)[0])

static hf_store *store;
static atomic_int under_way; /* requests without an answer */
static atomic_bool stopping;

struct request {
    const struct route *route;
    const struct kind *kind;   /* of /KIND; else NULL */
    const char *field, *value; /* of ?FIELD=VALUE; else NULL */
    int fields;
    char body[BODY_MAX + 1]; /* one more: it is too long */
    size_t size;
    json_t *in, *out;
    hf_tx *tx;
    char words[500]; /* why it was refused */
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
    vsnprintf(r->words, sizeof r->words, format, args);
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
    return json_array_append_new(r->out, record) == 0 ? HF_OK : HF_NOMEM;
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

/* ---- requests: each runs in a transaction of its route's scope, which commits if it is 0 ---- */

static int get_records(struct request *r) {
    hf_scan all = {.size = sizeof all, .prefix = r->kind->prefix, .limit = PAGE};
    r->out = json_array();
    if (!r->field) return hf_kv_scan(r->tx, &all, add_record, r);
    if (strcmp(r->field, r->kind->id) == 0) return add_by_id(r, r->kind->prefix, r->value);
    for (int i = 0; i < COUNT(r->kind->index) && r->kind->index[i].path; i++)
        if (strcmp(r->field, r->kind->index[i].path + 2) == 0)
            return add_by_field(r, r->kind->prefix, r->kind->index[i].path, r->value);
    return refuse(r, BAD_REQUEST, "there is no index on '%.50s'", r->field);
}

static int node_exists(struct request *r, const char *name) {
    char key[KEY_MAX], *value = NULL;
    size_t bytes;
    int code = make_key(r, key, "node/", name);
    if (!code) code = hf_kv_get(r->tx, key, &value, &bytes);
    hf_free(value);
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
    int code = make_key(r, key, r->kind->prefix, text_of(r->in, r->kind->id));
    if (!code && r->kind->of_node) code = node_exists(r, text_of(r->in, "node"));
    if (code) return code;
    char *text = json_dumps(r->in, JSON_COMPACT | JSON_SORT_KEYS);
    code = text ? put_once(r, key, text) : HF_NOMEM;
    free(text);
    r->out = json_incref(r->in);
    return code;
}

/* The keys and values are a table: SQL may change it, too. */
static int delete_record(struct request *r) {
    char key[KEY_MAX];
    if (!r->field || strcmp(r->field, r->kind->id) != 0)
        return refuse(r, BAD_REQUEST, "say which one: ?%s=", r->kind->id);
    int code = make_key(r, key, r->kind->prefix, r->value);
    if (!code) code = hf_kv_delete(r->tx, key);
    for (int i = 0; !code && r->kind == &kinds[0] && i < COUNT(kinds); i++)
        if (kinds[i].of_node)
            code = hf_run(r->tx,
                          "DELETE FROM main.DBX WHERE Key > ?1 AND Key < ?1 || char(127)"
                          " AND json_extract(Value, '$.node') = ?2",
                          "ss", kinds[i].prefix, r->value);
    return code;
}

static int put_seen(struct request *r) {
    const char *node = text_of(r->in, "node");
    json_int_t rx = json_integer_value(json_object_get(r->in, "rx"));
    json_int_t tx = json_integer_value(json_object_get(r->in, "tx"));
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
    r->out = json_pack("{s:o, s:o, s:o}", "records", records, "traffic", traffic, "transactions",
                       labels);
    if (!r->out) return HF_NOMEM;
    int code = add_numbers(r, records,
                           "SELECT substr(Key, 1, instr(Key, '/') - 1), count(*)"
                           " FROM main.DBX GROUP BY 1");
    if (!code)
        code = add_numbers(r, traffic,
                           "SELECT 'nodes', count(*) FROM noise.seen UNION ALL"
                           " SELECT 'rx', sum(rx) FROM noise.seen UNION ALL"
                           " SELECT 'tx', sum(tx) FROM noise.seen");
    if (!code) code = hf_stats(store, add_label, labels);
    if (!code && hf_store_source(store)) code = hf_source_status(hf_store_source(store), &status);
    if (status) json_object_set_new(r->out, "replication", json_loads(status, 0, NULL));
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
    {"GET", NULL, HF_READ, "get records", get_records, MHD_HTTP_OK},
    {"POST", NULL, HF_MAIN, "put record", put_record, MHD_HTTP_CREATED},
    {"DELETE", NULL, HF_MAIN, "delete record", delete_record, MHD_HTTP_NO_CONTENT},
    {"POST", "/seen", HF_NOISE, "put seen", put_seen, MHD_HTTP_NO_CONTENT},
    {"GET", "/stats", HF_READ, "get stats", get_stats, MHD_HTTP_OK},
};

static int serve(hf_tx *tx, void *arg) {
    struct request *r = arg;
    r->tx = tx;
    return r->route->serve(r);
}

/* The request in a transaction, and until all that it saw is safe. */
static int run(struct request *r) {
    int scope = r->route->scope;
    int code = scope ? hf_write(store, scope, r->route->why, serve, r)
                     : hf_read(store, r->route->why, serve, r);
    if (code && !r->words[0]) snprintf(r->words, sizeof r->words, "%s", hf_errmsg());
    if (!(scope & HF_MAIN) || !hf_store_source(store)) return code;
    int lost = hf_wait(store, NULL, &(hf_wait_options){sizeof(hf_wait_options), .flush = 1});
    if (!lost) return code;
    snprintf(r->words, sizeof r->words, "%s", hf_errmsg());
    if (lost == HF_FENCED) kill(getpid(), SIGTERM); /* another process is the service now */
    return lost;
}

/* ---- HTTP ---- */

static unsigned status_of(const struct request *r, int code) {
    static const struct {
        int code;
        unsigned status;
    } refusals[] = {
        {BAD_REQUEST, MHD_HTTP_BAD_REQUEST},    {HF_NOTFOUND, MHD_HTTP_NOT_FOUND},
        {HF_CONFLICT, MHD_HTTP_CONFLICT},       {HF_FULL, MHD_HTTP_INSUFFICIENT_STORAGE},
        {HF_TIMEOUT, MHD_HTTP_GATEWAY_TIMEOUT}, {HF_FENCED, MHD_HTTP_SERVICE_UNAVAILABLE},
    };
    for (int i = 0; i < COUNT(refusals); i++)
        if (refusals[i].code == code) return refusals[i].status;
    return code ? MHD_HTTP_INTERNAL_SERVER_ERROR : r->route->status;
}

/* Sets route and kind, or returns why there is none. */
static unsigned find_route(struct request *r, const char *method, const char *url) {
    int found = 0;
    for (int i = 0; i < COUNT(kinds); i++) {
        size_t length = strlen(kinds[i].prefix) - 1;
        if (strncmp(url + 1, kinds[i].prefix, length) == 0 && !url[1 + length]) r->kind = &kinds[i];
    }
    for (int i = 0; i < COUNT(routes); i++) {
        if (routes[i].path ? strcmp(routes[i].path, url) != 0 : !r->kind) continue;
        if (strcmp(routes[i].method, method) == 0) r->route = &routes[i];
        found = 1;
    }
    return r->route ? MHD_HTTP_OK : found ? MHD_HTTP_METHOD_NOT_ALLOWED : MHD_HTTP_NOT_FOUND;
}

static unsigned answer(struct request *r, const char *method, const char *url) {
    json_error_t e;
    unsigned status = find_route(r, method, url);
    if (status != MHD_HTTP_OK) return status;
    if (r->size > BODY_MAX) return MHD_HTTP_CONTENT_TOO_LARGE;
    if (r->fields > 1) return status_of(r, refuse(r, BAD_REQUEST, "one ?FIELD=VALUE at most"));
    if (strcmp(method, "POST") == 0) {
        r->in = json_loadb(r->body, r->size, JSON_REJECT_DUPLICATES, &e);
        if (!json_is_object(r->in))
            return status_of(
                r, refuse(r, BAD_REQUEST, "not an object of JSON: %s", r->in ? "" : e.text));
    }
    return status_of(r, run(r));
}

static enum MHD_Result take_field(void *arg, enum MHD_ValueKind kind, const char *field,
                                  const char *value) {
    struct request *r = arg;
    (void)kind;
    r->field = field;
    r->value = value ? value : "";
    r->fields++;
    return MHD_YES;
}

static enum MHD_Result send_answer(struct MHD_Connection *c, struct request *r, unsigned status) {
    int good = status < 300;
    if (!good) {
        json_decref(r->out);
        r->out = json_pack("{s:s}", "error", r->words[0] ? r->words : "no such request");
    }
    char *text = r->out && status != MHD_HTTP_NO_CONTENT ? json_dumps(r->out, JSON_COMPACT) : NULL;
    struct MHD_Response *answer =
        MHD_create_response_from_buffer(text ? strlen(text) : 0, text, MHD_RESPMEM_MUST_FREE);
    if (!answer) return MHD_NO;
    if (text) MHD_add_response_header(answer, "Content-Type", "application/json");
    if (stopping) MHD_add_response_header(answer, "Connection", "close");
    enum MHD_Result sent = MHD_queue_response(c, status, answer);
    MHD_destroy_response(answer);
    return sent;
}

/* Called at the head of a request, for each piece of its body, and at its end. */
static enum MHD_Result handle(void *arg, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *piece,
                              size_t *size, void **state) {
    struct request *r = *state;
    (void)arg, (void)version;
    if (!r) {
        *state = calloc(1, sizeof *r);
        under_way += *state != NULL;
        return *state ? MHD_YES : MHD_NO;
    }
    if (*size) {
        size_t room = sizeof r->body - r->size, taken = *size < room ? *size : room;
        memcpy(r->body + r->size, piece, taken);
        r->size += taken;
        *size = 0;
        return MHD_YES;
    }
    MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, take_field, r);
    return send_answer(c, r, answer(r, method, url));
}

static void end_request(void *arg, struct MHD_Connection *c, void **state,
                        enum MHD_RequestTerminationCode code) {
    struct request *r = *state;
    (void)arg, (void)c, (void)code;
    if (!r) return;
    under_way--;
    json_decref(r->in);
    json_decref(r->out);
    free(r);
}

/* ---- start and end ---- */

static void print_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    flockfile(stderr);
    fprintf(stderr, "%s", name);
    for (int i = 0; i + 1 < count; i += 2) fprintf(stderr, " %s=%s", pairs[i], pairs[i + 1]);
    fprintf(stderr, "\n");
    funlockfile(stderr);
}

static int open_store(const char *path, const char *const *urls) {
    hf_replicate_options replication = {.size = sizeof replication, .event = print_event};
    hf_store_options options = {
        .size = sizeof options,
        .noise = "",
        .noise_schema = "CREATE TABLE IF NOT EXISTS noise.seen(node TEXT PRIMARY KEY, at INTEGER,"
                        " rx INTEGER, tx INTEGER)",
        .event = print_event,
    };
    int code = HF_OK, restored;
    if (*urls) code = hf_restore_if_missing(path, urls, &replication, &restored);
    if (!code) code = hf_store_open(path, &options, &store);
    if (!code && *urls) code = hf_store_replicate(store, urls, &replication);
    for (const struct kind *k = kinds; k < kinds + COUNT(kinds); k++)
        for (int i = 0; !code && i < COUNT(k->index) && k->index[i].path; i++)
            code = hf_kv_index(store, k->prefix, k->index[i].path, k->index[i].flags | HF_ABSENT);
    return code;
}

static int serve_until_stopped(int port, const sigset_t *stop) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct MHD_Daemon *http = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC, 0, NULL,
        NULL, handle, NULL, MHD_OPTION_SOCK_ADDR, &here, MHD_OPTION_NOTIFY_COMPLETED, end_request,
        NULL, MHD_OPTION_CONNECTION_LIMIT, 1000u, MHD_OPTION_CONNECTION_TIMEOUT, 60u,
        MHD_OPTION_END);
    int signal;
    if (!http) return 1;
    printf("http://127.0.0.1:%d\n", MHD_get_daemon_info(http, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    sigwait(stop, &signal);
    stopping = true;
    close(MHD_quiesce_daemon(http)); /* nobody new; those who wait are answered */
    for (int i = 0; i < 4000 && under_way; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    MHD_stop_daemon(http);
    return 0;
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
    int code = open_store(argv[1], (const char *const *)argv + 3);
    int failed = code || serve_until_stopped(atoi(argv[2]), &stop);
    if (!code) code = hf_store_close(store); /* ships what is left */
    if (code) fprintf(stderr, "control: %s\n", hf_errmsg());
    return code || failed;
}
