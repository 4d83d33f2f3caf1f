#!/usr/bin/python3 -B
"""restore: a database out of a directory and out of a bucket, against Litestream and against what the machine can do.

Text rows with an index, about 2:1 in LZ4. Each system replicates a copy of the same database, through a first backup and
some thousand changes more; what it then restores is timed until it is synced. All restores take turns in random order,
and read what lies in the page cache or in the memory of Ceph, on the same machine.

The limits: `cp` and `dd` of the database with a sync, `sqlite3 .backup`, and for the bucket curl in 4 processes that
download the objects that our restore reads. What can be asked of a restore is the slowest of the disk (dd), the store
(curl) and 1.2 GB/s for each CPU.
"""
import os
import time
import uuid
from pathlib import Path

import bench
import own
import peers
import s3_restore

CPU_MB_PER_S = 1200
PARALLEL = 4


def replicate(b, system, source, replica, rounds):
    """Its own copy of the database, replicated; seconds and memory of the first backup."""
    place = Path(bench.tempfile.mkdtemp(dir=b.place))
    db = place / "app.db"
    b.measure("cp", source, db)
    start = time.monotonic()
    with system.beside(b, db, replica) as beside:
        beside.ready()
        run = {"seconds": time.monotonic() - start, "peak_mb": beside.peak_kb() / 1e3}
        for i in range(rounds):
            b.write("touch", db, 1000, b.args.seed + i)
        beside.end()
    run["db"] = db
    return run


def timed(b, command, out):
    """Until it is on disk; `command` makes `out`."""
    out.unlink(missing_ok=True)
    os.sync()
    start = time.monotonic()
    use = b.measure(*command)
    with open(out, "rb") as f:
        os.fsync(f.fileno())
    return {"seconds": time.monotonic() - start, "cpu": use["user"] + use["system"], "peak_mb": use["peak_kb"] / 1e3}


def rows_of(db):
    connection = bench.sqlite3.connect(db)
    found = connection.execute("SELECT count(*), sum(length(body)), sum(id) FROM note").fetchone()
    connection.close()
    return found


def downloaded(b, place, pieces):
    seconds, cpu, _ = s3_restore.plain(b, place, pieces, PARALLEL)
    return {"seconds": seconds, "cpu": cpu}


def compare(b, where, mb, source, boxes, limits):
    """`boxes`: {system: its replica}; `limits`: {name: a function that gives a run}."""
    backups = {system: replicate(b, system, source, box, 1 if b.args.quick else 3) for system, box in boxes.items()}
    out = b.place / "out.db"
    ways = {system.name: lambda s=system, box=box: timed(b, s.restore(b, backups[s]["db"], box, out), out)
            for system, box in boxes.items()} | limits(out, backups)
    for system in boxes:  # that they give what was there; and into the page cache
        ways[system.name]()
        if rows_of(out) != rows_of(backups[system]["db"]):
            raise bench.Failure(f"{system.name} restored other rows than its source has")
    runs = {name: [] for name in ways}
    for _ in range(1 if b.args.quick else b.args.turns):
        for name in b.rng.sample(list(ways), len(ways)):
            runs[name].append(ways[name]())
    out.unlink(missing_ok=True)
    size = backups[next(iter(boxes))]["db"].stat().st_size / bench.MB
    first = {system.name: [backup] for system, backup in backups.items()}
    b.head(f"{where}, {size:,.0f} MB, {len(runs['holdfast'])} turns", runs)
    b.row(f"first backup, {mb:g} MB, {where}", "s", first, "seconds", digits=2, chart=True)
    b.row(f"first backup, {mb:g} MB, {where}, memory", "MB", first, "peak_mb", chart=True)
    ratios = b.row(f"restore, {mb:g} MB, {where}", "s", runs, "seconds", digits=2, chart=True)
    b.row(f"restore, {mb:g} MB, {where}, CPU", "s", runs, "cpu", digits=2, chart=True)
    b.row(f"restore, {mb:g} MB, {where}, memory", "MB", runs, "peak_mb", chart=True)
    bounds = [bench.median([run["seconds"] for run in runs[name]]) for name in runs if name in ("dd", "download")]
    limit = max([*bounds, size / CPU_MB_PER_S / os.cpu_count()])
    took = bench.median([run["seconds"] for run in runs["holdfast"]])
    b.verdict(f"restore, {mb:g} MB, {where}: the limit's {limit:.2f} s / its time", limit / took, 0.9, least=True)
    if "Litestream 0.5.17" in ratios:
        b.verdict(f"restore, {mb:g} MB, {where}: times as fast as Litestream 0.5.17", ratios["Litestream 0.5.17"][1], 5,
                  least=True)
    for backup in backups.values():
        bench.shutil.rmtree(backup["db"].parent)


def directory(b, systems, source, mb):
    place = b.place / "replicas"
    place.mkdir()

    def limits(out, backups):
        db = next(iter(backups.values()))["db"]
        return {"dd": lambda: timed(b, ["dd", f"if={db}", f"of={out}", "bs=1M", "conv=fsync", "status=none"], out),
                "cp": lambda: timed(b, ["cp", db, out], out),
                ".backup": lambda: timed(b, ["sqlite3", db, f".backup '{out}'"], out)}

    compare(b, "directory", mb, source, {system: place / system.name.replace(" ", "-") for system in systems}, limits)
    bench.shutil.rmtree(place)


def bucket(b, systems, source, mb, ceph):
    boxes = {system: ceph.box(uuid.uuid4().hex[:8]) for system in systems}

    def limits(out, backups):
        db = next(iter(backups.values()))["db"]
        pieces, _, _ = s3_restore.what_restore_reads(b, boxes[systems[0]])
        return {"dd": lambda: timed(b, ["dd", f"if={db}", f"of={out}", "bs=1M", "conv=fsync", "status=none"], out),
                "download": lambda: downloaded(b, ceph, pieces)}

    compare(b, "bucket", mb, source, boxes, limits)


def available_mb():
    return next(int(line.split()[1]) / 1e3 for line in Path("/proc/meminfo").read_text().splitlines()
                if line.startswith("MemAvailable:"))


def measure(b):
    systems = peers.here(b, replicating=True)
    for mb in [30] if b.args.quick else map(float, b.args.sizes.split(",")):
        bench.needs(b.args.dir, 10 * mb)
        source = b.place / "source.db"
        b.write("fill", source, int(mb), b.args.seed)
        directory(b, systems, source, mb)
        memory_mb = int(3 * mb + 2048)
        if available_mb() < memory_mb + 2000:
            b.missing(f"restore of {mb:g} MB out of a bucket: it needs {memory_mb + 2000} MB of memory")
        else:
            try:
                with own.Ceph(b.place / f"ceph-{mb:g}", memory_mb=memory_mb) as ceph:
                    b.env.update(ceph.env())
                    bucket(b, systems, source, mb, ceph)
            except own.Absent as why:
                b.missing(f"the bucket: {why}")
        source.unlink()


bench.main(__doc__, measure, sizes=("100,1000", "of the databases, MB"), turns=(3, "of each way"))
