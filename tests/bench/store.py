#!/usr/bin/python3 -B
"""store: the library beside raw SQLite and etcd, in one run.

What is compared runs in turns of random order; ratios are those of a turn, and their median and quartiles are printed.
Raw SQLite and hf_write take turns of 50 ms in one process; what has a replica has a process of its own, next to theirs.
Each line is a row of --json. The parts, for --only:

  commits   transactions of one thread, 4 rows of 200 bytes each: raw SQLite with hand-written BEGIN IMMEDIATE and the same
            settings, hf_write, and hf_write with a replica (a directory beside it; a destination whose PUTs take 30 ms)
  barrier   a commit and its wait, for 1 to 1,000 threads that do so again and again, PUTs of 30 ms: the library's fake,
            and Ceph behind a proxy; and 1 to 1,000 threads that wait for one commit
  kv        get, put, scan of 100 and indexed find over 100,000 keys of 300 bytes of JSON, against etcd on the same disk.
            etcd is asked over loopback and syncs for each batch of commits; the store is a library in the process, with
            synchronous=FULL, and for puts also with NORMAL and a wait for a replica in a directory on the same disk. etcd
            has no secondary index: its find is a scan of the prefix (10,000 keys), filtered by the client
  get       hf_get over 1,000,000 keys, beside a prepared SELECT
  index     the stall of writers while an index over 1,000,000 keys is built: of 300 bytes; with --large of 20 kB
  noise     main at 200 transactions a second, with and without 2,000 a second of noise
  temp      hf_store_open_temp, beside a database made by hand in /dev/shm
"""
import uuid
from pathlib import Path

import bench
import own
import store_kv

PUT_MS = 30


class Store:
    """The parts' way to the program, the screen and the rows."""

    def __init__(self, b):
        self.b, self.rows = b, b.rows
        self.crowds = (1, 1000) if b.args.quick else (1, 10, 100, 1000)
        self.program = str(Path(b.args.build) / "tests/bench/bench_store")

    def run(self, *words):
        """What bench_store says in one of its modes: a dict for each line, numbers where they are."""
        return [numbers(line) for line in self.b.lines(*words, program=self.program).splitlines()]

    def row(self, part, name, text, **figures):
        self.rows.append({"part": part, "name": name, **figures})
        print(f"  {name:44}{text}", flush=True)

    def head(self, title, text):
        load = bench.os.getloadavg()[0]
        self.rows.append({"part": "load", "name": title, "load": load})
        print(f"\n  {f'{title} (load {load:.1f})':44}{text}", flush=True)

    def turns(self, ways, rounds, one):
        """one(way), all ways in random order, again and again; a list for each way."""
        runs = {way: [] for way in ways}
        for _ in range(rounds):
            for way in self.b.rng.sample(list(ways), len(ways)):
                runs[way].append(one(way))
        return runs

    def new(self, root, name="app.db"):
        return Path(bench.tempfile.mkdtemp(dir=root)) / name


def numbers(line):
    out = {}
    for key, value in bench.words_of(line).items():
        try:
            out[key] = float(value)
        except ValueError:
            out[key] = value
    return out


def quartiles(values):
    return [bench.quantile(values, q) for q in (0.25, 0.5, 0.75)]


def ratios(over, under, of):
    """Of each turn."""
    return quartiles([of(o) / of(u) for o, u in zip(over, under)])


# ---- commits ----

def commit_run(s, root, sync, seconds, way):
    db = s.new(root)
    url = {"replicated, directory": [db.parent / "replica"], "replicated, 30 ms": [f"fake:{PUT_MS}"]}.get(way, [])
    outs = s.run("commits", "alone" if url else "pair", db, seconds, sync, 4, *url)
    bench.shutil.rmtree(db.parent)
    return [dict(out, rate=out["tx"] / out["seconds"]) for out in outs]


def commits(s):
    rounds, seconds = (1, 0.1) if s.b.args.quick else (s.b.args.rounds, 1)
    goals = {"hf_write": 0.95, "replicated, directory": 0.93, "replicated, 30 ms": 0.93}
    for place, root, sync in (("tmpfs", s.b.shm, "NORMAL"), ("disk", s.b.place, "NORMAL"), ("disk", s.b.place, "FULL")):
        s.head(f"commits, {place}, {sync}", "commits/s    p50 us    p99 us   ratio to raw: quartiles")
        turns = s.turns(["pair", *list(goals)[1:]], rounds, lambda way: commit_run(s, root, sync, seconds, way))
        runs = dict(zip(("raw", "hf_write"), map(list, zip(*turns.pop("pair")))))
        runs.update((way, [run for run, in outs]) for way, outs in turns.items())
        for way, all_runs in runs.items():
            rate, p50, p99 = (bench.median([r[key] for r in all_runs]) for key in ("rate", "tx_p50_us", "tx_p99_us"))
            to_raw = ratios(all_runs, runs["raw"], lambda r: r["rate"])
            s.row("commits", f"{place}, {sync}: {way}", f"{rate:9,.0f}{p50:10.1f}{p99:10.1f}{'':6}"
                  + "".join(f"{r:7.3f}" for r in to_raw), per_second=rate, p50_us=p50, p99_us=p99, ratio=to_raw)
        for way, goal in goals.items():
            s.b.verdict(f"{way} / raw", ratios(runs[way], runs["raw"], lambda r: r["rate"])[1], goal, least=True)


# ---- the barrier ----

def barrier_row(s, name, out, puts):
    s.row("barrier", name, f"{out['wait_p50_us'] / 1e3:9.1f}{out['wait_p99_us'] / 1e3:10.1f}{out['commits']:10,.0f}"
          f"{puts:8,.0f}{out['commits'] / max(puts, 1):12,.1f}{puts / out['seconds']:9.1f}",
          p50_ms=out["wait_p50_us"] / 1e3, p99_ms=out["wait_p99_us"] / 1e3, commits=out["commits"], puts=puts,
          seconds=out["seconds"])


def barrier_runs(s, name, url, seconds, puts_of):
    s.head(f"wait, {name}", "   p50 ms    p99 ms   commits    PUTs commits/PUT   PUTs/s")
    for how in ("flush", "ride"):
        for waiters in s.crowds:
            db = s.new(s.b.place)
            out = s.run("barrier", db, url(), waiters, seconds, how)[-1]
            barrier_row(s, f"{waiters:,} waiters, {how}", out, puts_of(out))
            bench.shutil.rmtree(db.parent)


def behind_proxy(s, seconds):
    log = s.b.place / "requests"
    with own.Ceph(s.b.place / "ceph", memory_mb=4096) as ceph, own.delayed(ceph, PUT_MS, log) as slow:
        s.b.env.update(ceph.env())

        def puts_of(out):
            lines = [line.split() for line in log.read_text().splitlines()]
            return sum(verb == "PUT" and "/0000/" in target and out["from_ns"] <= int(began) <= out["to_ns"]
                       for verb, target, _, began, _ in lines)

        barrier_runs(s, f"Ceph, {PUT_MS} ms", lambda: slow.box(uuid.uuid4().hex[:8]), seconds, puts_of)


def barrier(s):
    seconds = 0.1 if s.b.args.quick else 3
    barrier_runs(s, f"fake, {PUT_MS} ms", lambda: f"fake:{PUT_MS}", seconds, lambda out: out["puts"])
    if not s.b.args.quick:
        try:
            behind_proxy(s, seconds)
        except own.Absent as why:
            print(f"  not measured: {why}")
    s.head(f"one commit, fake, {PUT_MS} ms", "   p50 ms    p99 ms    rounds    PUTs")
    for waiters in s.crowds:
        db = s.new(s.b.place)
        outs = s.run("burst", db, waiters, 1 if s.b.args.quick else 5, PUT_MS)
        p50, p99 = (bench.median([o[key] for o in outs]) / 1e3 for key in ("wait_p50_us", "wait_p99_us"))
        puts = sum(o["puts"] for o in outs)
        s.row("burst", f"{waiters:,} waiters", f"{p50:9.1f}{p99:10.1f}{len(outs):10}{puts:8.0f}",
              p50_ms=p50, p99_ms=p99, rounds=len(outs), puts=puts)
        bench.shutil.rmtree(db.parent)


# ---- a million keys ----

def get(s, db, keys):
    s.head(f"get, {keys:,} keys", "   p50 us    p99 us")
    out = s.run("get", db, 0.5 if s.b.args.quick else 6, keys)[-1]
    for way, name in (("raw", "prepared SELECT, its value copied"), ("store", "hf_get")):
        p50, p99 = out[f"{way}_p50_us"], out[f"{way}_p99_us"]
        s.row("get", name, f"{p50:9.2f}{p99:10.2f}", p50_us=p50, p99_us=p99)
    s.b.verdict("hf_get / SELECT, medians", out["store_p50_us"] / out["raw_p50_us"], 1.1, 1.3)
    s.b.verdict("hf_get, median", out["store_p50_us"], 5, unit=" us")


def index(s, db, keys, size):
    s.head(f"index, {keys:,} x {size:,} B", "longest gap, ms    p99 ms   commits")
    beside = bench.subprocess.Popen([s.program, "pace", db, "main", "100"], env=s.b.env, text=True,
                                    stdin=bench.subprocess.PIPE, stdout=bench.subprocess.PIPE)
    try:
        beside.stdout.readline()  # it writes
        built, main, noise = s.run("index", db)
    finally:
        beside.stdin.close()
        other = numbers(beside.stdout.read())
        beside.wait()
    for name, out in (("main, same process", main), ("main, another process", other), ("noise, same process", noise)):
        longest, p99 = out["longest_ms"], out["tx_p99_us"] / 1e3
        s.row("index", f"{size} bytes: {name}", f"{longest:15.1f}{p99:10.1f}{out['commits']:10.0f}",
              longest_ms=longest, p99_ms=p99, commits=out["commits"])
    s.row("index", f"{size} bytes: built", f"{built['build_ms']:15.1f}", build_ms=built["build_ms"])


def filled(s, keys, size):
    db = s.new(s.b.place)
    bench.needs(db.parent, keys * (size + 200) * 2.2 / bench.MB)
    s.run("fill", db, keys, size)
    return db


def million(s, parts):
    keys = 10_000 if s.b.args.quick else 1_000_000
    db = filled(s, keys, 300)
    if "get" in parts:
        get(s, db, keys)
    if "index" in parts:
        index(s, db, keys, 300)
    bench.shutil.rmtree(db.parent)
    if "index" in parts and s.b.args.large:
        db = filled(s, keys, 20_000)
        index(s, db, keys, 20_000)
        bench.shutil.rmtree(db.parent)


# ---- noise, temporary stores ----

def noise(s):
    pairs, seconds = (1, 0.5) if s.b.args.quick else (6, 2)
    s.head("noise", " main p50 us    p99 us    main  noise   PUTs")
    outs = s.run("noise", s.new(s.b.place), pairs, seconds)
    alone, beside = ([o for o in outs if o["phase"] == phase] for phase in ("main", "both"))
    for name, runs in (("main alone", alone), ("main beside 2,000/s of noise", beside)):
        p50, p99 = (bench.median([r[key] for r in runs]) for key in ("main_p50_us", "main_p99_us"))
        sums = [sum(r[key] for r in runs) for key in ("main", "noise", "puts")]
        s.row("noise", name, f"{p50:12.1f}{p99:10.1f}{sums[0]:8.0f}{sums[1]:7.0f}{sums[2]:7.0f}",
              p50_us=p50, p99_us=p99, puts=sums[2])
    last = outs[-1]
    s.row("noise", "noise alone", f"{'':22}{0:8}{last['noise']:7.0f}{last['puts']:7.0f}", puts=last["puts"],
          commits=last["noise"])
    s.b.verdict("PUTs of noise alone", last["puts"], 0)
    s.b.verdict("main's p99 beside noise / alone", ratios(beside, alone, lambda r: r["main_p99_us"])[1], 1.1, 1.5)


def temp(s):
    s.head("a store for a test", "   p50 ms    p99 ms     count")
    out = s.run("temp", 20 if s.b.args.quick else 200)[-1]
    for way, name in (("raw", "one database by hand"), ("store", "hf_store_open_temp, main and noise")):
        p50, p99 = out[f"{way}_p50_us"] / 1e3, out[f"{way}_p99_us"] / 1e3
        s.row("temp", name, f"{p50:9.2f}{p99:10.2f}{out['count']:10.0f}", p50_ms=p50, p99_ms=p99)
    s.b.verdict("hf_store_open_temp, median", out["store_p50_us"] / 1e3, 5, unit=" ms")


PARTS = {"commits": commits, "barrier": barrier, "kv": store_kv.measure, "get": None, "index": None, "noise": noise,
         "temp": temp}


def measure(b):
    parts = b.args.only.split(",") if b.args.only != "all" else list(PARTS)
    if unknown := set(parts) - set(PARTS):
        raise bench.Failure(f"--only: no part {', '.join(unknown)}: {', '.join(PARTS)}")
    s = Store(b)
    for part in parts:
        if PARTS[part]:
            PARTS[part](s)
    if "get" in parts or "index" in parts:
        million(s, parts)


bench.main(__doc__, measure, "bench_store", rounds=(8, "turns of commits"), only=("all", "parts, with commas"),
           large=(False, "an index over 20 GB, too: 50 GB of disk, 15 minutes"))
