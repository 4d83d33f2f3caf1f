#!/usr/bin/python3 -B
"""saturated: a writer at full speed, with `holdfast replicate` beside it and with a process that sleeps.

One thread, prepared statements, 4 rows of 200 bytes a transaction, synchronous=NORMAL, SQLite's own automatic
checkpoints (--auto), a fixed time each. The two ways alternate in random order, each on a new database, and the first
backup is done before the clock starts. On tmpfs (/dev/shm), where nothing but the CPU is shared, and on disk.
"""
from pathlib import Path

import bench


def with_replicate(b, place, db, seconds):
    with bench.Replicate(b, db, place / "replica", *b.args.options.split()) as r:
        r.wait("ship")
        out = b.write("saturated", db, seconds, "NORMAL", b.args.auto)[-1]
        peak = r.peak_kb()
        use = r.end()
    return dict({k: float(v) for k, v in out.items() if k != "sqlite"}, cpu=use["user"] + use["system"],
                peak_kb=max(peak, use["peak_kb"]), shipped=use["bytes"], locks=use["locks"])


def with_sleeper(b, db, seconds):
    sleeper = bench.subprocess.Popen(["sleep", "1000"])
    try:
        out = b.write("saturated", db, seconds, "NORMAL", b.args.auto)[-1]
    finally:
        sleeper.kill()
        sleeper.wait()
    return {k: float(v) for k, v in out.items() if k != "sqlite"}


def one(b, root, beside, seconds):
    place = Path(bench.tempfile.mkdtemp(dir=root))
    db = place / "app.db"
    b.write("create-paced", db)
    run = with_replicate(b, place, db, seconds) if beside else with_sleeper(b, db, seconds)
    run["rate"] = run["tx"] / run["seconds"]
    bench.shutil.rmtree(place)
    return run


def table(runs):
    def row(name, key, scale=1.0, pick=bench.median, digits=1):
        columns = "".join(f"{pick([r[key] for r in runs[way]]) * scale:16,.{digits}f}" for way in (False, True))
        print(f"  {name:42}{columns}")

    print(f"  {'':42}{'sleeper beside':>16}{'holdfast beside':>16}")
    row("transactions a second, median", "rate", digits=0)
    row("COMMIT, us: p50, median of runs", "commit_p50_us")
    row("COMMIT, us: p99, median of runs", "commit_p99_us")
    row("COMMIT, ms: max, median of runs", "commit_max_us", 1e-3)
    row("COMMIT, ms: max, worst run", "commit_max_us", 1e-3, max)
    row("largest log, MB: median of runs", "wal_bytes", 1e-6)
    row("largest log, MB: worst run", "wal_bytes", 1e-6, max)
    runs = runs[True]
    pages = sum(r["pages"] for r in runs) * 4096 / bench.MB
    print(f"  replicate: {bench.median([r['cpu'] / r['seconds'] for r in runs]):.2f} s CPU per second of writing, "
          f"{sum(r['cpu'] for r in runs) / pages * 1000:.2f} ms per MB of log, "
          f"peak {max(r['peak_kb'] for r in runs) / 1000:.1f} MB, {sum(r['locks'] for r in runs):.0f} write locks taken")


def compare(b, name, root, pairs, seconds):
    runs = {False: [], True: []}
    for _ in range(pairs):
        for beside in b.rng.sample((False, True), 2):
            runs[beside].append(one(b, root, beside, seconds))
    print(f"  {name}: {bench.file_system(root)}, {pairs} pairs of {seconds:g} s")
    table(runs)
    ratios = [w["rate"] / o["rate"] for o, w in zip(runs[False], runs[True])]
    quartiles = " ".join(f"{bench.quantile(ratios, q):.3f}" for q in (0.25, 0.5, 0.75))
    medians = bench.median([r["rate"] for r in runs[True]]) / bench.median([r["rate"] for r in runs[False]])
    p99 = bench.median([r["commit_p99_us"] for r in runs[True]]) / bench.median([r["commit_p99_us"] for r in runs[False]])
    print(f"  ratio of medians {medians:.3f}; ratios of pairs, quartiles {quartiles}; p99 of COMMIT {p99:.2f} times")
    b.verdict(f"{name}: median of the pairs' ratios", bench.median(ratios), 0.98, 0.95, least=True)


def measure(b):
    pairs, seconds = (2, 1.0) if b.args.quick else (b.args.pairs, b.args.seconds)
    roots = {"tmpfs": b.shm, "disk": b.place}
    for name in roots if b.args.on == "both" else [b.args.on]:
        compare(b, name, roots[name], pairs, seconds)


bench.main(__doc__, measure, on=("both", "tmpfs, disk or both"), pairs=(15, "pairs"), seconds=(3.0, "of each run"),
           auto=(1000, "the writer's wal_autocheckpoint; 0: it leaves checkpoints to others"),
           options=("", "for replicate, such as --options='-checkpoint-pages 600'"))
