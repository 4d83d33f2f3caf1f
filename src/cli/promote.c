/* holdfast promote: the keys under a prefix become a table, by migrations that it writes.
 *
 * Nothing here changes a database: analyze, status, verify and rejects only read, and write makes a
 * file, which holdfast schema applies as any other. */
#include "base/nearest.h"
#include "cli/cli.h"
#include "os/env.h"
#include "promote/analyze.h"
#include "promote/ladder.h"
#include "promote/look.h"
#include "schema/set.h"
#include "store/status.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "holdfast promote analyze [options] DB PREFIX -name NAME\n"
    "holdfast promote write [options] SPEC RUNG\n"
    "holdfast promote status [options] DB\n"
    "holdfast promote verify [options] DB SPEC\n"
    "holdfast promote rejects [options] DB [NAME]\n"
    "  Make a table of the keys under a prefix (of the table DBX), in five steps, each a\n"
    "  migration for 'holdfast schema apply', each with its way back:\n"
    "    1 index    keys are found by members of their values, as by hf_kv_find\n"
    "    2 view     NAME_v: the keys as rows, to be read\n"
    "    3 shadow   the table NAME, kept from the keys by triggers\n"
    "    4 table    rows may be written, too; each side follows the other\n"
    "    5 retired  the keys are deleted\n"
    "  A value that does not fit is never refused and never lost: it is a reject.\n"
    "\n"
    "  -name NAME  analyze: what the table is to be called\n"
    "  -key K      analyze: what a key looks like, as /node/{id}; without it as most of them do\n"
    "  -o FILE     analyze: the spec into a new file, and the report to the terminal\n"
    "  -dir DIR    write: where the migrations are (migrations)\n"
    "  -print      write: to the standard output, and no file\n"
    "  -noise PATH the noise file; none: without. Default: as the store remembers it\n"
    "  -json       machine-readable\n"
    "\n"
    "  holdfast promote analyze -name node -o node.promote app.db /node/\n"
    "  holdfast promote write node.promote shadow\n"
    "  holdfast schema apply app.db\n"
    "  holdfast promote verify app.db node.promote\n";

enum { NAME = 256, KEY, DIR, NOISE, PRINT };
static const struct option options[] = {{"name", required_argument, NULL, NAME},
                                        {"key", required_argument, NULL, KEY},
                                        {"dir", required_argument, NULL, DIR},
                                        {"noise", required_argument, NULL, NOISE},
                                        {"print", no_argument, NULL, PRINT},
                                        {"json", no_argument, NULL, 'j'},
                                        {"o", required_argument, NULL, 'o'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};

struct call {
    struct env *env;
    const char *first, *second; /* the arguments; second NULL: none */
    const char *name, *key, *out, *dir, *noise;
    char found[LIMIT_PATH]; /* the noise that the database remembers */
    bool json, print;
    struct reading files[2];
    size_t count;
};

/* ---- files ---- */

static rc open_files(struct call *c, struct err *e) {
    TRY(reading_open(c->env, c->first, false, &c->files[0], e));
    c->count = 1;
    if (!c->noise) remembered_noise(c->first, c->found);
    if (!c->noise) c->noise = c->found;
    if (!*c->noise || strcmp(c->noise, "none") == 0) return ok();
    TRY(reading_open(c->env, c->noise, true, &c->files[1], e));
    c->count = 2;
    return ok();
}

static rc read_spec(struct call *c, const char *path, struct spec **out, struct err *e) {
    struct file *f;
    uint64_t size;
    TRY(c->env->files->open(c->env, path, FILE_READ, &f, e));
    rc r = c->env->files->size(c->env, f, &size, e);
    if (is_ok(r) && size > LIMIT_SPEC)
        r = err_set(e, RC_CORRUPT, "%s: no spec: it has %" PRIu64 " bytes", path, size);
    char *text = is_ok(r) ? malloc(size + 1) : NULL;
    if (is_ok(r) && !text) r = err_set(e, RC_NOMEM, "no memory for %s", path);
    if (is_ok(r)) r = c->env->files->read(c->env, f, 0, text, size, e);
    if (is_ok(r)) r = spec_parse(path, text, size, out, e);
    c->env->files->close(c->env, f);
    free(text);
    return r;
}

/* The file where the keys of the spec are. */
static rc file_of(struct call *c, const struct spec *s, struct reading **out, struct err *e) {
    if (s->noise && c->count < 2)
        return err_set(e, RC_USAGE, "%s: its keys are in noise: say -noise PATH", s->name);
    *out = &c->files[s->noise];
    return ok();
}

static int print_array(json_t *array) {
    return cli_print_json(array, true, JSON_INDENT(1));
}

/* ---- analyze ---- */

static int64_t number(const json_t *o, const char *name) {
    return json_integer_value(json_object_get(o, name));
}

static const char *text(const json_t *o, const char *name) {
    const char *value = json_string_value(json_object_get(o, name));
    return value ? value : "-";
}

static void print_reasons(FILE *to, const char *lead, const json_t *why) {
    for (size_t i = 0; i < json_array_size(why); i++) {
        const json_t *one = json_array_get(why, i);
        fprintf(to, "%s%8" PRId64 " keys: %s, as %s\n", lead, number(one, "keys"), text(one, "why"),
                text(one, "example"));
    }
}

/* What was counted, as remarks of the spec. */
static void print_remarks(FILE *to, const char *lead, const json_t *report) {
    const json_t *members = json_object_get(report, "members"),
                 *values = json_object_get(report, "values");
    fprintf(to,
            "%s%" PRId64 " keys in %s, %" PRId64 " of them objects; %" PRId64 " would not fit\n",
            lead, number(report, "keys"), text(report, "database"), number(report, "objects"),
            number(report, "rejects"));
    print_reasons(to, lead, json_object_get(report, "why"));
    fprintf(to,
            "%svalues that their rows give back: %" PRId64 " in the same bytes, %" PRId64
            " equal as JSON, %" PRId64 " otherwise\n",
            lead, number(values, "bytes"), number(values, "semantic"), number(values, "lossy"));
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i), *types = json_object_get(m, "types");
        fprintf(to, "%s%s: in %" PRId64, lead, text(m, "path"), number(m, "present"));
        static const char *const names[] = {"text", "integer", "real", "bool", "other"};
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            if (number(types, names[k]))
                fprintf(to, ", %" PRId64 " %s", number(types, names[k]), names[k]);
        if (number(m, "nulls")) fprintf(to, ", %" PRId64 " null", number(m, "nulls"));
        if (number(m, "beyond_64_bits"))
            fprintf(to, ", %" PRId64 " beyond 64 bits", number(m, "beyond_64_bits"));
        fputs(json_is_null(json_object_get(m, "column")) ? ": stays in the rest\n" : "\n", to);
    }
    if (json_is_true(json_object_get(report, "more_members")))
        fprintf(to, "%sand more members, which stay in the rest\n", lead);
}

static rc write_out(struct call *c, const char *spec, const json_t *report, struct err *e) {
    int fd = open(c->out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f && fd >= 0) close(fd);
    if (!f) return err_errno(e, errno, "%s", c->out);
    fputs(spec, f);
    print_remarks(f, "--- ", report);
    bool whole = !ferror(f);
    whole = fclose(f) == 0 && whole;
    return whole ? ok() : err_set(e, RC_IO, "%s: it could not be written", c->out);
}

static rc run_analyze(struct call *c, int *code, struct err *e) {
    const struct analysis given = {.prefix = c->second, .name = c->name, .key = c->key};
    json_t *report;
    char *spec;
    TRY(open_files(c, e));
    TRY(analyze(c->files, c->count, &given, &report, &spec, e));
    rc r = c->out ? write_out(c, spec, report, e) : ok();
    if (is_ok(r) && !c->json) {
        if (!c->out) fputs(spec, stdout);
        print_remarks(stdout, c->out ? "" : "--- ", report);
    }
    free(spec);
    if (is_ok(r) && c->json) *code = cli_print_json(report, true, JSON_INDENT(1));
    else json_decref(report);
    return r;
}

/* ---- write ---- */

static rc rungs_below(struct call *c, const struct spec *s, unsigned *below, struct err *e) {
    struct set set = {0};
    rc r = set_load(c->env, c->dir, &set, e);
    *below = 0;
    if (r.code == RC_NOTFOUND) return ok(); /* it is made */
    TRY(r);
    for (size_t i = 0; i < set.count; i++) *below |= 1u << ladder_rung_of(s->name, set.at[i]->name);
    *below &= ~1u;
    set_deinit(&set);
    return ok();
}

static rc write_rung(struct call *c, const struct spec *s, enum rung rung, int *code,
                     struct err *e) {
    struct buf sql AUTO(buf_deinit) = {0};
    char name[LIMIT_SPEC_NAME + 16], *path = NULL;
    unsigned below;
    buf_init(&sql, LIMIT_MIGRATION);
    TRY(rungs_below(c, s, &below, e));
    TRY(ladder_text(s, rung, below, &sql, e));
    buf_u8(&sql, 0);
    TRY(buf_check(&sql, "the migration", e));
    if (c->print) {
        fputs((const char *)sql.bytes, stdout);
        return ok();
    }
    ladder_name(s, rung, name);
    TRY(set_new_file(c->env, c->dir, name, s->noise, (const char *)sql.bytes, &path, e));
    if (c->json)
        *code = cli_print_json(json_pack("{s:s, s:s, s:o}", "name", s->name, "rung",
                                         rung_name(rung), "file", json_string(path)),
                               true, JSON_INDENT(1));
    else puts(path);
    free(path);
    return ok();
}

static rc run_write(struct call *c, int *code, struct err *e) {
    enum rung rung;
    struct spec *s;
    if (!rung_parse(c->second, &rung))
        return err_set(e, RC_USAGE,
                       "rung %s: it is index, view, shadow, table or retired, or 1 to 5",
                       c->second);
    TRY(read_spec(c, c->first, &s, e));
    rc r = write_rung(c, s, rung, code, e);
    spec_free(s);
    return r;
}

/* ---- status, verify, rejects ---- */

static void print_status(const json_t *array) {
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *o = json_array_get(array, i);
        if (i == 0)
            printf("%-20s %-8s %-8s %10s %10s %8s  %s\n", "NAME", "DATABASE", "RUNG", "KEYS",
                   "ROWS", "REJECTS", "KEY");
        printf("%-20s %-8s %-8s %10" PRId64 " %10" PRId64 " %8" PRId64 "  %s\n", text(o, "name"),
               text(o, "database"), text(o, "rung"), number(o, "keys"), number(o, "rows"),
               number(o, "rejects"), text(o, "key"));
    }
    if (!json_array_size(array)) puts("no promotion is in it");
}

static rc run_status(struct call *c, int *code, struct err *e) {
    json_t *array = json_array();
    rc r = array ? open_files(c, e) : err_set(e, RC_NOMEM, "no memory");
    for (size_t i = 0; is_ok(r) && i < c->count; i++) r = look_status(&c->files[i], array, e);
    if (is_ok(r) && c->json) {
        *code = print_array(array);
        return r;
    }
    if (is_ok(r)) print_status(array);
    json_decref(array);
    return r;
}

static void print_verified(const json_t *o, bool agree) {
    const json_t *differ = json_object_get(o, "differ"), *values = json_object_get(o, "values");
    printf("%s: %s, rung %s, %" PRId64 " keys, ", agree ? "ok" : "DIFFERS", text(o, "name"),
           text(o, "rung"), number(o, "keys"));
    if (!json_is_null(values))
        printf("%" PRId64 " rows, %" PRId64 " rejects\n", number(o, "rows"), number(o, "rejects"));
    else puts("no table yet");
    print_reasons(stdout, "", json_object_get(o, "why"));
    if (number(values, "lossy"))
        printf("%8" PRId64 " rows give values that are not those of their keys\n",
               number(values, "lossy"));
    if (number(o, "differences")) printf("%8" PRId64 " differences:\n", number(o, "differences"));
    for (size_t i = 0; i < json_array_size(differ); i++)
        printf("  %s: %s\n", text(json_array_get(differ, i), "key"),
               text(json_array_get(differ, i), "what"));
}

static rc run_verify(struct call *c, int *code, struct err *e) {
    struct spec *s;
    struct reading *r = NULL;
    json_t *report = NULL;
    bool agree = false;
    TRY(read_spec(c, c->second, &s, e));
    rc did = open_files(c, e);
    if (is_ok(did)) did = file_of(c, s, &r, e);
    if (is_ok(did)) did = look_verify(r, s, &report, &agree, e);
    spec_free(s);
    TRY(did);
    *code = agree ? 0 : EXIT_FENCED;
    if (c->json) {
        int lost = cli_print_json(report, true, JSON_INDENT(1));
        if (lost) *code = lost;
        return ok();
    }
    print_verified(report, agree);
    json_decref(report);
    return ok();
}

static rc run_rejects(struct call *c, int *code, struct err *e) {
    json_t *array = json_array();
    rc r = array ? open_files(c, e) : err_set(e, RC_NOMEM, "no memory");
    for (size_t i = 0; is_ok(r) && i < c->count; i++)
        r = look_rejects(&c->files[i], c->second, array, e);
    if (is_ok(r) && c->json) {
        *code = print_array(array);
        return r;
    }
    for (size_t i = 0; is_ok(r) && i < json_array_size(array); i++) {
        const json_t *o = json_array_get(array, i);
        char at[32];
        format_time(number(o, "at_ms"), at);
        printf("%s  %s  %s: %s\n", at, text(o, "name"), text(o, "key"), text(o, "why"));
    }
    json_decref(array);
    return r;
}

/* ---- the command ---- */

static const struct verb {
    const char *name;
    rc (*run)(struct call *, int *code, struct err *);
    int least, most;
    const char *needs;
    const char *takes; /* options, besides -json and -noise */
} verbs[] = {
    {"analyze", run_analyze, 2, 2, "promote analyze needs a database and a prefix", "name key o"},
    {"write", run_write, 2, 2, "promote write needs a spec and a rung", "dir print"},
    {"status", run_status, 1, 1, "promote status needs a database", ""},
    {"verify", run_verify, 2, 2, "promote verify needs a database and a spec", ""},
    {"rejects", run_rejects, 1, 2, "promote rejects needs a database", ""},
};
#define VERB_COUNT (sizeof verbs / sizeof *verbs)

static const struct verb *find_verb(const char *name) {
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
    return NULL;
}

static int no_verb(const char *typed) {
    const char *names[VERB_COUNT + 1] = {NULL};
    for (size_t i = 0; i < VERB_COUNT; i++) names[i] = verbs[i].name;
    const char *near = *typed ? nearest_name(typed, names) : NULL;
    if (near) return cli_usage(help, "promote has no verb '%s': did you mean '%s'?", typed, near);
    return cli_usage(help, "promote needs one of analyze, write, status, verify, rejects");
}

static bool take_option(struct call *c, const struct verb *v, int option, int index) {
    const char *name = option == 'o' ? "o" : options[index].name;
    bool shared = option == 'j' || (option == NOISE && v->run != run_write);
    if (!shared && !strstr(v->takes, name)) return false;
    switch (option) {
    case NAME: c->name = optarg; break;
    case KEY: c->key = optarg; break;
    case DIR: c->dir = optarg; break;
    case NOISE: c->noise = optarg; break;
    case PRINT: c->print = true; break;
    case 'o': c->out = optarg; break;
    default: c->json = true;
    }
    return true;
}

static int run(struct call *c, const struct verb *v) {
    struct err e;
    int code = 0;
    rc r = env_new_system(1, &c->env, &e);
    if (is_ok(r)) r = v->run(c, &code, &e);
    for (size_t i = 0; i < 2; i++) reading_close(&c->files[i]);
    if (c->env) env_free_system(c->env);
    if (is_ok(r)) return code;
    if (c->json) /* what is asked for is an answer */
        cli_print_json(
            json_pack("{s:o, s:s}", "error", json_words(e.text), "code", rc_name(r.code)), true,
            JSON_INDENT(1));
    return cli_fail(r, &e);
}

int cmd_promote(int argc, char **argv) {
    struct call c = {.dir = "migrations"};
    const struct verb *v = argc > 1 ? find_verb(argv[1]) : NULL;
    int option, index = 0;
    argc -= v != NULL, argv += v != NULL;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":h", options, &index)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option == ':' || option == '?') return cli_bad_option(help, options, option, argv);
        if (!v) break;
        if (!take_option(&c, v, option, index))
            return cli_usage(help, "-%s is not an option of promote %s", options[index].name,
                             v->name);
    }
    if (!v) return no_verb(argc > 1 ? argv[1] : "");
    int wrong = cli_arguments(help, argc, argv, v->least, v->most, v->needs);
    if (wrong) return wrong;
    if (v->run == run_analyze && !c.name)
        return cli_usage(help, "promote analyze needs -name: what the table is to be called");
    c.first = argv[optind];
    c.second = argc - optind > 1 ? argv[optind + 1] : NULL;
    return run(&c, v);
}
