/* What `holdfast schema` says to people: tables, in which each number has its unit, and what to do
 * next. */
#include "cli/schema.h"

#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- values ---- */

static const char *text(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static int64_t number(const json_t *o, const char *key) {
    return json_integer_value(json_object_get(o, key));
}

static double real(const json_t *o, const char *key) {
    return json_number_value(json_object_get(o, key));
}

static bool is_true(const json_t *o, const char *key) {
    return json_is_true(json_object_get(o, key));
}

static const json_t *list(const json_t *o, const char *key) {
    return json_object_get(o, key);
}

/* Of a migration: without the ".sql" of its file, behind "noise/" if it is of that. */
static void name_of(const json_t *o, char out[256]) {
    const char *name = text(o, "name");
    size_t n = strlen(name);
    bool noise = strcmp(text(o, "database"), "noise") == 0;
    if (n > 4 && strcmp(name + n - 4, ".sql") == 0) n -= 4;
    if (n) snprintf(out, 256, "%s%.*s", noise ? "noise/" : "", (int)n, name);
    else snprintf(out, 256, "%s%" PRId64, noise ? "noise/" : "", number(o, "version"));
}

/* 12,345 */
static void count_text(int64_t n, char out[32]) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRId64, n), to = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0 && digits[i - 1] != '-') out[to++] = ',';
        out[to++] = digits[i];
    }
    out[to] = 0;
}

static void ms_text(double ms, char out[32]) {
    if (ms < 9950) snprintf(out, 32, "%.1f ms", ms);
    else snprintf(out, 32, "%.1f s", ms / 1000);
}

static void bytes_text(int64_t n, char out[32]) {
    if (n < 1000) snprintf(out, 32, "%" PRId64 " B", n);
    else if (n < 1000000) snprintf(out, 32, "%.1f kB", (double)n / 1e3);
    else snprintf(out, 32, "%.1f MB", (double)n / 1e6);
}

static void time_text(int64_t ms, char out[32]) {
    format_time(ms, out);
    out[10] = ' '; /* for people */
    out[19] = 0;
}

static void duration_text(int64_t ms, char out[32]) {
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}};
    size_t i = 0;
    while (i < 3 && ms % units[i].ms) i++;
    snprintf(out, 32, "%" PRId64 " %s", ms / units[i].ms, units[i].name);
}

static const char *plural(size_t n) {
    return n == 1 ? "" : "s";
}

/* ---- tables ---- */

#define COLUMNS 8
#define CELL 256

/* Columns as wide as what is in them; a name that begins with '>' is of one that stands to the
 * right. Empty columns are left out. */
struct table {
    const char *names[COLUMNS];
    int count;
    json_t *rows; /* arrays of texts */
};

static struct table table_of(const char *const *names) {
    struct table t = {.rows = json_array()};
    while (names[t.count]) {
        t.names[t.count] = names[t.count];
        t.count++;
    }
    return t;
}

/* What a program calls itself is not to write on a terminal as it likes. */
static const char *printable(const char *s, char *out, size_t size) {
    snprintf(out, size, "%s", s);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
    return out;
}

static void row(struct table *t, const char *const *cells) {
    char plain[CELL];
    json_t *r = json_array();
    for (int i = 0; i < t->count; i++)
        json_array_append_new(r, json_string(printable(cells[i], plain, CELL)));
    json_array_append_new(t->rows, r);
}

static const char *cell(const json_t *r, int i) {
    const char *s = json_string_value(json_array_get(r, (size_t)i));
    return s ? s : "";
}

/* In characters: names may be of any script. */
static int width(const char *s) {
    int n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static int widest(const struct table *t, int i) {
    size_t at;
    json_t *r;
    int most = 0;
    json_array_foreach(t->rows, at, r) {
        int n = width(cell(r, i));
        if (n > most) most = n;
    }
    if (!most) return 0;
    int name = width(t->names[i] + (t->names[i][0] == '>'));
    return most > name ? most : name;
}

static void print_line(const struct table *t, const int *widths, const json_t *r) {
    int blanks = 0;
    for (int i = 0; i < t->count; i++) {
        bool right = t->names[i][0] == '>';
        const char *s = r ? cell(r, i) : t->names[i] + right;
        int pad = widths[i] - width(s);
        if (!widths[i]) continue;
        if (right) blanks += pad;
        if (*s) printf("%*s%s", blanks, "", s);
        blanks = (*s ? 2 : blanks + 2) + (right ? 0 : pad);
    }
    putchar('\n');
}

static void print_table(struct table *t) {
    int widths[COLUMNS];
    size_t at;
    json_t *r;
    for (int i = 0; i < t->count; i++) widths[i] = widest(t, i);
    if (json_array_size(t->rows)) print_line(t, widths, NULL);
    json_array_foreach(t->rows, at, r) {
        print_line(t, widths, r);
    }
    json_decref(t->rows);
}

#define TABLE(...) table_of((const char *const[]){__VA_ARGS__, NULL})
#define ROW(t, ...) row(t, (const char *const[]){__VA_ARGS__})

/* ---- what several have ---- */

static void print_steps(const json_t *steps) {
    struct table t = TABLE("MIGRATION", "STEP", ">LOCK", ">ROWS", ">LOG", ">UPLOAD");
    size_t i;
    json_t *s;
    json_array_foreach(steps, i, s) {
        char name[256], lock[32], rows[32], log[32] = "", upload[32] = "";
        name_of(s, name);
        ms_text(real(s, "lock_ms"), lock);
        count_text(number(s, "rows"), rows);
        if (json_object_get(s, "wal_bytes")) bytes_text(number(s, "wal_bytes"), log);
        if (json_object_get(s, "upload_bytes")) bytes_text(number(s, "upload_bytes"), upload);
        ROW(&t, name, text(s, "step"), lock, number(s, "rows") ? rows : "", log, upload);
    }
    print_table(&t);
}

static size_t print_waits(const json_t *waits) {
    size_t i;
    json_t *w;
    json_array_foreach(waits, i, w) {
        char name[256], why[1000];
        name_of(w, name);
        printf("%s waits: %s\n", name, printable(text(w, "why"), why, sizeof why));
    }
    return json_array_size(waits);
}

static void print_restore_point(const json_t *point) {
    if (!json_is_object(point)) return;
    printf("restore point %s: TXID %" PRId64 " of %s\n", text(point, "name"), number(point, "txid"),
           text(point, "url"));
}

/* ---- apply, revert, down, baseline ---- */

/* Of no gate, but of -phase. */
static bool all_are_behind(const json_t *waits) {
    size_t i;
    json_t *w;
    json_array_foreach(waits, i, w) {
        if (strncmp(text(w, "why"), "it is behind ", 13) != 0) return false;
    }
    return true;
}

void print_applied(const json_t *o, const char *db) {
    const json_t *applied = list(o, "applied"), *point = list(o, "restore_point");
    size_t steps = json_array_size(applied), ahead = (size_t)number(o, "ahead");
    print_steps(applied);
    if (steps) putchar('\n');
    size_t waiting = print_waits(list(o, "waits"));
    if (steps) printf("%zu step%s applied to %s\n", steps, plural(steps), db);
    else if (!waiting) printf("nothing to apply to %s\n", db);
    if (ahead) printf("it is %zu migration%s ahead of these files\n", ahead, plural(ahead));
    print_restore_point(point);
    if (waiting && all_are_behind(list(o, "waits"))) puts("next: the same line without -phase");
    else if (waiting)
        printf("next: the same line again, when that is over; holdfast schema clients %s\n", db);
    if (json_is_object(point)) printf("all of it back: holdfast schema undo %s\n", db);
}

void print_reverted(const json_t *o, const char *db) {
    print_steps(list(o, "applied"));
    print_restore_point(list(o, "restore_point"));
    printf("next: holdfast schema status %s\n", db);
}

void print_recorded(const json_t *o, const char *db) {
    size_t i;
    json_t *r;
    const json_t *recorded = list(o, "recorded");
    json_array_foreach(recorded, i, r) {
        char name[256];
        name_of(r, name);
        puts(name);
    }
    printf(
        "%zu migration%s recorded as done, and not run\nnext: 'holdfast schema drift %s' compares"
        " the database with them\n",
        json_array_size(recorded), plural(json_array_size(recorded)), db);
}

/* ---- status, history, clients ---- */

static void print_databases(const json_t *databases) {
    size_t i;
    json_t *d;
    json_array_foreach(databases, i, d) {
        int64_t newest = number(d, "newest"), least = number(d, "min_version");
        printf("%s: ", text(d, "path"));
        if (newest) printf("at %" PRId64, newest);
        else printf("nothing applied yet");
        if (least) printf(", for programs that know %" PRId64 " or newer", least);
        if (number(d, "ahead"))
            printf("; %" PRId64 " newer than these files, and allowed", number(d, "ahead"));
        putchar('\n');
    }
}

static const char *next_of(const json_t *m) {
    const char *next = text(m, "next");
    return *next ? next : "";
}

static void print_backfills(const json_t *backfills) {
    size_t i;
    json_t *b;
    json_array_foreach(backfills, i, b) {
        char rows[32];
        if (is_true(b, "done")) continue;
        count_text(number(b, "rows"), rows);
        printf("backfill %" PRId64 " of %" PRId64 " is at %s rows\n", number(b, "part") + 1,
               number(b, "version"), rows);
    }
}

void print_status(const json_t *o, const char *db) {
    struct table t = TABLE("MIGRATION", "PHASE", "SINCE (UTC)", "NEXT");
    size_t i;
    json_t *m;
    print_databases(list(o, "databases"));
    if (json_array_size(list(o, "migrations"))) putchar('\n');
    json_array_foreach(list(o, "migrations"), i, m) {
        char name[256], since[32] = "";
        name_of(m, name);
        if (json_is_integer(json_object_get(m, "phase_ms")))
            time_text(number(m, "phase_ms"), since);
        ROW(&t, name, strcmp(text(m, "phase"), "none") == 0 ? "-" : text(m, "phase"), since,
            next_of(m));
    }
    print_table(&t);
    print_backfills(list(o, "backfills"));
    putchar('\n');
    if (*text(o, "problem")) {
        printf("apply would refuse: %s\n", text(o, "problem"));
        return;
    }
    size_t waiting = print_waits(list(o, "waits"));
    if (waiting) printf("next: holdfast schema apply %s, when that is over\n", db);
    else if (number(o, "pending"))
        printf("%" PRId64 " to be done\nnext: holdfast schema plan %s\n", number(o, "pending"), db);
    else puts("up to date");
}

void print_history(const json_t *o, const char *db) {
    struct table t = TABLE("WHEN (UTC)", "MIGRATION", "STEP", ">LOCK", ">ROWS", "");
    size_t i;
    json_t *s;
    const json_t *steps = list(o, "steps");
    json_array_foreach(steps, i, s) {
        char name[256], lock[32], rows[32], at[32];
        name_of(s, name);
        time_text(number(s, "at_ms"), at);
        ms_text(real(s, "lock_ms"), lock);
        count_text(number(s, "rows"), rows);
        ROW(&t, at, name, text(s, "step"), lock, number(s, "rows") ? rows : "",
            is_true(s, "others") ? "others committed meanwhile" : "");
    }
    print_table(&t);
    if (!json_array_size(steps)) printf("nothing was ever applied to %s\n", db);
}

void print_clients(const json_t *o, const char *db) {
    struct table t = TABLE("PROGRAM", ">KNOWS", ">PID", "HOST", "SINCE (UTC)", "");
    size_t i, living = 0;
    json_t *c;
    json_array_foreach(list(o, "clients"), i, c) {
        char version[32] = "?", pid[32] = "?", since[32] = "";
        const char *app = text(c, "app");
        bool known = json_is_integer(json_object_get(c, "version"));
        if (!is_true(c, "alive")) continue;
        living++;
        if (known) {
            snprintf(version, sizeof version, "%" PRId64, number(c, "version"));
            snprintf(pid, sizeof pid, "%" PRId64, number(c, "pid"));
            time_text(number(c, "opened_ms"), since);
        }
        ROW(&t,
            !known ? "(no row: not known)"
            : *app ? app
                   : "(it does not say)",
            version, pid, text(c, "host"), since,
            json_is_integer(json_object_get(c, "slot")) ? "" : "its lock file was removed");
    }
    print_table(&t);
    if (!living) printf("no program that says what it knows has %s open\n", db);
}

/* ---- plan, lint, drift ---- */

void print_findings(const json_t *o, const char *db) {
    size_t i, errors = 0;
    json_t *f;
    const json_t *findings = list(o, "findings");
    (void)db;
    json_array_foreach(findings, i, f) {
        errors += strcmp(text(f, "severity"), "error") == 0;
        printf("%s:%" PRId64 ": %s: %s [%s]\n", text(f, "file"), number(f, "line"),
               text(f, "severity"), text(f, "words"), text(f, "rule"));
    }
    if (!json_object_get(o, "files")) return; /* of plan */
    size_t files = (size_t)number(o, "files"), rest = json_array_size(findings) - errors;
    printf("%zu migration%s: %zu error%s, %zu warning%s", files, plural(files), errors,
           plural(errors), rest, plural(rest));
    if (is_true(o, "written")) printf("; holdfast.sum is written: commit it with them");
    else if (!is_true(o, "sum") && files) printf("; no holdfast.sum: -write makes it");
    putchar('\n');
}

static void print_statement(const json_t *s) {
    char sql[90];
    const char *from = text(s, "sql");
    size_t n = 0;
    for (; *from && n < sizeof sql - 5; from++) {
        bool blank = *from == ' ' || *from == '\n' || *from == '\t' || *from == '\r';
        if (!blank) sql[n++] = *from;
        else if (n && sql[n - 1] != ' ') sql[n++] = ' ';
    }
    while (n && ((unsigned char)sql[n - 1] & 0xc0) == 0x80 && *from) n--; /* no half of a letter */
    snprintf(sql + n, sizeof sql - n, "%s", *from ? "..." : "");
    printf("  %4" PRId64 "  %-8s  %s\n", number(s, "line"), text(s, "cost"), sql);
}

static const char *way_back(const json_t *s) {
    const char *how = text(s, "reversible");
    return strcmp(how, "no") == 0      ? "no way back but undo"
           : strcmp(how, "lossy") == 0 ? "back: down, which loses data"
           : strcmp(how, "down") == 0  ? "back: down"
                                       : "back: revert";
}

void print_plan(const json_t *o, const char *db) {
    size_t i, at;
    json_t *s, *statement;
    const json_t *steps = list(o, "steps");
    json_array_foreach(steps, i, s) {
        char name[256], rows[32];
        name_of(s, name);
        printf("%s  %s", name, text(s, "step"));
        if (json_is_integer(json_object_get(s, "rows"))) {
            count_text(number(s, "rows"), rows);
            printf(", %s rows", rows);
        }
        if (is_true(s, "gated")) printf(", when no older program is left");
        if (number(s, "soak_ms")) {
            duration_text(number(s, "soak_ms"), rows);
            printf(", %s after the verification", rows);
        }
        printf("; %s\n", way_back(s));
        json_array_foreach(list(s, "statements"), at, statement) {
            print_statement(statement);
        }
    }
    if (json_array_size(list(o, "findings"))) putchar('\n');
    print_findings(o, db);
    size_t n = json_array_size(steps);
    if (n)
        printf("\n%zu step%s\nnext: holdfast schema rehearse %s, then holdfast schema apply %s\n",
               n, plural(n), db, db);
    else printf("%s is up to date: there is nothing to do\n", db);
}

static void print_difference(const json_t *d, const char *indent) {
    bool noise = strcmp(text(d, "database"), "noise") == 0;
    printf("%s%s %s %s%s\n", indent, text(d, "what"), text(d, "type"), noise ? "noise." : "",
           text(d, "name"));
    if (*text(d, "should")) printf("%s  should be  %s\n", indent, text(d, "should"));
    if (*text(d, "is")) printf("%s  is         %s\n", indent, text(d, "is"));
}

void print_drift(const json_t *o, const char *db) {
    size_t i;
    json_t *d;
    const json_t *objects = list(o, "objects");
    json_array_foreach(objects, i, d) {
        print_difference(d, "");
    }
    if (!is_true(o, "differs")) printf("%s is what the migrations say\n", db);
}

/* ---- rehearse, undo ---- */

/* Behind "contents": false is said, null is not known. */
static const char *compared(const json_t *r) {
    const json_t *shape = list(r, "shape_equal"), *contents = list(r, "contents_equal");
    if (json_is_false(shape)) return "the schema is NOT what it was before";
    if (json_is_false(contents))
        return is_true(r, "lossy")
                   ? "the schema is what it was before; contents are lost, as it says"
                   : "the schema is what it was before, and the contents are NOT";
    if (!json_is_true(contents)) return "done; what was before is not known";
    return "schema and contents are what they were before";
}

static void print_way_back(const json_t *all, const char *verb) {
    size_t i, at;
    json_t *r, *what;
    json_array_foreach(all, i, r) {
        char name[256], lock[32];
        name_of(r, name);
        ms_text(real(r, "lock_ms"), lock);
        printf("%-7s %s: %s (lock %s)\n", verb, name, compared(r), lock);
        json_array_foreach(list(r, "objects"), at, what) {
            print_difference(what, "        ");
        }
        json_array_foreach(list(r, "tables"), at, what) {
            printf("        other rows in %s\n", json_string_value(what));
        }
    }
}

static void print_checks(const json_t *checks) {
    size_t i;
    json_t *c;
    json_array_foreach(checks, i, c) {
        int64_t before = number(c, "orphans_before"), now = number(c, "orphans");
        printf("checks  %s: integrity %s", text(c, "database"), text(c, "integrity"));
        if (now || before)
            printf("; rows without their parents: %" PRId64 " before, %" PRId64 " now", before,
                   now);
        putchar('\n');
    }
}

/* Of a migration, or of the copy as a whole. */
static void print_warning(const json_t *w) {
    if (*text(w, "name"))
        printf("warning %s:%" PRId64 ": %s\n", text(w, "name"), number(w, "line"),
               text(w, "words"));
    else printf("warning: %s\n", text(w, "words"));
}

void print_rehearsal(const json_t *o, const char *db) {
    size_t i;
    json_t *w;
    bool any = json_array_size(list(o, "steps")) > 0;
    if (!any && is_true(o, "ok")) {
        printf("%s is up to date: there was nothing to rehearse\n", db);
        return;
    }
    if (*text(o, "url"))
        printf("on a copy restored from %s, TXID %s\n\n", text(o, "url"), text(o, "txid"));
    else printf("on a copy of %s\n\n", db);
    print_steps(list(o, "steps"));
    if (any) putchar('\n');
    print_way_back(list(o, "revert"), "revert");
    print_way_back(list(o, "down"), "down");
    print_checks(list(o, "checks"));
    json_array_foreach(list(o, "warnings"), i, w) {
        print_warning(w);
    }
    if (is_true(o, "ok"))
        printf("\nall of it works, on the copy; %s is as it was\nnext: holdfast schema apply %s\n",
               db, db);
}

void print_undone(const json_t *o, const char *db) {
    struct table t = TABLE("MIGRATION", "WAS", "IS");
    size_t i;
    json_t *m;
    char at[32];
    json_array_foreach(list(o, "undone"), i, m) {
        char name[256];
        name_of(m, name);
        ROW(&t, name, text(m, "phase"), *text(m, "now") ? text(m, "now") : "-");
    }
    print_table(&t);
    time_text(number(o, "time_ms"), at);
    printf("%s is as it was at %s UTC, %s: TXID %" PRId64 " of %s\n", db, at,
           text(o, "restore_point"), number(o, "txid"), text(o, "url"));
    if (is_true(o, "discarded")) puts("what was committed since then is gone from it");
    if (json_array_size(list(o, "noise_stays")))
        puts("noise is not replicated, and stays as it is");
    printf("next: holdfast schema status %s\n", db);
}
