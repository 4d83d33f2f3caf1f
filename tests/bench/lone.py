#!/usr/bin/python3 -B
"""lone: from a single commit to the moment at which it is durable elsewhere.

One commit each 100 to 400 ms, and whoever replicates looks and ships each 20 ms, where that can be said; so each of these
commits comes after more than an interval of quiet. (The rule that ships at most once per interval under steady writes
is not what is measured.) Three ways:

- a directory: from the return of COMMIT to inotify showing the object under its name, which is written and synced by
  then. Beside it stands what the file system takes to write, sync and link a file of the same size.
- a bucket, Ceph behind a proxy that makes each request take 30 ms: from the moment at which SQLite made the commit
  visible to the one at which the proxy had passed on the reply to the first upload of the log that began after it.
- in the process, without any other: hf_write, then hf_wait with flush, against the library's fake, whose PUTs take 30 ms,
  and nothing. With 30 ms the clock that wakes the fake's thread is in it.

Our share is what is left without the file's or the PUT's own time. And 1,000 threads that wait for one commit: how
many PUTs it takes.
"""
import uuid

import bench
import own
import peers

PUT_MS = 30
EVERY_MS = 20
QUANTILES = (("p50", 0.5), ("p99", 0.99), ("max", 1))
OF_THE_LOG = ("/0000/", "/wal/")  # in the names of objects


def new(b):
    """A database to be, in a directory of its own."""
    place = b.place / uuid.uuid4().hex[:8]
    place.mkdir()
    return place / "app.db"


def in_directory(b, system, commits):
    db = new(b)
    replica = db.parent / "replica"
    b.write("create-paced", db)
    with system.beside(b, db, replica, EVERY_MS) as beside:
        beside.ready()
        rows = b.write("lone", db, system.objects(replica), commits, "NORMAL", b.args.seed)
        beside.end()
    bench.shutil.rmtree(db.parent)
    return [{f"{key}_ms": float(row[f"{key}_us"]) / 1e3 for key in ("way", "link")} for row in rows]


def uploads(log, name):
    """Of the log, that succeeded: [(began, ended)]."""
    lines = [line.split() for line in log.read_text().splitlines() if f"/{name}/" in line]
    return sorted((int(began), int(ended)) for verb, target, status, began, ended in lines
                  if verb == "PUT" and status == "200" and any(part in target for part in OF_THE_LOG))


def in_bucket(b, system, slow, log, seconds):
    db = new(b)
    name = db.parent.name
    b.write("create-paced", db)
    with system.beside(b, db, slow.box(name), EVERY_MS) as beside:
        beside.ready()
        lines = [line.split() for line in b.lines("stamps", db, seconds, 4, b.args.seed).splitlines()]
        commits = [(int(visible), int(before)) for visible, _, _, before in lines]
        bench.until(lambda: any(began > commits[-1][1] for began, _ in uploads(log, name)), "the last commit's upload")
        beside.end()
    bench.shutil.rmtree(db.parent)
    puts = uploads(log, name)
    return [{"way_ms": (next(ended for began, ended in puts if began > before) - visible) / 1e6}
            for visible, before in commits]


def in_process(b, put_ms, seconds):
    out = b.write("barrier", new(b), f"fake:{put_ms}", 1, seconds, "flush", program=b.store)
    return {key: float(out[-1][f"wait_{key}_us"]) / 1e3 for key in ("p50", "p99", "max")}


def rows(b, where, ways):
    for name, q in QUANTILES:
        runs = {system: [{"ms": bench.quantile([w["way_ms"] for w in turn], q)} for turn in turns]
                for system, turns in ways.items()}
        b.row(f"commit to durable, {where}, {name}", "ms", runs, "ms", digits=2, chart=name == "p50")


def patiently(b, system, turn):
    """A turn of another's that went wrong is named and run again: now and then 0.3.13 begins a new generation within one,
    and nobody sees its objects where they were looked for."""
    for again in range(3):
        try:
            return turn()
        except bench.Failure as why:
            if system.name == "holdfast" or again == 2:
                raise
            b.missing(f"{system.name}, a turn that was run again: {why}")


def directory(b, systems, turns, commits):
    ways = {system.name: [] for system in systems}
    for _ in range(turns):
        for system in b.rng.sample(systems, len(systems)):
            ways[system.name].append(patiently(b, system, lambda: in_directory(b, system, commits)))
    b.head(f"a directory, {turns} x {commits} commits", ways)
    rows(b, "directory", ways)
    all_ = [way for turn in ways["holdfast"] for way in turn]
    way, link = ([row[key] for row in all_] for key in ("way_ms", "link_ms"))
    print(f"  {'a file written, synced, linked':44}{bench.median(link):19.2f} p50 {bench.quantile(link, 0.99):.2f} p99")
    b.verdict("directory, p50", bench.median(way), 5, unit=" ms")
    share = bench.quantile(way, 0.99) - bench.quantile(link, 0.99)
    b.verdict("directory, p99 without the file's own", share, 2.5, unit=" ms")


def plain_put_ms(place, count):
    """p50 and p99 of a create-only PUT of 600 bytes, on one connection."""
    box, client, out = place.box(f"plain-{uuid.uuid4().hex[:8]}"), place.client, []
    client.list(place.bucket, "none")  # the connection
    for i in range(count):
        start = bench.time.monotonic_ns()
        client.ask("PUT", (box / str(i))._at(), headers={"if-none-match": "*"}, body=bytes(600))
        out.append((bench.time.monotonic_ns() - start) / 1e6)
    return bench.median(out), bench.quantile(out, 0.99)


def bucket(b, systems, turns, seconds):
    log = b.place / "requests"
    with own.Ceph(b.place / "ceph") as ceph, own.delayed(ceph, PUT_MS, log) as slow:
        b.env.update(ceph.env())
        ways = {system.name: [] for system in systems}
        for _ in range(turns):
            for system in b.rng.sample(systems, len(systems)):
                ways[system.name].append(patiently(b, system, lambda: in_bucket(b, system, slow, log, seconds)))
        put_p50, put_p99 = plain_put_ms(slow, 20 if b.args.quick else 100)
    b.head(f"a bucket, PUTs of {PUT_MS} ms, {turns} x {seconds:g} s", ways)
    rows(b, "bucket", ways)
    print(f"  {'a plain PUT':44}{put_p50:19.2f} p50 {put_p99:.2f} p99")
    way = [w["way_ms"] for turn in ways["holdfast"] for w in turn]
    b.verdict("bucket, p50 without the PUT", bench.median(way) - put_p50, 2.5, 5, unit=" ms")
    b.verdict("bucket, p99 without the PUT's", bench.quantile(way, 0.99) - put_p99, 2.5, unit=" ms")


def process(b, turns, seconds):
    for put_ms in (PUT_MS, 0):
        runs = {"holdfast": [in_process(b, put_ms, seconds) for _ in range(turns)]}
        b.head(f"in the process, PUTs of {put_ms} ms, {turns} x {seconds:g} s", runs)
        for name, _ in QUANTILES:
            b.row(f"commit to durable, in the process, PUT of {put_ms} ms, {name}", "ms", runs, name, digits=2)
        p99 = bench.median([run["p99"] for run in runs["holdfast"]])
        b.verdict(f"in the process, PUT of {put_ms} ms, p99 without it", p99 - put_ms, 1, unit=" ms")
    outs = b.write("burst", new(b), 1000, 2 if b.args.quick else 5, PUT_MS, program=b.store)
    runs = {"holdfast": [{key: float(out[key]) for key in ("puts", "wait_p99_us")} for out in outs]}
    b.row("1,000 who wait for one commit", "PUTs", runs, "puts", digits=0)
    b.row("1,000 who wait for one commit, p99", "ms", runs, lambda run: run["wait_p99_us"] / 1e3)
    b.verdict("PUTs for 1,000 who wait for one commit", max(run["puts"] for run in runs["holdfast"]), 1)


def measure(b):
    turns, commits, seconds = (1, 5, 1.5) if b.args.quick else (b.args.turns, b.args.commits, b.args.commits * 0.25)
    systems = peers.here(b, replicating=True)
    directory(b, systems, turns, commits)
    process(b, turns, 0.5 if b.args.quick else 5)
    try:
        bucket(b, systems, turns, seconds)
    except own.Absent as why:
        b.missing(f"the bucket: {why}")


bench.main(__doc__, measure, "bench_writer", "bench_store", turns=(2, "of each"), commits=(40, "a turn"))
