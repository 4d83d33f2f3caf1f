#!/usr/bin/python3 -B
"""saturated: a writer at full speed, and who stands beside it.

One thread, prepared statements, 4 rows of 200 bytes a transaction, synchronous=NORMAL, SQLite's own automatic
checkpoints (--auto), a fixed time each. All take turns in random order, each on a new database, and the first backup is
done before the clock starts. On tmpfs (/dev/shm), where nothing but the CPU is shared, and on disk. Each turn has a
process that sleeps and `holdfast replicate`; every third has nobody, and both Litestreams, too. A ratio is of one turn.

CPU per MB is what the replicator used from its start to its end, at which all is shipped, over the megabytes of pages
that the writer gave to the log.
"""
from pathlib import Path

import bench
import peers

SELDOM = 3


def one(b, root, system, seconds):
    place = Path(bench.tempfile.mkdtemp(dir=root))
    db = place / "app.db"
    b.write("create-paced", db)
    how = {"options": b.args.options.split()} if system.name == "holdfast" else {}
    with system.beside(b, db, place / "replica", **how) as beside:
        beside.ready()
        out = b.write("saturated", db, seconds, "NORMAL", b.args.auto)[-1]
        run = {key: float(value) for key, value in out.items() if key != "sqlite"}
        run |= {f"its_{key}": value for key, value in beside.end().items()}
    run["rate"] = run["tx"] / run["seconds"]
    if system.replicates:
        run["ms_per_mb"] = (run["its_user"] + run["its_system"]) * 1e3 / (run["pages"] * 4096 / bench.MB)
    bench.shutil.rmtree(place)
    return run


def table(b, name, runs):
    ratios = b.row(f"transactions, {name}", "per s", runs, "rate", more=True, digits=0, chart=True)
    for what, key in (("p50", "commit_p50_us"), ("p99", "commit_p99_us")):
        b.row(f"COMMIT {what}, {name}", "us", runs, key)
    b.row(f"COMMIT max, {name}", "ms", runs, lambda run: run["commit_max_us"] / 1e3)
    b.row(f"log's size at the end, {name}", "MB", runs, lambda run: run["wal_bytes"] / bench.MB)
    b.row(f"CPU per MB of log, {name}", "ms", runs, "ms_per_mb", digits=2, chart=True)
    b.row(f"peak memory, {name}", "MB", runs, lambda run: run["its_peak_kb"] / 1e3 if "ms_per_mb" in run else None)
    return ratios


def compare(b, name, root, pairs, seconds):
    systems = peers.here(b)
    runs = {system.name: [] for system in systems}
    for turn in range(pairs):
        for system in b.rng.sample(systems, len(systems)):
            takes_part = system.name in ("no-op", "holdfast") or turn % SELDOM == 0
            runs[system.name].append(one(b, root, system, seconds) if takes_part else None)
    b.head(f"{name}: {bench.file_system(root)}, {pairs} turns of {seconds:g} s", runs)
    ratios = table(b, name, runs)
    ours = [run for run in runs["holdfast"]]
    print(f"  holdfast took the write lock {sum(run['its_locks'] for run in ours):.0f} times; rate / no-op, quartiles "
          + " ".join(f"{q:.3f}" for q in ratios["no-op"]))
    b.verdict(f"{name}: transactions, holdfast / no-op, median of the turns", ratios["no-op"][1], 0.98, 0.95, least=True)
    litestream = b.rows[-2]["ratios"].get("Litestream 0.5.17")
    if litestream:
        b.verdict(f"{name}: CPU per MB of log, holdfast / Litestream 0.5.17", 1 / litestream[1], 0.25)


def measure(b):
    pairs, seconds = (1, 0.5) if b.args.quick else (b.args.pairs, b.args.seconds)
    roots = {"tmpfs": b.shm, "disk": b.place}
    for name in roots if b.args.on == "both" else [b.args.on]:
        compare(b, name, roots[name], pairs, seconds)


bench.main(__doc__, measure, on=("both", "tmpfs, disk or both"), pairs=(9, "turns"), seconds=(2.0, "of each run"),
           auto=(1000, "the writer's wal_autocheckpoint; 0: it leaves checkpoints to others"),
           options=("", "for replicate, such as --options='-checkpoint-pages 600'"))
