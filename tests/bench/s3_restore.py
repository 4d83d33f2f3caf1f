#!/usr/bin/python3 -B
"""s3_restore: a database of 1 GB out of a bucket, against a plain parallel download of the same objects.

Ceph, all in memory, on the same machine: what it takes to serve is on both sides, and there is no network to hide
behind. The plain download is curl, in as many processes as restore has connections (-parallel), each with one
connection that it keeps, with ranges of the same 4 MB (presigned URLs); it writes each to the file system on
which restore makes the database. Both are followed by a sync of their files within the time. Objects are those
that restore reads: a snapshot and files of levels 0 to 3. The database is larger than its objects: what restore
decodes and writes besides is its own affair, so no more than the download's time can be expected, and MB/s are
those of the objects.
"""
import datetime
import hashlib
import hmac
import os
import subprocess
import time
import uuid

import bench
import own
import s3

PIECE = 4 << 20


def presigned(place, path):
    """A GET of it, for an hour."""
    c = place.client
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{c.region}/s3/aws4_request"
    query = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{c.access}/{scope}", "X-Amz-Date": now,
             "X-Amz-Expires": "3600", "X-Amz-SignedHeaders": "host"}
    text = "&".join(f"{s3.escape(k)}={s3.escape(v)}" for k, v in sorted(query.items()))
    target = s3.escape(path._at(), "/-_.~")
    request = "\n".join(["GET", target, text, f"host:{c.host}\n", "host", "UNSIGNED-PAYLOAD"])
    sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{c.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{c.endpoint}{target}?{text}&X-Amz-Signature={hmac.new(key, sign.encode(), 'sha256').hexdigest()}"


def prepare(b, db, box, mb, rounds):
    b.write("fill", db, mb, b.args.seed)
    with bench.Replicate(b, db, box, "-interval", "50ms", "-levels", "1s,3s,6s") as r:
        r.wait("ship", 600)
        for i in range(rounds):
            b.write("touch", db, 2000, b.args.seed + i)
            r.wait("compact", since=len(r.events), level=lambda x: x == "1")
        r.wait("compact", level=lambda x: x == "3")
        b.write("touch", db, 2000, b.args.seed + rounds)
        r.end()


def what_restore_reads(b, box):
    """[(object, from, to)]: the newest of each TXID in as few files as there are; as `list` has them."""
    listing = [(int(p.parent.name), int(p.name[:16], 16), int(p.name[17:33], 16), p, p.stat().st_size)
               for p in box._below() if p.name.endswith(".ltx")]
    plan, last = [], 0
    while True:
        nexts = [f for f in listing if f[1] <= last + 1 and f[2] > last]
        if not nexts:
            break
        best = max(nexts, key=lambda f: (f[2], f[0]))
        plan.append(best)
        last = best[2]
    pieces = [(p, at, min(at + PIECE, size) - 1) for _, _, _, p, size in plan for at in range(0, size, PIECE)]
    return pieces, sum(f[4] for f in plan), len(plan)


def plain(b, place, pieces, parallel):
    """Seconds until all is on disk, and CPU seconds of the curls."""
    out = b.place / "plain"
    out.mkdir()
    urls, configs = {}, []
    for p in {piece[0] for piece in pieces}:
        urls[p] = presigned(place, p)
    for i in range(parallel):
        lines = [f'url = "{urls[p]}"\nrange = {a}-{z}\noutput = "{out}/{n}"\n'
                 for n, (p, a, z) in enumerate(pieces) if n % parallel == i]
        configs.append(b.place / f"curl{i}")
        configs[-1].write_text("next\nsilent\nshow-error\nfail\n".join(["silent\nshow-error\nfail\n" + lines[0], *lines[1:]]))
    os.sync()
    before, start = os.times(), time.monotonic()
    curls = [subprocess.Popen(["curl", "--config", c], stdout=subprocess.DEVNULL) for c in configs]
    if any([p.wait() for p in curls]):
        raise bench.Failure("curl failed")
    fd = os.open(out, os.O_RDONLY)
    for path in out.iterdir():
        with open(path, "rb") as f:
            os.fsync(f.fileno())
    os.fsync(fd)
    os.close(fd)
    took, after = time.monotonic() - start, os.times()
    bytes_ = bench.size_of(out)
    bench.shutil.rmtree(out)
    return took, after.children_user + after.children_system - before.children_user - before.children_system, bytes_


def restore(b, box, parallel, out):
    out.unlink(missing_ok=True)
    os.sync()
    start = time.monotonic()
    use = b.measure(b.holdfast, "restore", "-parallel", parallel, box, out)
    return time.monotonic() - start, use["user"] + use["system"], use["peak_kb"]


def measure(b):
    mb, turns = (60, 2) if b.args.quick else (b.args.mb, b.args.turns)
    bench.needs(b.args.dir, 4 * mb)
    db, out, name = b.place / "app.db", b.place / "out.db", uuid.uuid4().hex[:8]
    with own.Ceph(b.place / "ceph", memory_mb=2 * mb + 2048) as ceph:
        b.env.update(ceph.env())
        box = ceph.box(name)
        prepare(b, db, box, mb, 2 if b.args.quick else 6)
        pieces, total, files = what_restore_reads(b, box)
        bench.sqlite3.connect(db).execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        size = db.stat().st_size
        print(f"  {size / bench.MB:.0f} MB database, {files} objects of {total / bench.MB:.0f} MB to be read, "
              f"{b.args.parallel} connections")
        restore(b, box, b.args.parallel, out)
        b.measure("cmp", db, out)
        results = {"plain download": [], "restore": []}
        for _ in range(turns):
            for way in b.rng.sample(list(results), 2):
                results[way].append(plain(b, ceph, pieces, b.args.parallel) if way == "plain download"
                                    else restore(b, box, b.args.parallel, out))
        if any(run[2] != total for run in results["plain download"]):
            raise bench.Failure("the plain download has not all bytes")
    print(f"  {turns} turns{'':24}{'median s':>10}{'least':>8}{'most':>8}{'MB/s':>7}{'CPU s':>8}   load {os.getloadavg()[0]:.1f}")
    for way, runs in results.items():
        s = [run[0] for run in runs]
        print(f"  {way:32}{bench.median(s):9.2f} {min(s):7.2f} {max(s):7.2f} {total / bench.MB / bench.median(s):6.0f}"
              f" {bench.median([run[1] for run in runs]):7.2f}")
    print(f"  restore: peak {max(run[2] for run in results['restore']) / 1000:.1f} MB of memory")
    ratios = [r[0] / p[0] for r, p in zip(results["restore"], results["plain download"])]
    print("  ratios of pairs, quartiles " + " ".join(f"{bench.quantile(ratios, q):.2f}" for q in (0.25, 0.5, 0.75)))
    b.verdict("restore, times the plain download (median of the pairs)", bench.median(ratios), 1.5, 2)


if __name__ == "__main__":
    bench.main(__doc__, measure, mb=(1000, "size of the database"), turns=(5, "of each way"), parallel=(4, "connections"))
