#!/usr/bin/python3 -B
"""restore: a database of 500 MB out of a file replica, against `cp` of the database.

Text rows with an index, about 2:1 in LZ4. The replica is a snapshot and files of levels 0 to 3 made by a
minute's worth of life in seconds. Both read from the page cache, both write to the same file system, and both
are followed by a sync of the file within the time. cp is plain cp.
"""
import os
import time

import bench


def prepare(b, db, replica, mb, rounds):
    b.write("fill", db, mb, b.args.seed)
    with bench.Replicate(b, db, replica, "-interval", "50ms", "-levels", "1s,3s,6s") as r:
        r.wait("ship")
        for i in range(rounds):
            b.write("touch", db, 2000, b.args.seed + i)
            r.wait("compact", since=len(r.events), level=lambda x: x == "1")
        r.wait("compact", level=lambda x: x == "3")
        b.write("touch", db, 2000, b.args.seed + rounds)
        r.end()
    bench.sqlite3.connect(db).execute("PRAGMA wal_checkpoint(TRUNCATE)").close()  # all of it is in the file


def timed(b, command, out):
    """Seconds until it is on disk, and its CPU seconds."""
    out.unlink(missing_ok=True)
    os.sync()
    start = time.monotonic()
    use = b.measure(*command, out)
    with open(out, "rb") as f:
        os.fsync(f.fileno())
    return time.monotonic() - start, use["user"] + use["system"], use["peak_kb"]


def measure(b):
    mb, turns = (60, 3) if b.args.quick else (b.args.mb, b.args.turns)
    bench.needs(b.args.dir, 5 * mb)
    db, replica, out = b.place / "app.db", b.place / "replica", b.place / "out.db"
    prepare(b, db, replica, mb, 2 if b.args.quick else 6)
    size = db.stat().st_size
    levels = {p.name: len(list(p.iterdir())) for p in sorted((replica / "ltx").iterdir())}
    print(f"  {size / bench.MB:.0f} MB database; replica {bench.size_of(replica / 'ltx') / bench.MB:.0f} MB, objects "
          + ", ".join(f"level {level}: {count}" for level, count in levels.items()))
    ways = {"cp": ["cp", db], "restore": [b.holdfast, "restore", replica],
            "restore -parallel 1": [b.holdfast, "restore", "-parallel", "1", replica]}  # fmt: skip
    results = {name: [] for name in ways}
    for name, command in ways.items():  # into the page cache
        timed(b, command, out)
        if name != "cp":
            b.measure("cmp", db, out)
    for _ in range(turns):
        for name in b.rng.sample(list(ways), len(ways)):
            results[name].append(timed(b, ways[name], out))
    print(f"  {turns} turns{'':24}{'median s':>10}{'least':>8}{'most':>8}{'MB/s':>7}{'CPU s':>8}{'peak MB':>9}")
    for name, runs in results.items():
        s = [r[0] for r in runs]
        print(f"  {name:32}{bench.median(s):9.2f} {min(s):7.2f} {max(s):7.2f} {size / bench.MB / bench.median(s):6.0f}"
              f" {bench.median([r[1] for r in runs]):7.2f} {max(r[2] for r in runs) / 1000:8.1f}")
    ratios = [r[0] / c[0] for r, c in zip(results["restore"], results["cp"])]
    print("  ratios of pairs, quartiles " + " ".join(f"{bench.quantile(ratios, q):.2f}" for q in (0.25, 0.5, 0.75)))
    b.verdict("restore, times cp (median of the pairs)", bench.median(ratios), 2, 2.5)


bench.main(__doc__, measure, mb=(500, "size of the database"), turns=(7, "of each way"))
