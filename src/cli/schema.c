/* holdfast schema VERB ...: versioned migrations of a database.
 *
 * A table of verbs over the functions of the library: each gives one object of JSON, which is
 * printed as it is (-json), or for people (schema_print.c).
 */
#include "cli/schema.h"

#include "base/limits.h"
#include "base/nearest.h"
#include "cli/cli.h"
#include "holdfast.h"
#include "os/system.h"
#include "schema/internal.h"
#include "schema/lint.h"
#include "store/internal.h"
#include "store/status.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what can be said ---- */

enum {
    NEW = 1,
    LINT = 2,
    PLAN = 4,
    REHEARSE = 8,
    APPLY = 16,
    STATUS = 32,
    HISTORY = 64,
    DRIFT = 128,
    REVERT = 256,
    DOWN = 512,
    BASELINE = 1024,
    CLIENTS = 2048,
    UNDO = 4096
};
#define CHANGES (APPLY | REVERT | DOWN)
#define OF_A_DATABASE (~(NEW | LINT))
#define NEEDS_NO_FILES (HISTORY | CLIENTS | UNDO)

enum {
    DIR = 256,
    NOISE,
    JSON,
    IN,
    WRITE,
    FROM,
    KEEP,
    PHASE,
    TO,
    CREATE,
    NO_RESTORE_POINT,
    ASSUME_GONE,
    NO_SOAK,
    TIMEOUT,
    ACCEPT_LOSSY,
    DISCARD,
    REPLICA
};

static const struct {
    const char *name, *value;
    int id, verbs;
    const char *does;
} choices[] = {
    {"dir", "DIR", DIR, ~NEEDS_NO_FILES, "where the migrations are (migrations)"},
    {"noise", "PATH", NOISE, OF_A_DATABASE,
     "the noise file; none: without. Default: as the store remembers it"},
    {"json", NULL, JSON, ~0, "machine-readable"},
    {"in", "noise", IN, NEW, "the migration is one of noise"},
    {"write", NULL, WRITE, LINT, "write holdfast.sum, after a file was added or edited"},
    {"from", "WHAT", FROM, REHEARSE,
     "live, replica, or a replica's URL; default: the replica, if "
     "there is one"},
    {"keep", "DIR", KEEP, REHEARSE, "leave the copies there"},
    {"to", "VERSION", TO, APPLY, "no further than this migration"},
    {"phase", "PHASE", PHASE, APPLY, "no further than expand, sync, backfill or verify"},
    {"create", NULL, CREATE, APPLY, "make the database if it is not there"},
    {"no-restore-point", NULL, NO_RESTORE_POINT, CHANGES, "do without one"},
    {"assume-gone", NULL, ASSUME_GONE, CHANGES,
     "contract though older programs live; their writes are refused from then on"},
    {"no-soak", NULL, NO_SOAK, APPLY, "contract before its soak time is over"},
    {"timeout", "D", TIMEOUT, CHANGES | BASELINE | UNDO,
     "how long to wait for others that change the schema (10m)"},
    {"accept-lossy", NULL, ACCEPT_LOSSY, DOWN, "though it loses data, as its file says"},
    {"discard-later", NULL, DISCARD, UNDO, "lose the commits that were made since"},
    {"replica", "URL", REPLICA, UNDO, "of this replica; default: of who replicates the database"},
};
#define CHOICE_COUNT (sizeof choices / sizeof *choices)

struct asked {
    const struct verb *verb;
    const char *db, *argument; /* behind the database; NULL */
    const char *dir, *noise;
    bool json, in_noise, write, create;
    hf_schema_options options;
    hf_schema_run run;
};

typedef int call_function(hf_schema *, const hf_schema_run *, char **json);
typedef int verb_function(struct asked *);
static verb_function make_new, lint_files, on_database;

/* Those that only look take no options of a run. */
#define LOOK(name)                                                                                 \
    static int name(hf_schema *s, const hf_schema_run *o, char **json) {                           \
        (void)o;                                                                                   \
        return hf_schema_##name(s, json);                                                          \
    }
LOOK(plan)
LOOK(status)
LOOK(history)
LOOK(drift)
LOOK(clients)

static const struct verb {
    const char *name, *arguments;
    int id, least, most;
    verb_function *run;
    call_function *call;
    schema_printer *print;
    const char *does;
} verbs[] = {
    {"new", "NAME", NEW, 1, 1, make_new, NULL, NULL, "a new file, from a template"},
    {"lint", "", LINT, 0, 0, lint_files, NULL, print_findings,
     "what is wrong, or dangerous, in the files"},
    {"plan", "DB", PLAN, 1, 1, on_database, plan, print_plan,
     "what apply would do, statement by statement"},
    {"rehearse", "DB", REHEARSE, 1, 1, on_database, hf_schema_rehearse, print_rehearsal,
     "do all of it to a copy, and take it back"},
    {"apply", "DB", APPLY, 1, 1, on_database, hf_schema_apply, print_applied,
     "what is not done yet; one process does it, and others wait"},
    {"status", "DB", STATUS, 1, 1, on_database, status, print_status,
     "where each migration is, and what waits for whom"},
    {"history", "DB", HISTORY, 1, 1, on_database, history, print_history,
     "each step that was ever run"},
    {"drift", "DB", DRIFT, 1, 1, on_database, drift, print_drift,
     "what differs from what the files say"},
    {"revert", "DB [VERSION]", REVERT, 1, 2, on_database, hf_schema_revert, print_reverted,
     "take back the newest, before its contract"},
    {"down", "DB [VERSION]", DOWN, 1, 2, on_database, hf_schema_down, print_reverted,
     "take back the newest that is done"},
    {"baseline", "DB VERSION", BASELINE, 2, 2, on_database, hf_schema_baseline, print_recorded,
     "the database has all up to this already"},
    {"clients", "DB", CLIENTS, 1, 1, on_database, clients, print_clients,
     "the programs that have it open"},
    {"undo", "DB", UNDO, 1, 1, on_database, hf_schema_undo, print_undone,
     "back to the restore point before the last apply, revert or down"},
};
#define VERB_COUNT (sizeof verbs / sizeof *verbs)

/* ---- help ---- */

static void print_choices(FILE *to, int of) {
    for (size_t i = 0; i < CHOICE_COUNT; i++) {
        char name[40];
        if (!(choices[i].verbs & of)) continue;
        snprintf(name, sizeof name, "-%s %s", choices[i].name,
                 choices[i].value ? choices[i].value : "");
        fprintf(to, "  %-18s %s\n", name, choices[i].does);
    }
}

static void usage_of(const struct verb *v, char out[80]) {
    snprintf(out, 80, "holdfast schema %s [options] %s", v->name, v->arguments);
}

static int help_of(const struct verb *v) {
    char usage[80];
    usage_of(v, usage);
    printf("%s\n  %c%s.\n\n", usage, v->does[0] - 'a' + 'A', v->does + 1);
    print_choices(stdout, v->id);
    puts("\n  man holdfast");
    return 0;
}

static const char help[] = "holdfast schema VERB [options] DB [ARGUMENT]";

static void print_help(FILE *to) {
    fprintf(to, "%s\n  Versioned migrations: plain SQL in files, under running programs.\n\n",
            help);
    for (size_t i = 0; i < VERB_COUNT; i++)
        fprintf(to, "  %-9s %-13s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].does);
    fputs("\n", to);
    print_choices(to, ~0);
    fputs("\n  holdfast schema new split_name\n"
          "  holdfast schema rehearse app.db && holdfast schema apply app.db\n"
          "  holdfast schema VERB -h   its options alone\n",
          to);
}

/* ---- errors ---- */

static int fail_with(struct asked *a, rc r, const struct err *e) {
    if (a->json) {
        json_t *o = json_pack("{s:o, s:s}", "error", json_words(e->text), "code", rc_name(r.code));
        int code = cli_print_json(o, true, JSON_COMPACT);
        if (code) return code;
    }
    return cli_fail(r, e);
}

static rc result_of(int code, struct err *e) {
    return code == HF_OK ? ok() : err_set(e, (enum rc_code)code, "%s", hf_errmsg());
}

/* As a shell takes it for one word. */
static const char *quoted(const char *path, char out[2 * LIMIT_PATH]) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    if (strspn(path, plain) == strlen(path) || strchr(path, '\'')) return path;
    snprintf(out, (size_t)2 * LIMIT_PATH, "'%s'", path);
    return out;
}

static int give(struct asked *a, rc r, json_t *answer, const struct err *e) {
    char db[2 * LIMIT_PATH];
    if (!answer) return fail_with(a, r, e);
    int code = 0;
    if (a->json) {
        code = cli_print_json(answer, true, JSON_COMPACT);
    } else {
        a->verb->print(answer, a->db ? quoted(a->db, db) : "");
        json_decref(answer);
    }
    fflush(stdout);
    if (is_ok(r)) return code;
    return a->verb->id == LINT && !a->json ? cli_exit_code(r) : cli_fail(r, e); /* it is said */
}

/* ---- the files alone ---- */

static rc check_dir(const struct asked *a, struct err *e) {
    struct stat st;
    if (stat(a->dir, &st) != 0 && errno == ENOENT)
        return err_set(e, RC_NOTFOUND,
                       "%s: there is no such directory: 'holdfast schema new NAME' makes it, -dir"
                       " names another",
                       a->dir);
    if (stat(a->dir, &st) != 0) return err_errno(e, errno, "%s", a->dir);
    return S_ISDIR(st.st_mode) ? ok() : err_set(e, RC_USAGE, "%s: it is not a directory", a->dir);
}

static int make_new(struct asked *a) {
    struct err e;
    char *path = NULL;
    struct env *env = store_env();
    rc r = env ? set_new_file(env, a->dir, a->db, a->in_noise, NULL, &path, &e)
               : err_set(&e, RC_NOMEM, "no memory");
    if (!is_ok(r)) return fail_with(a, r, &e);
    int code = 0;
    if (a->json) code = cli_print_json(json_pack("{ss}", "file", path), true, JSON_COMPACT);
    else puts(path);
    fflush(stdout);
    if (!a->json) fputs("next: write it, then 'holdfast schema lint -write'\n", stderr);
    free(path);
    return code;
}

static rc lint_dir(struct asked *a, bool *changed, json_t **out, struct err *e) {
    struct env *env = store_env();
    struct set set = {0};
    bool errors = false;
    if (!env) return err_set(e, RC_NOMEM, "no memory");
    TRY(check_dir(a, e));
    if (a->write) TRY(set_write_sum(env, a->dir, changed, e));
    TRY(set_load(env, a->dir, &set, e));
    *out = json_pack("{s:I, s:b, s:b, s:o}", "files", (json_int_t)set.count, "sum", set.has_sum,
                     "written", *changed, "findings", lint_json(&set, &errors));
    set_deinit(&set);
    if (!*out) return err_set(e, RC_NOMEM, "no memory");
    return errors ? err_set(e, RC_CORRUPT, "there are errors in the migrations") : ok();
}

static int lint_files(struct asked *a) {
    struct err e;
    bool changed = false;
    json_t *answer = NULL;
    rc r = lint_dir(a, &changed, &answer, &e);
    return give(a, r, answer, &e);
}

/* ---- of a database ---- */

void remembered_noise(const char *db, char out[LIMIT_PATH]) {
    sqlite3 *c = NULL;
    sqlite3_stmt *st = NULL;
    char real[LIMIT_PATH];
    *out = 0;
    if (!is_ok(system_real_path(db, real, NULL))) return;
    int code = sqlite3_open_v2(real, &c, SQLITE_OPEN_READWRITE, NULL); /* or its log would stay */
    if (code == SQLITE_OK)
        code =
            sqlite3_prepare_v2(c, "SELECT value FROM holdfast WHERE name = 'noise'", -1, &st, NULL);
    if (code == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW && sqlite3_column_text(st, 0)) {
        system_directory_of(real, out);
        size_t n = strlen(out);
        snprintf(out + n, LIMIT_PATH - n, "/%s", (const char *)sqlite3_column_text(st, 0));
        if (access(out, F_OK) != 0) *out = 0;
    }
    sqlite3_finalize(st);
    sqlite3_close(c);
}

/* *made: it is new, and to be taken away again if nothing comes of it. */
static rc find_database(const struct asked *a, bool *made, struct err *e) {
    struct stat st;
    if (stat(a->db, &st) == 0)
        return S_ISREG(st.st_mode) ? ok() : err_set(e, RC_USAGE, "%s: it is not a file", a->db);
    if (errno != ENOENT) return err_errno(e, errno, "%s", a->db);
    if (!a->create)
        return err_set(e, RC_NOTFOUND, "%s: no such database%s", a->db,
                       a->verb->id == APPLY ? ": -create makes it" : "");
    int fd = open(a->db, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return err_errno(e, errno, "make %s", a->db);
    close(fd);
    *made = true;
    return ok();
}

static const char *value_of(const char *key, const char *const *pairs, int count) {
    for (int i = 0; i + 1 < count; i += 2)
        if (strcmp(pairs[i], key) == 0 && pairs[i + 1]) return pairs[i + 1];
    return "";
}

/* Why it takes so long, for who looks on. */
static void say(void *on_terminal, const char *name, const char *const *pairs, int count) {
    const char *version = value_of("version", pairs, count), *why = value_of("err", pairs, count);
    if (strcmp(name, "schema.turn") == 0)
        fputs("holdfast: another process is changing the schema: waiting for it\n", stderr);
    else if (strcmp(name, "backfill.waits") == 0)
        fprintf(stderr, "holdfast: the backfill waits: %s\n", why);
    else if (strcmp(name, "backfill.goes_on") == 0)
        fputs("holdfast: the backfill goes on\n", stderr);
    else if (strcmp(name, "schema.no_restore_point_after") == 0)
        fprintf(stderr, "holdfast: no restore point behind it, which undo would compare with: %s\n",
                why);
    else if (on_terminal && strcmp(name, "backfill.rows") == 0)
        fprintf(stderr, "\r%s: %s rows", value_of("migration", pairs, count),
                value_of("rows", pairs, count));
    else if (on_terminal && strcmp(name, "schema.step") == 0)
        fprintf(stderr, "\r\033[K%s %s: done\n", version, value_of("step", pairs, count));
    else if (on_terminal && strcmp(name, "schema.rehearsed") == 0)
        fprintf(stderr, "on the copy: %s %s: done\n", value_of("name", pairs, count),
                value_of("step", pairs, count));
}

static hf_schema *running; /* what a signal stops */

static void stop(int signal_number) {
    (void)signal_number;
    if (running) atomic_store(&running->stop, true);
}

static void stop_by_signals(hf_schema *s) {
    struct sigaction act = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND};
    running = s;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

static rc open_schema(struct asked *a, hf_schema **out, struct err *e) {
    char noise[LIMIT_PATH] = "";
    if (!a->noise) remembered_noise(a->db, noise);
    else if (strcmp(a->noise, "none") != 0) snprintf(noise, sizeof noise, "%s", a->noise);
    a->options.size = sizeof a->options;
    a->options.app = "holdfast schema";
    a->options.event = a->json ? NULL : say;
    a->options.event_arg = isatty(STDERR_FILENO) ? a : NULL;
    a->options.dir = a->verb->id & NEEDS_NO_FILES ? NULL : a->dir;
    if (a->options.dir) TRY(check_dir(a, e));
    return result_of(hf_schema_open(a->db, *noise ? noise : NULL, &a->options, out), e);
}

static rc run(struct asked *a, json_t **answer, struct err *e) {
    hf_schema *s;
    char *json = NULL;
    TRY(open_schema(a, &s, e));
    a->run.size = sizeof a->run;
    a->run.need_restore_point = a->verb->id & CHANGES && !a->run.no_restore_point;
    stop_by_signals(s);
    rc r = result_of(a->verb->call(s, &a->run, &json), e);
    running = NULL;
    hf_schema_close(s);
    if (json && !(*answer = json_loads(json, 0, NULL)))
        r = err_set(e, RC_NOMEM, "no memory for the answer");
    hf_free(json);
    return r;
}

static void take_away_if_empty(const char *db) {
    struct stat st;
    if (stat(db, &st) == 0 && st.st_size == 0) unlink(db);
}

static bool waits(const json_t *answer) {
    return json_array_size(json_object_get(answer, "waits")) > 0;
}

static int on_database(struct asked *a) {
    struct err e;
    json_t *answer = NULL;
    bool made = false;
    rc r = find_database(a, &made, &e);
    if (is_ok(r)) r = run(a, &answer, &e);
    if (made && !is_ok(r)) take_away_if_empty(a->db);
    bool waiting = a->verb->id == APPLY && is_ok(r) && waits(answer);
    int code = give(a, r, answer, &e);
    return code == 0 && waiting ? EXIT_WAITS : code;
}

/* ---- the arguments ---- */

static bool take_version(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || v <= 0) return false;
    *out = v;
    return true;
}

#define A_VERSION "a migration's number, as 20260901120000"

/* NULL: it was taken; else what the option takes. */
static const char *take_choice(struct asked *a, int id, const char *value) {
    switch (id) {
    case DIR: a->dir = value; return *value ? NULL : "a directory";
    case NOISE: a->noise = value; return *value ? NULL : "a path, or none";
    case JSON: a->json = true; return NULL;
    case IN: a->in_noise = true; return strcmp(value, "noise") == 0 ? NULL : "noise";
    case WRITE: a->write = true; return NULL;
    case FROM: a->run.from = value; return *value ? NULL : "live, replica or a URL";
    case KEEP: a->run.keep = value; return *value ? NULL : "a directory";
    case REPLICA: a->run.from = value; return *value ? NULL : "a URL";
    case PHASE: a->run.phase = value; return *value ? NULL : "expand, sync, backfill or verify";
    case TO: return take_version(value, &a->run.version) ? NULL : A_VERSION;
    case CREATE: a->create = true; return NULL;
    case NO_RESTORE_POINT: a->run.no_restore_point = 1; return NULL;
    case ASSUME_GONE: a->run.assume_gone = 1; return NULL;
    case NO_SOAK: a->run.no_soak = 1; return NULL;
    case TIMEOUT: return parse_duration(value, &a->options.timeout_ms) ? NULL : A_DURATION;
    case ACCEPT_LOSSY: a->run.accept_lossy = 1; return NULL;
    default: a->run.discard = 1; return NULL;
    }
}

static int take_rest(struct asked *a, const char *usage, int argc, char **argv) {
    char needs[80];
    const struct verb *v = a->verb;
    snprintf(needs, sizeof needs, "schema %s needs %s", v->name,
             v->most == 0 ? "no arguments" : v->arguments);
    int wrong = cli_arguments(usage, argc, argv, v->least, v->most, needs);
    if (wrong) return wrong;
    a->db = v->most > 0 ? argv[optind] : NULL;
    if (optind + 1 < argc && !take_version(argv[optind + 1], &a->run.version))
        return cli_usage(usage, "'%s' is not " A_VERSION, argv[optind + 1]);
    return 0;
}

static int run_verb(struct asked *a, int argc, char **argv) {
    struct option options[CHOICE_COUNT + 2] = {{NULL, 0, NULL, 0}};
    char usage[80];
    int option, count = 0, index = 0;
    usage_of(a->verb, usage);
    for (size_t i = 0; i < CHOICE_COUNT; i++)
        if (choices[i].verbs & a->verb->id)
            options[count++] =
                (struct option){choices[i].name, choices[i].value ? required_argument : no_argument,
                                NULL, choices[i].id};
    options[count] = (struct option){"help", no_argument, NULL, 'h'};
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":h", options, &index)) != -1) {
        if (option == 'h') return help_of(a->verb);
        if (option == '?' || option == ':') return cli_bad_option(usage, options, option, argv);
        const char *takes = take_choice(a, option, optarg);
        if (takes) return cli_bad_value(usage, options[index].name, optarg, takes);
    }
    int wrong = take_rest(a, usage, argc, argv);
    return wrong ? wrong : a->verb->run(a);
}

static int no_verb(const char *typed) {
    const char *names[VERB_COUNT + 1] = {NULL};
    for (size_t i = 0; i < VERB_COUNT; i++) names[i] = verbs[i].name;
    const char *near = nearest_name(typed, names);
    if (*typed == '-') return cli_usage(help, "%s: the verb comes first", typed);
    if (near) return cli_usage(help, "schema has no verb '%s': did you mean '%s'?", typed, near);
    if (*typed) return cli_usage(help, "schema has no verb '%s'", typed);
    print_help(stderr);
    return EXIT_USAGE;
}

int cmd_schema(int argc, char **argv) {
    struct asked a = {.dir = "migrations"};
    const char *typed = argc > 1 ? argv[1] : "";
    if (strcmp(typed, "-h") == 0 || strcmp(typed, "-help") == 0 || strcmp(typed, "--help") == 0) {
        print_help(stdout);
        return 0;
    }
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (strcmp(typed, verbs[i].name) == 0) {
            a.verb = &verbs[i];
            return run_verb(&a, argc - 1, argv + 1);
        }
    return no_verb(typed);
}
