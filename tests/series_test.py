"""What examples/pretrain/make_series.py makes of packages: planted R data, a gretl file and a CSV.

usage: series_test.py ROOT WORK"""
import csv
import gzip
import os
import random
import shutil
import struct
import sys

ROOT, WORK = sys.argv[1:]
PRETRAIN = os.path.join(ROOT, "examples", "pretrain")
failures = 0


def check(ok, what):
    global failures
    if not ok:
        failures += 1
        print(f"failed: {what}")


def integer(*values):
    return struct.pack(f">{len(values)}i", *values)


def text(value):
    return integer(0x40009, len(value)) + value.encode()


def symbol(name):
    return integer(1) + text(name)


def reals(values, attributes=b""):
    return integer(14 | (0x200 if attributes else 0), len(values)) + \
        struct.pack(f">{len(values)}d", *values) + attributes


def ts(values, start, frequency):
    """A numeric vector with the attribute tsp and the class ts."""
    end = start + (len(values) - 1) / frequency
    tsp = integer(0x402) + symbol("tsp") + reals([start, end, frequency])
    kind = integer(0x402) + symbol("class") + integer(16, 1) + text("ts")
    return reals(values, tsp + kind + integer(0xFE))


def rda(objects):
    pairs = b"".join(integer(0x402) + symbol(name) + value for name, value in objects)
    return gzip.compress(b"RDX3\nX\n" + integer(3, 0x40202, 0x30500, 5) + b"UTF-8" + pairs +
                         integer(0xFE))


def write(path, data):
    path = os.path.join(WORK, "packages", path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


shutil.rmtree(WORK, ignore_errors=True)
random.seed(1)
walk = [0.0]
while len(walk) < 60:
    walk.append(walk[-1] + random.gauss(0, 1))
other = [random.gauss(0, 1) for _ in range(50)]
gretl = [random.gauss(5, 1) for _ in range(40)]
write("r-base-core/usr/lib/R/library/datasets/data/walk.rda",
      rda([("walk", ts(walk, 1950, 12)), ("short", ts(walk[:20], 1950, 12))]))
# The same walk in another unit, which is not to be learnt from, and a series of its own.
write("r-cran-x/usr/lib/R/site-library/x/data/x.rda",
      rda([("scaled", ts([3 * v + 7 for v in walk], 1950, 12)), ("other", ts(other, 1, 4)),
           ("line", ts([0.5 * t for t in range(60)], 1, 1)), ("constant", ts([2.0] * 60, 1, 1))]))
rows = "".join(f"<obs>{v:.6f} {'NA' if i == 9 else i % 5 * 1.5}</obs>"
               for i, v in enumerate(gretl))
write("gretl-data/usr/share/gretl/data/misc/g.gdt", (
    '<gretldata type="time-series" frequency="12"><variables count="2"><variable name="y"/>'
    f'<variable name="code"/></variables><observations>{rows}</observations></gretldata>').encode())

sys.path.insert(0, PRETRAIN)
sys.dont_write_bytecode = True
import make_series  # noqa: E402
import r_data  # noqa: E402

planted = r_data.read(os.path.join(WORK, "packages/r-cran-x/usr/lib/R/site-library/x/data/x.rda"))
check(sorted(planted) == ["constant", "line", "other", "scaled"], f"names: {sorted(planted)}")
check(planted["other"].data == other, "the values of an R vector")
check(planted["other"].attribute("class") == ["ts"], "the class of an R vector")
try:
    write("bad.rda", b"nothing")
    r_data.read(os.path.join(WORK, "packages", "bad.rda"))
    check(False, "a file that is no R data is refused")
except ValueError as error:
    check("not an R data file" in str(error), f"refusal: {error}")
os.remove(os.path.join(WORK, "packages", "bad.rda"))

collection = make_series.Collection()
make_series.collect_packages(collection, os.path.join(WORK, "packages"))
kept, doubles = collection.without_doubles()
make_series.write(WORK, kept)
with open(os.path.join(WORK, "series.csv")) as file:
    rows = {row["name"]: row for row in csv.DictReader(file)}
check(set(rows) == {"r-base-core/walk", "r-cran-x/other", "gretl-data/g/y"},
      f"kept: {sorted(rows)}; short, straight, constant and coded ones are left out")
check(doubles == 1, f"doubles: {doubles}, expected the scaled walk")
check(rows["r-base-core/walk"]["part"] == "test", "what is held out is in the part test")
check(rows["r-cran-x/other"]["part"] in ("train", "validation"), "others are learnt from")
check(rows["r-base-core/walk"]["period"] == "12" and rows["r-cran-x/other"]["period"] == "4",
      "frequencies become periods")
values = [float(v) for v in rows["gretl-data/g/y"]["values"].split()]
check(len(values) == 40 and max(abs(a - b) for a, b in zip(values, gretl)) < 1e-5,
      "the values of a gretl file")
print("series_test.py:", "failed" if failures else "ok")
sys.exit(1 if failures else 0)
