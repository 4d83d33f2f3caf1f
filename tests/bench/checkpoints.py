#!/usr/bin/python3 -B
"""checkpoints: 1,000 transactions a second, and what holding and emptying the log costs the application.

One connection writes 1,000 transactions a second (an UPDATE and an INSERT each), another upgrades reads to
writes (BEGIN; SELECT; UPDATE; COMMIT) 200 times a second, which fails at once with SQLITE_BUSY, whatever the
timeout, when somebody holds the write lock. The two take turns, so that nobody but who stands beside can refuse
them; then, with us alone, each goes its own way, and they refuse each other too. All in turn, each on a new database.
"""
import bench
import peers

REST = 1.5  # seconds after the writing, an interval and a half: what is left is on its way


def resets(db):
    """Salt 1 of the log: each reset adds one to it."""
    with open(f"{db}-wal", "rb") as f:
        return int.from_bytes(f.read(20)[16:20], "big")


def one(b, turns, system, seconds):
    place = b.place / b.unique("paced").name
    place.mkdir()
    db = place / "app.db"
    b.write("create-paced", db)
    keep = bench.sqlite3.connect(db, isolation_level=None)  # so that the log stays from first to last
    keep.execute("UPDATE hot SET n = 1 WHERE id = 1")
    with system.beside(b, db, place / "replica") as beside:
        beside.ready()
        first_salt = resets(db)
        out = b.write("paced", db, seconds, b.args.rate, b.args.upgrades, turns, b.args.seed)[-1]
        run = {key: float(value) for key, value in out.items()}
        run["size"] = db.stat().st_size
        if system.replicates:
            bench.time.sleep(REST)
            run["resident_mb"] = beside.memory_kb("VmRSS") / 1e3
        run.update({f"its_{k}": v for k, v in beside.end().items()})
    run["resets"] = (resets(db) - first_salt) % (1 << 32)
    if system.replicates:
        run["cpu"] = (run["its_user"] + run["its_system"]) / seconds
        run["peak_mb"] = run["its_peak_kb"] / 1e3
    keep.close()
    bench.shutil.rmtree(place)
    return run


def report(b, runs):
    for name, key, digits in (("transactions", "rate", 0), ("transaction p50, us", "writer_p50_us", 1),
                              ("transaction p99, us", "writer_p99_us", 1)):
        b.row(f"{name}, 1,000/s" if digits else f"{name} of 1,000/s", "", runs, key, more=not digits, digits=digits)
    p99 = b.rows[-1]["ratios"].get("no-op")
    b.row("transaction max, 1,000/s", "ms", runs, lambda run: run["writer_max_us"] / 1e3)
    b.row("upgrades refused, of 200/s", "per min",
          runs, lambda run: run["busy_upgrades"] / b.seconds * 60, digits=0)
    b.row("log's size at the end, 1,000/s", "MB", runs, lambda run: run["wal_bytes"] / bench.MB)
    b.row("log emptied, 1,000/s", "per min", runs, lambda run: run["resets"] / b.seconds * 60, digits=0)
    b.row("CPU, 1,000/s", "of a core", runs, "cpu", digits=3, chart=True)
    b.row("resident memory after it, database of 10 MB", "MB", runs, "resident_mb")
    b.row("peak memory, database of 10 MB", "MB", runs, "peak_mb", chart=True)
    return p99


def measure(b):
    turns, b.seconds = (1, 1.5) if b.args.quick else (b.args.turns, b.args.seconds)
    systems = peers.here(b)
    runs = {system.name: [] for system in systems}
    for _ in range(turns):
        for system in b.rng.sample(systems, len(systems)):
            runs[system.name].append(one(b, "serial", system, b.seconds))
    size = bench.median([run["size"] for run in runs["holdfast"]]) / bench.MB
    b.head(f"writers take turns, {turns} x {b.seconds:g} s; {size:.0f} MB", runs)
    p99 = report(b, runs)
    apart = one(b, "apart", peers.Holdfast(), b.seconds)
    held = runs["holdfast"]
    locks, emptied = sum(run["its_locks"] for run in held), sum(run["resets"] for run in held)
    held_ms = {"holdfast": [run if run["its_locks"] else None for run in held]}
    print(f"  the write lock: taken {locks:.0f} times in {emptied:.0f} emptyings")
    b.row("write lock held, mean", "ms", held_ms, "its_lock_mean_ms", digits=2)
    b.row("write lock held, max", "ms", held_ms, "its_lock_max_ms", digits=2)
    print(f"  each its own way: {apart['rate']:.0f} transactions a second, {apart['busy_upgrades']:.0f} upgrades refused")
    b.verdict("transaction p99, 1,000/s, holdfast / no-op", 1 / p99[1], 1.1)
    b.verdict("SQLITE_BUSY in upgrades, writers take turns", max(run["busy_upgrades"] for run in held), 0)
    b.verdict("SQLITE_BUSY in BEGIN IMMEDIATE", max(run["busy_writer"] for run in held), 0)
    b.verdict("largest log, times the threshold of 1,000 frames",
              max(run["its_wal_frames_max"] for run in [*held, apart]) / 1000, 4)
    b.verdict("emptyings that took the write lock", locks / max(emptied, 1), 0.1)
    b.verdict("resident memory after 1,000/s, database of 10 MB", max(run["resident_mb"] for run in held), 12, unit=" MB")
    b.verdict("peak memory, 1,000/s, database of 10 MB", max(run["peak_mb"] for run in held), 12, unit=" MB")


bench.main(__doc__, measure, turns=(3, "of each"), seconds=(7.0, "of each run"), rate=(1000, "transactions a second"),
           upgrades=(200, "upgrades a second"))
