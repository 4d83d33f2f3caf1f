#!/usr/bin/python3 -B
"""lone: the way of a single commit into a file replica.

One commit each 100 to 400 ms. Measured is the time from the return of COMMIT to the moment at which inotify
shows the level-0 object under its name (it is written and synced by then). With -interval 20ms each of these
commits comes after more than an interval of quiet, so each is shipped at once; the rule that ships at most
once per interval under steady writes is not what is measured. Beside it stands what the file system itself
takes to write, sync and link a file of the same size, 30 ms after each arrival.
"""
import bench


def one(b, sync, commits):
    place = b.place / sync
    place.mkdir()
    db, replica = place / "app.db", place / "replica"
    b.write("create-paced", db)
    with bench.Replicate(b, db, replica, "-interval", "20ms") as r:
        r.wait("ship")
        rows = b.write("lone", db, replica / "ltx/0", commits, sync, b.args.seed)
        use = r.end()
    way = [float(row["way_us"]) / 1000 for row in rows]
    link = [float(row["link_us"]) / 1000 for row in rows]
    commit = [float(row["commit_us"]) / 1000 for row in rows]
    for name, values in (("COMMIT returned to object seen", way), ("a file written, synced, linked", link),
                         ("the transaction itself", commit)):
        figures = "".join(f"{bench.quantile(values, q):9.2f}" for q in (0.5, 0.9, 0.99, 1))
        print(f"  {sync:7} {name:32}{figures}")
    print(f"  {sync:7} replicate: {use['user'] + use['system']:.2f} s CPU, {use['peak_kb'] / 1000:.1f} MB")
    return bench.median(way)


def measure(b):
    commits = 10 if b.args.quick else b.args.commits
    print(f"  {commits} commits each; ms:{'':24}   p50      p90      p99      max")
    medians = {sync: one(b, sync, commits) for sync in ("NORMAL", "FULL")}
    for sync, value in medians.items():
        b.verdict(f"p50, synchronous={sync}", value, 5, unit=" ms")


bench.main(__doc__, measure, commits=(120, "commits per mode"))
