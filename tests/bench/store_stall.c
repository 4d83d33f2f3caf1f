/* What others notice: writers beside the building of an index, and main beside writers of noise.
 *
 * A paced writer has a moment for each of its transactions, and goes on with the next one that is
 * due. Beside an index its time counts from that moment, so that one long stall is as many late
 * transactions as were due in it; and the longest time between two commits is kept.
 */
#include "store.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AN_HOUR_MS 3600000

static int add_row(hf_tx *tx, void *arg) {
    (void)arg;
    return hf_run(tx, "INSERT INTO t(v) VALUES (?)", "s", "a change of main");
}

static int touch_row(hf_tx *tx, void *arg) {
    int64_t id = ++*(int64_t *)arg % 1000;
    return hf_run(tx,
                  "INSERT INTO noise.seen(id, at) VALUES (?, ?) "
                  "ON CONFLICT(id) DO UPDATE SET at = excluded.at",
                  "ii", id, now_ns());
}

struct pacer {
    pthread_t thread;
    hf_store *store;
    int scope;
    double rate;
    atomic_bool *stop;
    bool from_due; /* times count from when it was due */
    struct times all;
    int64_t longest_ns; /* between two commits */
};

static void commit_one(struct pacer *p, int64_t *row) {
    if (p->scope == HF_MAIN) must(hf_write(p->store, HF_MAIN, "main", add_row, NULL), "main");
    else must(hf_write(p->store, HF_NOISE, "noise", touch_row, row), "noise");
}

static void *pace(void *arg) {
    struct pacer *p = arg;
    int64_t gap = (int64_t)(1e9 / p->rate), due = now_ns() + gap, last = 0, row = 0;
    for (; !atomic_load(p->stop); due += gap) {
        sleep_until(due);
        int64_t start = p->from_due ? due : now_ns();
        commit_one(p, &row);
        int64_t end = now_ns();
        note(&p->all, end - start);
        if (last && end - last > p->longest_ns) p->longest_ns = end - last;
        last = end;
        if (!p->from_due && end > due + gap) due = end; /* what was missed is not made up for */
    }
    return NULL;
}

static void begin(struct pacer *p) {
    if (pthread_create(&p->thread, NULL, pace, p)) die("threads", "too many");
}

static void print_pacer(const char *who, struct pacer *p) {
    printf("who=%s commits=%zu longest_ms=%.1f ", who, p->all.count, (double)p->longest_ns / 1e6);
    print_times("tx", &p->all);
    printf("\n");
}

/* ---- an index is built ---- */

void run_index(char **argv) {
    struct place p = place_open(&(struct setting){
        .path = argv[0], .sync = "NORMAL", .noise = "", .timeout_ms = AN_HOUR_MS});
    atomic_bool stop = false;
    struct pacer writers[2] = {
        {.store = p.store, .scope = HF_MAIN, .rate = 100, .stop = &stop, .from_due = true},
        {.store = p.store, .scope = HF_NOISE, .rate = 100, .stop = &stop, .from_due = true}};
    for (int i = 0; i < 2; i++) begin(&writers[i]);
    pause_ms(1000);
    int64_t start = now_ns();
    must(hf_kv_index(p.store, "p", "$.user.id", 0), "hf_kv_index");
    printf("build_ms=%.1f\n", (double)(now_ns() - start) / 1e6);
    pause_ms(1000);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) pthread_join(writers[i].thread, NULL);
    print_pacer("main", &writers[0]);
    print_pacer("noise", &writers[1]);
    must(hf_kv_unindex(p.store, "p", "$.user.id"), "hf_kv_unindex");
    place_close(&p);
}

/* A writer in a process of its own: it says that it writes, and its figures when its input ends. */
void run_pace(char **argv) {
    struct place p = place_open(&(struct setting){
        .path = argv[0], .sync = "NORMAL", .noise = "", .timeout_ms = AN_HOUR_MS});
    atomic_bool stop = false;
    struct pacer w = {.store = p.store,
                      .scope = strcmp(argv[1], "noise") == 0 ? HF_NOISE : HF_MAIN,
                      .rate = (double)number_of(argv[2]),
                      .stop = &stop,
                      .from_due = true};
    char unused;
    begin(&w);
    printf("writing=1\n");
    while (read(0, &unused, 1) > 0) continue;
    atomic_store(&stop, true);
    pthread_join(w.thread, NULL);
    print_pacer(argv[1], &w);
    place_close(&p);
}

/* ---- noise ---- */

#define NOISY 2
#define MAIN_RATE 200
#define NOISE_RATE 1000

struct phase {
    uint64_t puts;
    struct pacer main, noise[NOISY];
};

/* What is left of main, so that it counts in the phase that wrote it. */
static void ship(const struct place *p) {
    static const hf_wait_options FLUSH = {.size = sizeof FLUSH, .flush = 1};
    must(hf_wait(p->store, NULL, &FLUSH), "hf_wait");
}

static void run_phase(const struct place *p, bool with_main, bool with_noise, double seconds,
                      struct phase *out) {
    atomic_bool stop = false;
    ship(p);
    uint64_t before = hf_fake_puts(p->fake);
    *out = (struct phase){.main = {.store = p->store, .scope = HF_MAIN, .rate = MAIN_RATE}};
    out->main.stop = &stop;
    for (int i = 0; i < NOISY; i++)
        out->noise[i] =
            (struct pacer){.store = p->store, .scope = HF_NOISE, .rate = NOISE_RATE, .stop = &stop};
    if (with_main) begin(&out->main);
    for (int i = 0; with_noise && i < NOISY; i++) begin(&out->noise[i]);
    pause_ms((int64_t)(seconds * 1e3));
    atomic_store(&stop, true);
    if (with_main) pthread_join(out->main.thread, NULL);
    for (int i = 0; with_noise && i < NOISY; i++) pthread_join(out->noise[i].thread, NULL);
    ship(p);
    out->puts = hf_fake_puts(p->fake) - before;
}

static void print_phase(const char *name, struct phase *f) {
    for (int i = 1; i < NOISY; i++) add_times(&f->noise[0].all, &f->noise[i].all);
    printf("phase=%s puts=%llu main=%zu noise=%zu ", name, (unsigned long long)f->puts,
           f->main.all.count, f->noise[0].all.count);
    if (f->main.all.count) print_times("main", &f->main.all);
    if (f->noise[0].all.count) print_times("noise", &f->noise[0].all);
    printf("\n");
}

void run_noise(char **argv) {
    double seconds = strtod(argv[2], NULL);
    struct place p = place_open(
        &(struct setting){.path = argv[0], .sync = "NORMAL", .noise = "", .url = "fake:30"});
    struct phase f;
    for (int64_t i = 0; i < number_of(argv[1]); i++) {
        run_phase(&p, true, i % 2, seconds, &f);
        print_phase(i % 2 ? "both" : "main", &f);
        run_phase(&p, true, i % 2 == 0, seconds, &f);
        print_phase(i % 2 ? "main" : "both", &f);
    }
    run_phase(&p, false, true, seconds, &f);
    print_phase("noise", &f);
    place_close(&p);
}
