/* The migrations of a program or a directory: see the header.
 *
 * Why a name that is not understood is an error: a migration that is passed over in silence is one
 * that a service runs without. Hidden files, and those that do not end in ".sql", are not looked
 * at.
 *
 * Why holdfast.sum can be missing: a directory of dbmate's or goose's has none, and is read as it
 * is. Once it is there it is compared, always.
 *
 * After a crash: a new migration lies there whole, or not at all; it may be missing in holdfast.sum
 * then, which the next command says. holdfast.sum is the old one or the new one.
 */
#include "schema/set.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "object/sigv4.h"
#include "os/system.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#define NOISE "noise"
#define LIMIT_SUM (LIMIT_MIGRATIONS * 400u)
#define NAME_SIZE (LIMIT_MIGRATION_NAME + sizeof NOISE "/")
#define TO_MEND "'holdfast schema lint -write' writes it anew, if that is meant"
#define HEAD                                                                                       \
    "# What each migration was when it was written: file, SHA-256, chain. By holdfast schema "     \
    "lint -write.\n"

/* ---- a set ---- */

/* As it stands in holdfast.sum. */
static const char *name_of(const struct migration *m, char out[NAME_SIZE]) {
    snprintf(out, NAME_SIZE, "%s%s", m->noise ? NOISE "/" : "", m->name);
    return out;
}

static rc set_add(struct set *s, struct migration *m, struct err *e) {
    struct migration **more = s->at;
    if (s->count >= LIMIT_MIGRATIONS) {
        migration_free(m);
        return err_set(e, RC_USAGE, "more than %u migrations", LIMIT_MIGRATIONS);
    }
    if ((s->count & (s->count - 1)) == 0)
        more = realloc(s->at, (s->count ? 2 * s->count : 1) * sizeof(void *));
    if (!more) {
        migration_free(m);
        return err_set(e, RC_NOMEM, "no memory");
    }
    s->at = more;
    s->at[s->count++] = m;
    return ok();
}

static int by_version(const void *a, const void *b) {
    const struct migration *x = *(struct migration *const *)a, *y = *(struct migration *const *)b;
    if (x->version == y->version) return x->noise == y->noise ? strcmp(x->name, y->name) : x->noise;
    return x->version < y->version ? -1 : 1;
}

static rc chain_set(struct set *s, struct err *e) {
    char text[2 * 64 + NAME_SIZE], name[NAME_SIZE], before[65];
    memset(before, '0', 64);
    before[64] = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct migration *m = s->at[i];
        int n = snprintf(text, sizeof text, "%s%s%s", before, name_of(m, name), m->sha256);
        if (!sha256_hex(text, (size_t)n, m->chain)) return err_set(e, RC_NOMEM, "no memory");
        memcpy(before, m->chain, sizeof before);
    }
    return ok();
}

static rc set_finish(struct set *s, struct err *e) {
    char one[NAME_SIZE], other[NAME_SIZE];
    if (s->count) qsort(s->at, s->count, sizeof(void *), by_version);
    for (size_t i = 1; i < s->count; i++)
        if (s->at[i]->version == s->at[i - 1]->version)
            return err_set(e, RC_CONFLICT, "two migrations of version %" PRId64 ": %s and %s",
                           s->at[i]->version, name_of(s->at[i - 1], one), name_of(s->at[i], other));
    return chain_set(s, e);
}

void set_deinit(struct set *s) {
    for (size_t i = 0; i < s->count; i++) migration_free(s->at[i]);
    free(s->at);
    *s = (struct set){0};
}

const struct migration *set_find(const struct set *s, int64_t version) {
    size_t from = 0, to = s->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (s->at[middle]->version == version) return s->at[middle];
        if (s->at[middle]->version < version) from = middle + 1;
        else to = middle;
    }
    return NULL;
}

int64_t set_newest(const struct set *s) {
    return s->count ? s->at[s->count - 1]->version : 0;
}

/* ---- an array ---- */

/* A name in an array may do without ".sql": the migration is the same. */
static rc add_one(struct set *s, const hf_migration *one, struct err *e) {
    const bool noise = strncmp(one->name, NOISE "/", sizeof NOISE) == 0;
    const char *name = one->name + (noise ? sizeof NOISE : 0);
    char full[LIMIT_MIGRATION_NAME + 8];
    struct migration *m;
    size_t n = strlen(name);
    const char *suffix = n > 4 && strcmp(name + n - 4, ".sql") == 0 ? "" : ".sql";
    if (!one->sql) return err_set(e, RC_USAGE, "%.200s: its text is NULL", one->name);
    if (n > LIMIT_MIGRATION_NAME)
        return err_set(e, RC_CORRUPT, "%.40s...: the name has more than %u bytes", name,
                       LIMIT_MIGRATION_NAME);
    snprintf(full, sizeof full, "%s%s", name, suffix);
    TRY(migration_parse(full, noise, one->sql, strlen(one->sql), &m, e));
    return set_add(s, m, e);
}

rc set_of_array(const hf_migration *array, struct set *out, struct err *e) {
    struct set s = {0};
    rc r = ok();
    for (; is_ok(r) && array->name; array++) r = add_one(&s, array, e);
    if (is_ok(r)) r = set_finish(&s, e);
    if (is_ok(r)) *out = s;
    else set_deinit(&s);
    return r;
}

/* ---- a directory ---- */

static rc path_of(const char *dir, const char *name, char out[LIMIT_PATH], struct err *e) {
    int n = snprintf(out, LIMIT_PATH, "%s/%s", dir, name);
    if (n > 0 && (unsigned)n < LIMIT_PATH) return ok();
    return err_set(e, RC_USAGE, "%.80s...: path too long", dir);
}

static bool is_sql(const char *name) {
    size_t n = strlen(name);
    return n > 4 && strcasecmp(name + n - 4, ".sql") == 0;
}

/* RC_NOTFOUND: it is not there. */
static rc read_whole(struct env *env, const char *path, size_t limit, char **out, size_t *size,
                     struct err *e) {
    struct file_stat st;
    struct file *f;
    TRY(env->files->stat(env, path, &st, e));
    if (!st.is_regular) return err_set(e, RC_CORRUPT, "%s: not a plain file", path);
    if (st.size_bytes > limit)
        return err_set(e, RC_CORRUPT, "%s: %" PRIu64 " bytes; at most %zu", path, st.size_bytes,
                       limit);
    TRY(env->files->open(env, path, FILE_READ, &f, e));
    size_t n = (size_t)st.size_bytes;
    char *text = malloc(n + 1);
    rc r = text ? env->files->read(env, f, 0, text, n, e) : err_set(e, RC_NOMEM, "no memory");
    env->files->close(env, f);
    if (!is_ok(r)) {
        free(text);
        return r;
    }
    text[n] = 0;
    *out = text;
    *size = n;
    return r;
}

struct loading {
    struct env *env;
    const char *dir;
    bool noise, has_noise;
    struct set *set;
};

static rc refuse_sql(void *arg, const char *name, struct err *e) {
    if (*name == '.' || !is_sql(name)) return ok();
    return err_set(e, RC_CORRUPT,
                   "%s: a migration (%.80s) in a directory that is not '" NOISE
                   "': it would not be run",
                   (const char *)arg, name);
}

static rc load_directory(struct loading *l, const char *name, char *path, struct err *e) {
    if (is_sql(name)) return err_set(e, RC_CORRUPT, "%s: this is a directory", path);
    if (!l->noise && strcmp(name, NOISE) == 0) {
        l->has_noise = true;
        return ok();
    }
    return l->env->files->list(l->env, path, refuse_sql, path, e);
}

static rc load_entry(void *arg, const char *name, struct err *e) {
    struct loading *l = arg;
    char path[LIMIT_PATH], *text;
    size_t size;
    struct file_stat st;
    struct migration *m;
    if (*name == '.') return ok();
    TRY(path_of(l->dir, name, path, e));
    rc there = l->env->files->stat(l->env, path, &st, e);
    if (there.code == RC_NOTFOUND && is_sql(name))
        return err_set(e, RC_CORRUPT, "%s: a link to nothing", path);
    if (there.code == RC_NOTFOUND) return ok();
    TRY(there);
    if (st.is_directory) return load_directory(l, name, path, e);
    if (!is_sql(name)) return ok();
    if (strcmp(name + strlen(name) - 4, ".sql") != 0)
        return err_set(e, RC_CORRUPT, "%s: its name ends in '.sql', in small letters", path);
    TRY(read_whole(l->env, path, LIMIT_MIGRATION, &text, &size, e));
    rc r = migration_parse(name, l->noise, text, size, &m, e);
    free(text);
    TRY(r);
    return set_add(l->set, m, e);
}

static rc load_all(struct env *env, const char *dir, struct set *s, struct err *e) {
    char noise[LIMIT_PATH];
    struct loading l = {.env = env, .dir = dir, .set = s};
    TRY(path_of(dir, NOISE, noise, e));
    TRY(env->files->list(env, dir, load_entry, &l, e));
    l.dir = noise;
    l.noise = true;
    if (l.has_noise) TRY(env->files->list(env, noise, load_entry, &l, e));
    return set_finish(s, e);
}

/* ---- holdfast.sum ---- */

struct sum_line {
    char name[NAME_SIZE], sha256[65], chain[65];
};

/* Exactly three words. */
static bool read_line(const char *line, struct sum_line *out) {
    int end = -1;
    struct sum_line l;
    _Static_assert(LIMIT_MIGRATION_NAME == 200, "the width below");
    if (sscanf(line, "%206s %64[0-9a-f] %64[0-9a-f]%n", l.name, l.sha256, l.chain, &end) != 3 ||
        line[end] || strlen(l.sha256) != 64 || strlen(l.chain) != 64)
        return false;
    *out = l;
    return true;
}

static bool has_name(const struct set *s, const char *name) {
    char one[NAME_SIZE];
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(name_of(s->at[i], one), name) == 0) return true;
    return false;
}

static rc compare_line(const struct set *s, size_t i, const struct sum_line *l, int number,
                       struct err *e) {
    char name[NAME_SIZE];
    if (!has_name(s, l->name))
        return err_set(e, RC_CORRUPT, SUM_FILE " has %s, and the directory has not: " TO_MEND,
                       l->name);
    const struct migration *m = s->at[i];
    if (strcmp(name_of(m, name), l->name) != 0)
        return err_set(e, RC_CORRUPT, "%s is not in " SUM_FILE " (its place is line %d): " TO_MEND,
                       name, number);
    if (strcmp(m->sha256, l->sha256) != 0)
        return err_set(e, RC_CORRUPT, "%s was edited: " SUM_FILE " has another hash; " TO_MEND,
                       name);
    if (strcmp(m->chain, l->chain) != 0)
        return err_set(
            e, RC_CORRUPT,
            "%s: " SUM_FILE " was made beside other migrations (two branches?): " TO_MEND, name);
    return ok();
}

static rc compare_sum(const struct set *s, char *text, struct err *e) {
    char name[NAME_SIZE];
    size_t i = 0;
    int number = 1;
    for (char *line = text, *rest; line; line = rest, number++) {
        struct sum_line l;
        rest = strchr(line, '\n');
        if (rest) *rest++ = 0;
        line[strcspn(line, "\r")] = 0;
        if (!*line || *line == '#') continue;
        if (!read_line(line, &l))
            return err_set(e, RC_CORRUPT,
                           SUM_FILE ":%d: '%.40s' is no line of it (a merge with conflicts?): "
                                    "mend it, or " TO_MEND,
                           number, line);
        if (i == s->count)
            return err_set(e, RC_CORRUPT, SUM_FILE ":%d: %s, which is %s: " TO_MEND, number, l.name,
                           has_name(s, l.name) ? "there already" : "not in the directory");
        TRY(compare_line(s, i++, &l, number, e));
    }
    if (i < s->count)
        return err_set(e, RC_CORRUPT, "%s is not in " SUM_FILE ": " TO_MEND,
                       name_of(s->at[i], name));
    return ok();
}

/* *out NULL: there is none. */
static rc read_sum(struct env *env, const char *dir, char **out, size_t *size, struct err *e) {
    char path[LIMIT_PATH];
    *out = NULL;
    *size = 0;
    TRY(path_of(dir, SUM_FILE, path, e));
    rc r = read_whole(env, path, LIMIT_SUM, out, size, e);
    return r.code == RC_NOTFOUND ? ok() : r;
}

static rc check_sum(struct env *env, const char *dir, struct set *s, struct err *e) {
    char *text;
    size_t size;
    TRY(read_sum(env, dir, &text, &size, e));
    s->has_sum = text != NULL;
    rc r = ok();
    if (text && strlen(text) != size) r = err_set(e, RC_CORRUPT, SUM_FILE ": not a text");
    else if (text) r = compare_sum(s, text, e);
    free(text);
    return r;
}

rc set_load(struct env *env, const char *dir, struct set *out, struct err *e) {
    struct set s = {0};
    rc r = load_all(env, dir, &s, e);
    if (is_ok(r)) r = check_sum(env, dir, &s, e);
    if (is_ok(r)) *out = s;
    else set_deinit(&s);
    return r.code == RC_NOTFOUND ? err_prefix(e, r, "migrations") : r;
}

/* ---- writing ---- */

/* A new file is as open to others as its directory: the system's own would be for its owner. */
static rc open_to_others(struct env *env, const char *like, const char *path, unsigned bits,
                         struct err *e) {
    struct file_stat st;
    TRY(env->files->stat(env, like, &st, e));
    if (chmod(path, (st.mode & bits) | S_IRUSR | S_IWUSR) == 0) return ok();
    return err_set(e, RC_IO, "%s: its mode cannot be set", path);
}

static rc fill(struct env *env, struct file *f, const void *bytes, size_t n, struct err *e) {
    TRY(env->files->write(env, f, 0, bytes, n, e));
    return env->files->sync(env, f, e);
}

static rc replace_sum(struct env *env, const char *dir, const struct buf *text, struct err *e) {
    char path[LIMIT_PATH], temp[LIMIT_PATH], name[64];
    uint64_t id;
    struct file *f;
    env->random(env, &id, sizeof id);
    snprintf(name, sizeof name, "." SUM_FILE ".%016" PRIx64, id);
    TRY(path_of(dir, SUM_FILE, path, e));
    TRY(path_of(dir, name, temp, e));
    TRY(env->files->open(env, temp, FILE_CREATE_NEW, &f, e));
    rc r = fill(env, f, text->bytes, text->size, e);
    env->files->close(env, f);
    if (is_ok(r)) r = open_to_others(env, dir, temp, 0644, e);
    if (is_ok(r)) r = env->files->rename(env, temp, path, true, e);
    if (is_ok(r)) return env->files->sync_dir(env, dir, e);
    rc gone = env->files->remove(env, temp, NULL);
    (void)gone;
    return r;
}

static rc write_sum(struct env *env, const char *dir, const struct set *s, bool *changed,
                    struct err *e) {
    struct buf b AUTO(buf_deinit);
    char line[NAME_SIZE + 140], name[NAME_SIZE], *old;
    size_t old_size;
    buf_init(&b, LIMIT_SUM);
    buf_text(&b, HEAD);
    for (size_t i = 0; i < s->count; i++) {
        const struct migration *m = s->at[i];
        snprintf(line, sizeof line, "%s %s %s\n", name_of(m, name), m->sha256, m->chain);
        buf_text(&b, line);
    }
    TRY(buf_check(&b, SUM_FILE, e));
    TRY(read_sum(env, dir, &old, &old_size, e));
    *changed = !old || old_size != b.size || memcmp(old, b.bytes, b.size) != 0;
    free(old);
    return *changed ? replace_sum(env, dir, &b, e) : ok();
}

rc set_write_sum(struct env *env, const char *dir, bool *changed, struct err *e) {
    struct set s = {0};
    rc r = load_all(env, dir, &s, e);
    if (is_ok(r)) r = write_sum(env, dir, &s, changed, e);
    set_deinit(&s);
    return r;
}

/* ---- a new one ---- */

static const char template[] =
    "-- %s: why?\n"
    "--\n"
    "-- As it stands this is one step, in one transaction: plain SQL, without BEGIN. Where "
    "programs\n"
    "-- that are older have to go on meanwhile, divide it by lines like 'holdfast:down' below,\n"
    "-- in this order: expand, sync, backfill, verify, contract, revert, down (docs/schema.md 2).\n"
    "\n"
    "-- ALTER TABLE user ADD COLUMN email TEXT;\n"
    "\n"
    "-- holdfast:down\n"
    "-- ALTER TABLE user DROP COLUMN email;\n";

/* "Split the name" -> "split_the_name" */
static rc plain_name(const char *name, char out[NAME_SIZE], struct err *e) {
    size_t n = 0;
    for (; name[n]; n++) {
        char c = (char)(name[n] == ' ' ? '_' : tolower((unsigned char)name[n]));
        if (n > LIMIT_MIGRATION_NAME / 2 || !(isalnum((unsigned char)c) || c == '_' || c == '-'))
            return err_set(e, RC_USAGE,
                           "'%.60s': a name has letters, digits and underscores, at most %u", name,
                           LIMIT_MIGRATION_NAME / 2);
        out[n] = c;
    }
    out[n] = 0;
    return n ? ok() : err_set(e, RC_USAGE, "a migration has a name");
}

/* Digits of the newest's version, and its number, or those of the time. */
static rc next_version(struct env *env, const struct set *s, char out[32], struct err *e) {
    const int64_t newest = set_newest(s);
    const time_t now = (time_t)(env->unix_ms(env) / 1000);
    struct tm tm;
    size_t digits = newest ? strspn(s->at[s->count - 1]->name, "0123456789") : 14;
    if (!gmtime_r(&now, &tm) || !strftime(out, 32, "%Y%m%d%H%M%S", &tm))
        return err_set(e, RC_IO, "the clock says %lld", (long long)now);
    if (digits < 14 || strtoll(out, NULL, 10) <= newest)
        snprintf(out, 32, "%0*" PRId64, (int)digits, newest + 1);
    return ok();
}

static rc create(struct env *env, const char *dir, const char *path, const char *text,
                 struct err *e) {
    struct file *f;
    TRY(env->files->open(env, dir, FILE_TEMP, &f, e));
    rc r = fill(env, f, text, strlen(text), e);
    if (is_ok(r)) r = env->files->link(env, f, NULL, path, e);
    env->files->close(env, f);
    TRY(r);
    TRY(open_to_others(env, dir, path, 0644, e));
    return env->files->sync_dir(env, dir, e);
}

/* As open as what it lies in. */
static rc make_directory(struct env *env, const char *dir, struct err *e) {
    char plain[LIMIT_PATH], parent[LIMIT_PATH];
    struct file_stat st;
    rc there = env->files->stat(env, dir, &st, e);
    if (there.code != RC_NOTFOUND) return there;
    TRY(env->files->make_dirs(env, dir, e));
    snprintf(plain, sizeof plain, "%s", dir);
    for (size_t n = strlen(plain); n > 1 && plain[n - 1] == '/'; n--) plain[n - 1] = 0;
    system_directory_of(plain, parent);
    return open_to_others(env, parent, dir, 0755, e);
}

static rc new_file(struct env *env, const char *dir, const char *plain, bool noise,
                   const char *text, struct set *s, char **path, struct err *e) {
    char version[32], name[NAME_SIZE + 40], own[sizeof template + NAME_SIZE];
    char full[LIMIT_PATH], noise_dir[LIMIT_PATH];
    const char *in = noise ? noise_dir : dir;
    struct migration *m;
    bool changed;
    TRY(next_version(env, s, version, e));
    snprintf(own, sizeof own, template, plain);
    snprintf(name, sizeof name, "%s_%s.sql", version, plain);
    if (!text) text = own;
    TRY(migration_parse(name, noise, text, strlen(text), &m, e));
    TRY(set_add(s, m, e));
    TRY(set_finish(s, e));
    TRY(path_of(dir, NOISE, noise_dir, e));
    TRY(path_of(in, name, full, e));
    TRY(make_directory(env, in, e));
    TRY(create(env, in, full, text, e));
    TRY(write_sum(env, dir, s, &changed, e));
    *path = strdup(full);
    return *path ? ok() : err_set(e, RC_NOMEM, "no memory");
}

rc set_new_file(struct env *env, const char *dir, const char *name, bool noise, const char *text,
                char **path, struct err *e) {
    struct set s = {0};
    char plain[NAME_SIZE];
    TRY(plain_name(name, plain, e));
    TRY(make_directory(env, dir, e));
    rc r = set_load(env, dir, &s, e);
    if (is_ok(r)) r = new_file(env, dir, plain, noise, text, &s, path, e);
    set_deinit(&s);
    return r;
}
