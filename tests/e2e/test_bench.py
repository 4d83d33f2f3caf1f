"""The benchmark of the store runs, and what it counts is exact. How fast anything is, is not asked here."""
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from box import COMMAND, ROOT

CROWDS = ("1", "1,000")
BUILD = pathlib.Path(COMMAND).parent


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Of a quick run, by part and name."""
    if not (BUILD / "tests/bench/bench_store").exists():
        pytest.skip(f"{BUILD} has no bench_store: meson setup -Dtests=enabled")
    place = tmp_path_factory.mktemp("bench")
    argv = [sys.executable, "-B", ROOT / "tests/bench/store.py", "--quick", "--build", BUILD, "--dir", place]
    done = subprocess.run([*argv, "--json", place / "rows"], capture_output=True, text=True, timeout=110)
    assert done.returncode in (0, 1), f"{done.stdout}{done.stderr}"  # 1: slower than a gate
    out = json.loads((place / "rows").read_text())["rows"]
    shutil.rmtree(place)
    return {(r["part"], r["name"]): r for r in out}


def test_benchmark_has_a_row_for_everything_that_it_compares(rows):
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
    want |= {("temp", n) for n in ("one database by hand", "hf_store_open_temp, main and noise")}
    assert want == {key for key in rows if key[0] != "load"}


@pytest.mark.parametrize("waiters", CROWDS)
def test_any_number_of_threads_that_wait_for_one_commit_cost_one_object(rows, waiters):
    row = rows["burst", f"{waiters} waiters"]
    assert row["puts"] == row["rounds"]


def test_noise_costs_no_object(rows):
    row = rows["noise", "noise alone"]
    assert row["commits"] > 0 and row["puts"] == 0


@pytest.mark.parametrize("how", ["flush", "ride"])
@pytest.mark.parametrize("waiters", CROWDS)
def test_a_crowd_shares_its_objects(rows, waiters, how):
    """Each thread commits and waits, again and again: never more objects than rounds."""
    row = rows["barrier", f"{waiters} waiters, {how}"]
    assert 0 < row["puts"] <= row["commits"]
