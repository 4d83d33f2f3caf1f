#!/usr/bin/python3 -B
"""s3_commits: from a commit to its reply from the bucket, where a PUT takes 27 ms.

Ceph behind a proxy that makes each request take at least --ms (tests/servers/delay). Measured is the time from the
moment at which SQLite has made a commit visible to the line of the log (the event ship) that says that the object
with this commit was acknowledged, as the benchmark reads it; which object that is, the places in the log tell
(stamps.py). Beside it stands the plain PUT: create-only, of the mean size of these objects, one after the other on
one connection, through the same proxy, right after each run; p50 is divided by its p50 and p99 by its p99.

Lone commits come 125 to 375 ms apart, with -interval 20ms, so that each is shipped at once. Under load (100/s,
and as fast as one thread can) a commit waits for the interval, and with a short one for the PUT before its own;
so one that comes at a random moment waits for 1.5 PUTs on average. The saturated writer takes a core for itself, and
makes objects of megabytes; Ceph and the proxy want theirs too, so on a small machine that is what is measured.
"""
import uuid

import bench
import own
import stamps

LOADS = (("lone", 4, "20ms"), ("100/s", 100, "20ms"), ("100/s", 100, "1s"),
         ("saturated", 0, "20ms"), ("saturated", 0, "1s"))  # rate, -interval


def plain_puts(place, count, size):
    """ms of each; the signature is not in it."""
    c, box, out = place.client, place.box(f"plain-{uuid.uuid4().hex[:8]}"), []
    c.list(place.bucket, "none")  # the connection
    for i in range(count):
        body = bytes(size)
        path = (box / str(i))._at()
        headers, _ = c.signed("PUT", path, {}, {"if-none-match": "*"}, body)
        start = bench.time.monotonic_ns()
        status, _, _ = c.exchange(c.own.connection, "PUT", path, headers, body)
        out.append((bench.time.monotonic_ns() - start) / 1e6)
        if status != 200:
            raise bench.Failure(f"a plain PUT: {status}")
    return out


def one(b, place, rate, interval, seconds):
    """ms of each commit; the objects' number and mean size."""
    name = uuid.uuid4().hex[:8]
    folder, box = b.place / name, place.box(name)
    folder.mkdir()
    db = folder / "app.db"
    b.write("create-paced", db)
    with bench.Replicate(b, db, box, "-interval", interval, "-keep-level0", "1h", "-levels", "1h,1h,1h") as r:
        first = int(r.wait("ship")["txid"])
        lines = b.lines("stamps", db, seconds, rate, b.args.seed)
        r.end()
    commits, logs = stamps.commits(lines)
    seen = {int(e["txid"]): e["at_ns"] for e in r.events if e["event"] == "ship"}
    objects = stamps.objects(box, logs, after=first)
    pairs = stamps.covers(commits, objects)
    if any(o is None or o.txid not in seen for _, o in pairs):
        raise bench.Failure(f"{sum(o is None for _, o in pairs)} of {len(pairs)} commits are in no object")
    bench.shutil.rmtree(folder)
    used = [o for o in objects if o.txid in {o.txid for _, o in pairs}]
    return [(seen[o.txid] - c.ns) / 1e6 for c, o in pairs], len(used), sum(o.size for o in used) // len(used)


def row(name, values, put=None, objects="", size=""):
    p50, p99 = bench.quantile(values, 0.5), bench.quantile(values, 0.99)
    ratios = f"{p50 / bench.quantile(put, 0.5):9.2f}{p99 / bench.quantile(put, 0.99):9.2f}" if put else " " * 18
    print(f"  {name:28}{len(values):8}{objects:>8}{size:>10}{p50:10.2f}{p99:10.2f}{max(values):10.2f}{ratios}"
          f"   load {bench.os.getloadavg()[0]:.1f}", flush=True)
    return p50, p99


def measure(b):
    puts, seconds = (20, 4) if b.args.quick else (100, b.args.seconds)
    with own.Ceph(b.place / "ceph", memory_mb=8192) as ceph:
        b.env.update(ceph.env())
        print(f"  {'ms':28}{'count':>8}{'objects':>8}{'bytes':>10}{'p50':>10}{'p99':>10}{'max':>10}{'p50/PUT':>9}{'p99/PUT':>9}")
        row("plain PUT to Ceph", plain_puts(ceph, puts, 600))
        with own.delayed(ceph, 0) as near:
            row("the same through the proxy", plain_puts(near, puts, 600))
        with own.delayed(ceph, b.args.ms) as slow:
            for name, rate, interval in LOADS:
                ways, objects, size = one(b, slow, rate, interval, seconds)
                put = plain_puts(slow, max(20, min(puts, 200 * bench.MB // size)), size)
                own_ms = row("plain PUT, delayed", put, size=size)[0]
                p50, p99 = row(f"{name}, -interval {interval}", ways, put, objects, size)
                if name == "lone":
                    b.verdict("lone, p50 without the PUT", p50 - own_ms, 2.5, 5, unit=" ms")
                elif interval == "20ms":
                    b.verdict(f"{name}, p50 in PUTs", p50 / own_ms, *((1.7, 2) if rate else (3, 5)))
                else:
                    b.verdict(f"{name}, p99 without interval and PUT", p99 - own_ms - 1000, 100, 300, unit=" ms")


bench.main(__doc__, measure, ms=(27.0, "that a request takes"), seconds=(20, "of writing, each"))
