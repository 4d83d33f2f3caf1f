#!/usr/bin/python3 -B
"""checkpoints: 1,000 transactions a second, and what holding and emptying the log costs the application.

One connection writes 1,000 transactions a second (an UPDATE and an INSERT each), another upgrades reads to
writes (BEGIN; SELECT; UPDATE; COMMIT) 200 times a second, which fails at once with SQLITE_BUSY, whatever the
timeout, when somebody holds the write lock. First the two take turns, so that nobody but Holdfast can refuse
them; then each goes its own way, and they refuse each other too. Each time without and with
`holdfast replicate`.
"""
import bench


def resets(db):
    """Salt 1 of the log: each reset adds one to it."""
    with open(f"{db}-wal", "rb") as f:
        return int.from_bytes(f.read(20)[16:20], "big")


def one(b, turns, beside, seconds):
    place = b.place / f"{turns}{beside}"
    place.mkdir()
    db, replica = place / "app.db", place / "replica"
    b.write("create-paced", db)
    keep = bench.sqlite3.connect(db, isolation_level=None)  # so that the log stays from first to last
    keep.execute("UPDATE hot SET n = 1 WHERE id = 1")
    words = ("paced", db, seconds, b.args.rate, b.args.upgrades, turns, b.args.seed)
    if not beside:
        first_salt = resets(db)
        run = {k: float(v) for k, v in b.write(*words)[-1].items()}
    else:
        with bench.Replicate(b, db, replica) as r:
            r.wait("ship")
            first, first_salt = len(r.events), resets(db)
            run = {k: float(v) for k, v in b.write(*words)[-1].items()}
            run.update({f"stop_{k}": v for k, v in r.end().items()})
        ships = [e for e in r.events[first:] if e["event"] == "ship"]
        run["shipped"] = sum(int(e["bytes"]) for e in ships)
        run["shipped_pages"] = sum(int(e["pages"]) for e in ships)
        run["compacted"] = sum(int(e["bytes"]) for e in r.events[first:] if e["event"] == "compact")
    run["resets"] = (resets(db) - first_salt) % (1 << 32)
    keep.close()
    return run


def report(b, turns, runs, seconds):
    def row(name, key, scale=1.0, digits=0):
        columns = "".join(f"{runs[way][key] * scale:16,.{digits}f}" for way in (False, True))
        print(f"  {name:44}{columns}")

    title = "writers take turns" if turns == "serial" else "each its own way"
    print(f"  {title}, {seconds:g} s each{'':15}{'alone':>16}{'holdfast beside':>16}")
    row("transactions a second", "rate")
    row("upgrades a second", "upgrades")
    row("SQLITE_BUSY in upgrades", "busy_upgrades")
    row("SQLITE_BUSY in BEGIN IMMEDIATE (10 s)", "busy_writer")
    row("SQLITE_BUSY_SNAPSHOT (their own doing)", "snapshots")
    row("transaction, us: p50", "writer_p50_us")
    row("transaction, us: p99", "writer_p99_us")
    row("transaction, ms: max", "writer_max_us", 1e-3, 1)
    row("largest log, MB", "wal_bytes", 1e-6, 1)
    row("log emptied, times", "resets")
    h = runs[True]
    pages = h["pages"] * 4096
    print(f"  write lock taken {h['stop_locks']:.0f} times in {h['resets']:.0f} emptyings, mean {h['stop_lock_mean_ms']:.1f} ms, "
          f"max {h['stop_lock_max_ms']:.1f} ms")
    print(f"  {pages / bench.MB:.0f} MB of pages written, {h['shipped'] / bench.MB:.1f} MB shipped "
          f"({h['shipped'] / pages:.3f} of it; {h['shipped_pages']:.0f} of {h['pages']:.0f} pages), "
          f"{h['compacted'] / bench.MB:.1f} MB in compactions")
    print(f"  replicate: {h['stop_user'] + h['stop_system']:.2f} s CPU, peak {h['stop_peak_kb'] / 1000:.1f} MB")


def measure(b):
    seconds = 5.0 if b.args.quick else b.args.seconds
    results = {}
    for turns in ("serial", "apart"):
        runs = {beside: one(b, turns, beside, seconds) for beside in (False, True)}
        report(b, turns, runs, seconds)
        results[turns] = runs
    held = results["serial"][True]
    b.verdict("SQLITE_BUSY in upgrades, writers take turns", held["busy_upgrades"], 0)
    b.verdict("SQLITE_BUSY in BEGIN IMMEDIATE", held["busy_writer"], 0)
    b.verdict("largest log, frames", max(r[True]["stop_wal_frames_max"] for r in results.values()), 4000)
    b.verdict("emptyings that took the write lock", held["stop_locks"] / max(held["resets"], 1), 0.1)


bench.main(__doc__, measure, seconds=(60.0, "of each of four runs"), rate=(1000, "transactions a second"),
           upgrades=(200, "upgrades a second"))
