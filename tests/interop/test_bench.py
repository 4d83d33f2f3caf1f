"""The benchmarks run, and what they count is exact. How fast anything is, is not asked here.

One test each, as one run has all the figures, and each of pytest's processes would make its own.
"""
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

import parts
from box import COMMAND, ROOT

CROWDS = ("1", "1,000")
BUILD = pathlib.Path(COMMAND).parent


def quick_run(place):
    """Its rows by part and name."""
    argv = [sys.executable, "-B", ROOT / "tests/bench/store.py", "--quick", "--build", BUILD, "--dir", place]
    done = subprocess.run([*argv, "--json", place / "rows"], capture_output=True, text=True, timeout=110)
    assert done.returncode in (0, 1), f"{done.stdout}{done.stderr}"  # 1: slower than a gate
    rows = json.loads((place / "rows").read_text())["rows"]
    return {(r["part"], r["name"]): r for r in rows if r["part"] != "load"}


def all_that_it_compares():
    ways = {"raw", "hf_write", "replicated, directory", "replicated, 30 ms"}
    places = ("tmpfs, NORMAL", "disk, NORMAL", "disk, FULL")
    want = {("commits", f"{place}: {way}") for place in places for way in ways}
    want |= {("barrier", f"{n} waiters, {how}") for n in CROWDS for how in ("flush", "ride")}
    want |= {("burst", f"{n} waiters") for n in CROWDS}
    systems = ["store, FULL", *["etcd"] * bool(shutil.which("etcd"))]
    for clients in ("1 client", "64 clients"):
        want |= {("kv", f"{op}, {clients}: {way}") for op in ("get", "put", "scan", "find") for way in systems}
        want.add(("kv", f"put, {clients}: store, NORMAL and barrier"))
    want |= {("get", "hf_get"), ("get", "prepared SELECT, its value copied")}
    writers = ("main, same process", "main, another process", "noise, same process", "built")
    want |= {("index", f"300 bytes: {who}") for who in writers}
    want |= {("noise", n) for n in ("main alone", "main beside 2,000/s of noise", "noise alone")}
    return want | {("temp", n) for n in ("one database by hand", "hf_store_open_temp, main and noise")}


def test_benchmark_of_the_store_has_every_row_and_its_counts_are_exact(tmp_path):
    if not (BUILD / "tests/bench/bench_store").exists():
        pytest.skip(f"{BUILD} has no bench_store: meson setup -Dtests=enabled")
    rows = quick_run(tmp_path)
    assert all_that_it_compares() == set(rows)
    for n in CROWDS:  # that wait for one commit: one object each time
        row = rows["burst", f"{n} waiters"]
        assert row["puts"] == row["rounds"], row
        for how in ("flush", "ride"):  # that commit and wait, each by itself
            row = rows["barrier", f"{n} waiters, {how}"]
            assert 0 < row["puts"] <= row["commits"], row
    row = rows["noise", "noise alone"]
    assert row["commits"] > 0 and row["puts"] == 0, row


def test_every_peer_has_its_figures_and_quick_ones_do_not_reach_the_documents(tmp_path):
    if not (BUILD / "tests/bench/bench_store").exists():
        pytest.skip(f"{BUILD} has no bench_store: meson setup -Dtests=enabled")
    parts.litestream()
    document = ROOT / "docs/benchmarks.md"
    before = document.read_text()
    argv = [sys.executable, "-B", ROOT / "tests/bench/all.py", "--quick", "--only", "checkpoints,idle", "--write-docs"]
    done = subprocess.run([*argv, "--build", BUILD, "--dir", tmp_path], capture_output=True, text=True, timeout=170)
    assert done.returncode == 2 and document.read_text() == before, f"{done.stdout}{done.stderr}"
    measured = json.loads((BUILD / "bench-quick.json").read_text())
    systems = {"nothing", "no-op", "holdfast", "Litestream 0.5.17", "Litestream 0.3.13"}
    rows = {row["name"]: row for row in measured["checkpoints"]["rows"]}
    assert set(rows["transactions of 1,000/s"]["values"]) == systems
    assert all(rows["transactions of 1,000/s"]["values"].values())
    assert set(rows["transactions of 1,000/s"]["ratios"]) == systems - {"holdfast"}
    if not measured["idle"]["absent"]:  # no Ceph
        rows = {row["name"]: row for row in measured["idle"]["rows"]}
        puts = rows["one write a second: PUTs"]["values"]
        assert set(puts) == systems - {"nothing", "no-op"} and all(median > 0 for _, median, _ in puts.values())
    assert "| transactions of 1,000/s |" in done.stdout
