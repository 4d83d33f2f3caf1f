/* holdfast doctor URL: try what replication needs of a store, and say what to do about the rest.
 *
 * It works in a place of its own below the replica's root, "holdfast/doctor-<random>", touches
 * nothing else, and takes away what it made, also when a step fails.
 */
#include "cli/cli.h"

#include "base/limits.h"
#include "object/key.h"
#include "object/object.h"
#include "store/status.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "holdfast doctor [-json] URL\n"
                           "  Try what replication needs of a store; say what works and which "
                           "settings to use. Leaves nothing.\n"
                           "\n"
                           "  -json  machine-readable\n"
                           "\n"
                           "  holdfast doctor s3://bucket/app\n";

#define KEYS 3
#define SMALL 1000
#define LARGE ((8u << 20) + 1) /* two parts */
#define TIME_MS 1700000000123  /* of an object, to be found again to the millisecond */

struct doctor {
    struct env *env;
    struct store *store;
    const char *url; /* as it was given */
    char dir[64];
    char keys[KEYS][96], timed_key[96], large_key[96];
    uint8_t small[SMALL], *large;
    unsigned seen; /* keys that a list named, one bit each */
    bool seen_twice;
    json_t *report;
    bool json, create_only, tried_create_only, refused;
    bool part_lost; /* of the report: there was no memory */
    rc worst;
};

static rc put(struct doctor *d, struct err *e) {
    for (int i = 0; i < KEYS; i++)
        TRY(d->store->ops->put_note(d->store, d->keys[i], d->small, SMALL, e));
    return ok();
}

static rc put_timed(struct doctor *d, struct err *e) {
    return d->store->ops->put(d->store, d->timed_key, d->small, SMALL, TIME_MS, e);
}

/* A store that overwrites says that all went well. The steps after this go on without. */
static rc conditional_put(struct doctor *d, struct err *e) {
    rc r = d->store->ops->put(d->store, d->keys[0], d->small, SMALL, TIME_MS, e);
    d->create_only = r.code == RC_CONFLICT;
    d->tried_create_only = d->create_only || is_ok(r) || r.code == RC_UNFIT;
    if (d->create_only) return put_timed(d, e);
    d->store->unfenced = true;
    struct err first = *e;
    TRY(put_timed(d, e));
    *e = first;
    return is_ok(r) ? err_set(e, RC_UNFIT,
                              "it replaces what is there: two writers would not notice each other")
                    : r;
}

static rc get(struct doctor *d, struct err *e) {
    uint8_t got[SMALL];
    TRY(d->store->ops->get(d->store, d->keys[1], 0, got, SMALL, e));
    return memcmp(got, d->small, SMALL) == 0 ? ok()
                                             : err_set(e, RC_CORRUPT, "other bytes came back");
}

static rc range(struct doctor *d, struct err *e) {
    uint8_t got[100];
    TRY(d->store->ops->get(d->store, d->keys[1], 450, got, sizeof got, e));
    return memcmp(got, d->small + 450, sizeof got) == 0
               ? ok()
               : err_set(e, RC_CORRUPT, "the bytes of another range came back");
}

static rc metadata(struct doctor *d, struct err *e) {
    struct object_info info;
    TRY(d->store->ops->stat(d->store, d->timed_key, &info, e));
    if (info.size_bytes != SMALL) return err_set(e, RC_CORRUPT, "its size is not what was put");
    if (info.time_ms == TIME_MS) return ok();
    return err_set(e, RC_UNFIT, "its time was not kept: Litestream restores by time less exactly");
}

static rc see(void *arg, const struct object_info *info, struct err *e) {
    struct doctor *d = arg;
    (void)e;
    for (int i = 0; i < KEYS; i++) {
        if (strcmp(info->name, strrchr(d->keys[i], '/') + 1) != 0) continue;
        d->seen_twice |= d->seen >> i & 1;
        d->seen |= 1u << i;
    }
    return ok();
}

static rc list(struct doctor *d, struct err *e) {
    d->seen = 0;
    d->store->list_page = 1;
    rc r = d->store->ops->list(d->store, d->dir, see, d, e);
    d->store->list_page = 0;
    TRY(r);
    if (d->seen == (1u << KEYS) - 1 && !d->seen_twice) return ok();
    return err_set(e, RC_CORRUPT, "the list is not what was put");
}

static rc multipart(struct doctor *d, struct err *e) {
    struct object_upload *u;
    uint8_t end[2];
    struct object_info info;
    TRY(d->store->ops->upload_open(d->store, d->large_key, LARGE, &u, e));
    rc r = d->store->ops->upload_write(u, d->large, LARGE, e);
    if (!is_ok(r)) {
        d->store->ops->upload_abort(u);
        return r;
    }
    TRY(d->store->ops->upload_commit(u, TIME_MS, e));
    TRY(d->store->ops->stat(d->store, d->large_key, &info, e));
    if (info.size_bytes != LARGE) return err_set(e, RC_CORRUPT, "its size is not what was sent");
    TRY(d->store->ops->get(d->store, d->large_key, LARGE - 2, end, 2, e));
    return memcmp(end, d->large + LARGE - 2, 2) == 0
               ? ok()
               : err_set(e, RC_CORRUPT, "other bytes came back");
}

static rc clean_up(struct doctor *d, struct err *e) {
    rc worst = ok();
    struct object_info info;
    struct err ignored;
    for (int i = 0; i < KEYS + 2; i++) {
        const char *key = i < KEYS ? d->keys[i] : i == KEYS ? d->timed_key : d->large_key;
        rc r = d->store->ops->remove(d->store, key, is_ok(worst) ? e : &ignored);
        if (is_ok(r) && d->store->ops->stat(d->store, key, &info, &ignored).code != RC_NOTFOUND)
            r = err_set(e, RC_IO, "%s/%s is still there", d->store->url, key);
        if (is_ok(worst)) worst = r;
    }
    return worst;
}

/* `needed_for` is told when the step fails. */
static const struct step {
    const char *name;
    rc (*run)(struct doctor *, struct err *);
    const char *needed_for;
} steps[] = {
    {"put", put, "replicate cannot work"},
    {"conditional put", conditional_put,
     "replicate refuses the store; -unfenced goes on without, and then nobody else may ever write "
     "there"},
    {"get", get, "nothing can be restored"},
    {"range", range, "nothing can be restored"},
    {"metadata", metadata, "times are read from the objects instead"},
    {"list", list, "a replica of more objects than one list holds cannot be read"},
    {"multipart", multipart, "snapshots and compactions over 8 MiB cannot be stored"},
    {"delete", clean_up,
     "old objects stay for ever: let a rule of the bucket remove them; the doctor's own stay too"},
};

static rc run_step(struct doctor *d, const struct step *step) {
    struct err e = {0};
    int64_t began = d->env->mono_ns(d->env);
    rc r = step->run(d, &e);
    double ms = (double)(d->env->mono_ns(d->env) - began) / 1e6;
    bool minor = step->run == metadata;
    const char *means = is_ok(r) ? "" : step->needed_for;
    if (!is_ok(r) && !minor && (is_ok(d->worst) || r.code == RC_UNFIT)) d->worst = r;
    d->refused |= strstr(e.text, ": 403") != NULL;
    d->part_lost |=
        json_array_append_new(d->report,
                              json_pack("{s:s, s:b, s:f, s:o, s:s}", "step", step->name, "ok",
                                        is_ok(r), "ms", ms, "error",
                                        json_words(is_ok(r) ? "" : e.text), "means", means)) != 0;
    if (d->json) return r;
    printf("%-5s %-16s %8.1f ms", is_ok(r) ? "ok" : minor ? "note" : "FAIL", step->name, ms);
    if (!is_ok(r)) printf("  %s\n%34s%s", e.text, "", means);
    putchar('\n');
    fflush(stdout);
    return r;
}

/* Where nothing can be put, one reason is enough; a server that does not answer is not asked to
 * take away what it probably does not have. */
static void run_steps(struct doctor *d) {
    struct err ignored;
    rc r = run_step(d, &steps[0]);
    if (is_ok(r)) {
        for (size_t i = 1; i < sizeof steps / sizeof *steps; i++)
            if (!is_ok(run_step(d, &steps[i]))) { /* it is in the report */
            }
    } else if (r.code != RC_RETRY && r.code != RC_TIMEOUT && !is_ok(clean_up(d, &ignored))) {
        /* there is probably nothing */
    }
}

/* "s3://bucket/root?..." */
static bool split_bucket(const char *url, char bucket[256], char root[1024]) {
    if (strncmp(url, "s3://", 5) != 0) return false;
    size_t n = strcspn(url + 5, "/?");
    const char *rest = url + 5 + n;
    snprintf(bucket, 256, "%.*s", (int)n, url + 5);
    if (*rest == '/') rest++;
    char escaped[1024];
    struct err ignored;
    snprintf(escaped, sizeof escaped, "%.*s", (int)strcspn(rest, "?"), rest);
    return is_ok(url_decode(escaped, root, &ignored));
}

static json_t *policy_of(const char *bucket, const char *root) {
    char objects[1400], arn[300], below[1100];
    snprintf(below, sizeof below, "%s%s*", root, *root ? "/" : "");
    snprintf(arn, sizeof arn, "arn:aws:s3:::%s", bucket);
    snprintf(objects, sizeof objects, "%s/%s", arn, below);
    return json_pack("{s:s, s:[{s:s, s:[s,s,s,s], s:s}, {s:s, s:s, s:s, s:{s:{s:s}}}]}", "Version",
                     "2012-10-17", "Statement", "Effect", "Allow", "Action", "s3:PutObject",
                     "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "Resource",
                     objects, "Effect", "Allow", "Action", "s3:ListBucket", "Resource", arn,
                     "Condition", "StringLike", "s3:prefix", below);
}

static int print_report(struct doctor *d) {
    char bucket[256], root[1024], use[LIMIT_PATH + 64] = "";
    json_t *policy = NULL;
    if (d->tried_create_only)
        snprintf(use, sizeof use, "holdfast replicate %sDB '%s'",
                 d->create_only ? "" : "-unfenced ", d->url);
    if ((*use || d->refused) && split_bucket(d->store->url, bucket, root)) {
        policy = policy_of(bucket, root);
        d->part_lost |= !policy;
    }
    if (d->json) {
        json_t *o = json_pack("{s:b, s:o, s:o, s:O, s:o*}", "ok", is_ok(d->worst), "url",
                              json_words(d->store->url), "use", json_words(use), "steps", d->report,
                              "policy", policy);
        return cli_print_json(o, !d->part_lost, JSON_COMPACT);
    }
    if (*use) printf("\nuse: %s\n", use);
    if (strstr(d->store->url, "endpoint=http://"))
        puts("note: plain http: who is on the way can read and change all of it");
    if (!policy) return 0;
    puts("least rights (without s3:DeleteObject nothing is ever removed; restore needs GetObject "
         "and "
         "ListBucket only):");
    return cli_print_json(policy, true, JSON_INDENT(2));
}

static rc prepare(struct doctor *d, const char *url, struct err *e) {
    uint64_t id;
    TRY(env_new_system(1, &d->env, e));
    TRY(store_open(d->env, url, &d->store, e));
    d->large = malloc(LARGE);
    d->report = json_array();
    if (!d->large || !d->report) return err_set(e, RC_NOMEM, "no memory");
    d->env->random(d->env, &id, sizeof id);
    d->env->random(d->env, d->small, SMALL);
    d->env->random(d->env, d->large, LARGE);
    snprintf(d->dir, sizeof d->dir, "holdfast/doctor-%016" PRIx64, id);
    for (int i = 0; i < KEYS; i++) snprintf(d->keys[i], sizeof d->keys[i], "%s/%d", d->dir, i);
    snprintf(d->timed_key, sizeof d->timed_key, "%s/timed", d->dir);
    snprintf(d->large_key, sizeof d->large_key, "%s/large", d->dir);
    return ok();
}

static int doctor(const char *url, bool json) {
    struct doctor d = {.url = url, .json = json};
    struct err e;
    int code = 0;
    rc r = prepare(&d, url, &e);
    if (is_ok(r)) {
        if (!json) printf("%s\n", d.store->url);
        run_steps(&d);
        code = print_report(&d);
        r = d.worst;
        err_fill(&e, r.code, "doctor: not all that is needed works");
    }
    free(d.large);
    json_decref(d.report);
    store_free(d.store);
    env_free_system(d.env);
    return is_ok(r) ? code : cli_fail(r, &e);
}

int cmd_doctor(int argc, char **argv) {
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    bool json = false;
    int option;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option == 'j') json = true;
        else return cli_bad_option(help, options, option, argv);
    }
    int wrong = cli_arguments(help, argc, argv, 1, 1, "doctor needs a URL");
    if (wrong) return wrong;
    return doctor(argv[optind], json);
}
