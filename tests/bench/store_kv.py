"""The part kv of store.py: the store's keys and values, and etcd's."""
import shutil
import subprocess

import bench
import own

WAYS = ("store, FULL", "store, NORMAL and barrier", "etcd")


def one(s, way, endpoint, db, op, clients, seconds, keys):
    if way == "etcd":
        return s.run("etcd", endpoint, op, clients, seconds, keys, 300)[-1]
    if way == "store, FULL":
        return s.run("kv", db, op, clients, seconds, "FULL", keys, 300)[-1]
    replica = s.new(s.b.place, "replica")
    out = s.run("kv", db, op, clients, seconds, "NORMAL", keys, 300, replica)[-1]
    shutil.rmtree(replica.parent)
    return out


def rows(s, ways, endpoint, db, op, clients, keys):
    rounds, seconds = (1, 0.1) if s.b.args.quick else (3, 1)
    runs = s.turns(ways, rounds, lambda way: one(s, way, endpoint, db, op, clients, seconds, keys))
    for way in ways:
        rate = [r["ops"] / r["seconds"] for r in runs[way]]
        p50, p99, cpu = (bench.median([r[key] for r in runs[way]]) for key in ("op_p50_us", "op_p99_us", "cpu_us"))
        to_etcd = "etcd" in ways and bench.median(
            [r / (e["ops"] / e["seconds"]) for r, e in zip(rate, runs["etcd"])])
        last = f"{to_etcd:9.2f}" if to_etcd else ""
        s.row("kv", f"{op}, {clients} client{'s' * (clients > 1)}: {way}",
              f"{bench.median(rate):10,.0f}{p50:12,.1f}{p99:12,.1f}{cpu:9.1f}{last}", per_second=bench.median(rate),
              p50_us=p50, p99_us=p99, cpu_us=cpu, to_etcd=to_etcd or None)


def compare(s, ways, endpoint):
    keys = 10_000 if s.b.args.quick else 100_000
    db = s.new(s.b.place)
    s.run("fill", db, keys, 300)
    if endpoint:
        s.run("etcd-fill", endpoint, keys, 300)
    s.head(f"keys and values, {keys:,} keys", "     ops/s      p50 us      p99 us   CPU us  to etcd")
    for op in ("get", "put", "scan", "find"):
        for clients in (1, 64):
            fit = [way for way in ways if op == "put" or "barrier" not in way]
            rows(s, fit, endpoint, db, op, clients, keys)
    shutil.rmtree(db.parent)


def measure(s):
    if not shutil.which("etcd"):
        print("\n  not measured: etcd is not installed: scripts/setup etcd")
        return compare(s, WAYS[:-1], None)
    version = subprocess.run(["etcd", "--version"], stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]
    print(f"\n  {version}")
    with own.etcd(s.b.place / "etcd") as endpoint:
        compare(s, WAYS, endpoint)
