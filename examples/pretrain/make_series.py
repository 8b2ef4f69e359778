#!/usr/bin/env python3
"""Series of unpacked Debian packages to one CSV; make_series.sh calls it. Standard library."""
import array
import csv
import glob
import gzip
import math
import os
import struct
import sys
import xml.etree.ElementTree as xml
import zlib

import r_data

NAN = float("nan")
SHORTEST, LONGEST = 32, 20000
# Whole packages that are never learnt from, and a dataset that goes with one of them.
HELD_OUT = {"r-base-core", "r-cran-forecast"}
HELD_OUT_SETS = {"sf-temps", "camp"}
# The same as held-out ones in another form (logarithms, other resolutions), or made by a formula.
LEFT_OUT = {"bjg", "arma", "nile", "sunspots", "blocks", "doppler", "heavisine",
            "jumpsine", "linchirp", "economics", "djclose", "gdp_midas"}
DOMAINS = {
    "r-cran-surveillance": "health", "r-cran-spacetime": "air", "ferret-datasets": "climate",
    "boot": "nature", "flow.jok": "nature", "flow.vat": "nature", "prec": "climate",
    "temp": "climate", "nino": "climate", "nino3": "climate", "nino3.4": "climate",
    "ice.river": "nature", "camp": "nature", "kobe": "nature", "manaus": "nature",
    "elnino": "climate", "seattle-temps": "climate", "seattle-weather": "climate",
    "sf-temps": "climate", "bikesharing": "transport", "tourism": "transport",
    "SP2001": "finance", "DJIA8012": "finance", "GoldSilver": "finance", "NYSESW": "finance",
    "MSCISwitzerland": "finance", "MarkDollar": "finance", "MarkPound": "finance",
    "tcmd": "finance", "tcm": "finance", "DJIA": "finance", "ibm": "finance",
    "exchange": "finance", "mexm": "finance", "BondYield": "finance", "USStocksSW": "finance",
    "iowa-electricity": "energy",
    # held out
    "AirPassengers": "transport", "airmiles": "transport", "Seatbelts": "road safety",
    "UKDriverDeaths": "road safety", "USAccDeaths": "road safety", "EuStockMarkets": "finance",
    "gold": "finance", "gas": "energy", "taylor": "energy", "UKgas": "energy",
    "sunspot.month": "astronomy", "sunspots": "astronomy", "sunspot.year": "astronomy",
    "lynx": "nature", "treering": "nature", "Nile": "nature", "LakeHuron": "nature",
    "co2": "climate", "nottem": "climate", "nhtemp": "climate", "ldeaths": "health",
    "mdeaths": "health", "fdeaths": "health", "lh": "health", "WWWusage": "network",
}


def period_of(frequency):
    """Observations a season: a working week for trading days, a week for days."""
    f = round(frequency)
    if 240 <= f <= 262:
        return 5
    if f in (365, 366):
        return 7
    return max(f, 1)


class Collection:
    def __init__(self):
        self.series = []

    def add(self, package, dataset, column, frequency, values):
        """Keeps the series unless it is short, nearly constant, a code or a trend without noise."""
        values = [v if isinstance(v, (int, float)) and math.isfinite(v) else NAN for v in values]
        there = [i for i, v in enumerate(values) if v == v]
        if not there or dataset in LEFT_OUT:
            return
        values = values[there[0]:there[-1] + 1][-LONGEST:]
        known = [v for v in values if v == v]
        if len(known) < SHORTEST or len(known) < 0.7 * len(values) or len(set(known)) < 8:
            return
        steps = [b - a for a, b in zip(known, known[1:])]
        if max(steps) - min(steps) <= 1e-9 * max(abs(v) for v in known):
            return
        held = package in HELD_OUT or dataset in HELD_OUT_SETS
        domain = DOMAINS.get(dataset, DOMAINS.get(package, "economy"))
        name = f"{package}/{dataset}" + (f"/{column}" if column else "")
        name = "".join(c if c.isalnum() or c in "/._-+" else "_" for c in name)
        part = "test" if held else "validation" if zlib.crc32(name.encode()) % 20 == 0 else "train"
        self.series.append((part, domain, name, period_of(frequency), values))

    def without_doubles(self):
        """Leaves out what repeats an earlier series, test series first, whatever its unit:
        twelve equal ratios of successive steps."""
        seen, kept, doubles = set(), [], 0
        for s in sorted(self.series, key=lambda s: s[0] != "test"):
            steps = [b - a for a, b in zip(s[4], s[4][1:]) if b == b and a == a]
            ratios = [f"{b / a:.3g}" if a and b else "" for a, b in zip(steps, steps[1:])]
            marks = [tuple(ratios[i:i + 12]) for i in range(len(ratios) - 11)]
            marks = [m for m in marks if "" not in m and len(set(m)) > 8]
            if s[0] == "test" and marks and sum(m in seen for m in marks) > len(marks) / 2:
                doubles += 1
                continue
            if s[0] != "test" and any(m in seen for m in marks):
                doubles += 1
                continue
            seen.update(marks)
            kept.append(s)
        return kept, doubles


def matrix_columns(value):
    """[(column name, values)] of a vector or matrix."""
    dim = value.attribute("dim")
    if not dim or len(dim) != 2:
        return [("", list(value.data))]
    rows, columns = int(dim[0]), int(dim[1])
    names = value.attribute("dimnames")
    names = names[1].data if names and isinstance(names[1], r_data.Value) else None
    return [(str(names[c] if names else c + 1), list(value.data[c * rows:(c + 1) * rows]))
            for c in range(columns)]


def add_r(collection, package, name, value):
    kinds = value.attribute("class") or []
    tsp = value.attribute("tsp")
    if tsp:
        for column, values in matrix_columns(value):
            collection.add(package, name, column, tsp[2], values)
    elif "zoo" in kinds:
        frequency = value.attribute("frequency")
        for column, values in matrix_columns(value):
            collection.add(package, name, column, frequency[0] if frequency else 250, values)
    elif "sts" in kinds:
        frequency = value.attribute("freq")[0]
        for column, values in matrix_columns(value.attributes["observed"]):
            collection.add(package, name, column, frequency, values)
    elif "disProg" in kinds:
        held = value.named()
        frequency = held["freq"].data[0] if "freq" in held else 52
        for column, values in matrix_columns(held["observed"]):
            collection.add(package, name, column, frequency, values)
    elif package == "r-cran-spacetime" and name == "air":  # stations by days
        stations, days = (int(d) for d in value.attribute("dim"))
        names = value.attribute("dimnames")[0].data
        for s in range(stations):
            collection.add(package, name, names[s], 365, value.data[s::stations])


def add_gretl_file(collection, package, path):
    with open(path, "rb") as file:
        data = file.read()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    root = xml.fromstring(data)
    if root.get("type") != "time-series":
        return
    names = [v.get("name") for v in root.iter("variable")]
    rows = [(row.text or "").split() for row in root.iter("obs")]
    rows = [row for row in rows if len(row) == len(names)]
    skip = {"time", "year", "trend", "month", "quarter", "qtr", "date", "t", "period", "obs"}
    for c, name in enumerate(names):
        if name.lower() in skip:
            continue
        values = [NAN if row[c] in ("NA", "-999") else float(row[c]) for row in rows]
        collection.add(package, os.path.splitext(os.path.basename(path))[0], name,
                       float(root.get("frequency", 1)), values)


def add_gretl_database(collection, package, path):
    """Series of 32-bit floats one after the other, described by two lines each in the .idx."""
    data = array.array("f")
    with open(path, "rb") as file:
        data.frombytes(file.read())
    if sys.byteorder == "big":
        data.byteswap()
    with open(path[:-3] + "idx", encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("#")]
    at = 0
    for name, span in zip(lines[::2], lines[1::2]):
        count = int(span.split("=")[-1])
        frequency = {"A": 1, "Q": 4, "M": 12, "W": 52, "D": 365, "B": 260}[span[0]]
        values = [NAN if v == -999.0 else float(f"{v:.7g}") for v in data[at:at + count]]
        collection.add(package, "fedstl", name.split()[0], frequency, values)
        at += count


def add_winds(collection, package, path):
    """A grid of monthly winds in netCDF classic: a header, then records of float (y, x)."""
    with open(path, "rb") as file:
        data = file.read()
    at = 4

    def integers(n):
        nonlocal at
        at += 4 * n
        return struct.unpack_from(f">{n}i", data, at - 4 * n)

    def text():
        nonlocal at
        n, = integers(1)
        at += (n + 3) // 4 * 4
        return data[at - (n + 3) // 4 * 4:][:n].decode()

    def skip_attributes():
        nonlocal at
        for _ in range(integers(2)[1]):
            text()
            kind, n = integers(2)
            at += (n * {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}[kind] + 3) // 4 * 4

    records, = integers(1)
    sizes = []
    for _ in range(integers(2)[1]):
        text()
        sizes += integers(1)
    skip_attributes()
    record, variables = 0, []
    for _ in range(integers(2)[1]):
        name = text()
        ids = integers(integers(1)[0])
        skip_attributes()
        _, size, begin = integers(3)
        if ids and sizes[ids[0]] == 0:
            record += size
            variables.append((name, ids, begin))
    for name, ids, begin in variables:
        if len(ids) != 3:
            continue
        ny, nx = sizes[ids[1]], sizes[ids[2]]
        for y in range(3, ny, 6):
            for x in range(0, nx, 6):
                values = [struct.unpack_from(">f", data, begin + r * record + 4 * (y * nx + x))[0]
                          for r in range(records)]
                collection.add(package, "navy_winds", f"{name}-{y}-{x}", 12,
                               [v if v > -99 else NAN for v in values])


def add_csv(collection, package, path, frequency, columns=None, by_rows=False):
    with open(path, encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    dataset = os.path.splitext(os.path.basename(path))[0]

    def number(text):
        try:
            return float(text)
        except ValueError:
            return NAN

    if by_rows:  # a year a row
        collection.add(package, dataset, "", frequency,
                       [number(v) for row in rows[1:] for v in row[1:]])
        return
    for c, name in enumerate(rows[0]):
        if columns is None or name in columns:
            collection.add(package, dataset, name, frequency, [number(row[c]) for row in rows[1:]])


def collect_packages(collection, packages):
    """R's data and gretl's of all packages below the folder."""
    for package in sorted(p for p in os.listdir(packages) if os.path.isdir(f"{packages}/{p}")):
        at = os.path.join(packages, package)
        files = sorted(glob.glob(f"{at}/usr/lib/R/**/data/*", recursive=True))
        if package == "r-base-core":
            files = [f for f in files if "/datasets/" in f]
        for path in files:
            if path.lower().endswith((".rdx", ".rda", ".rdata")) and "imdepifit" not in path:
                for name, value in sorted(r_data.read(path).items()):
                    add_r(collection, package, name, value)
        for path in sorted(glob.glob(f"{at}/usr/share/gretl/**/*.gdt", recursive=True)):
            add_gretl_file(collection, package, path)
        for path in sorted(glob.glob(f"{at}/usr/share/gretl/db/*.bin")):
            add_gretl_database(collection, package, path)


def main():
    out = sys.argv[1]
    packages = os.path.join(out, "packages")
    collection = Collection()
    collect_packages(collection, packages)
    python = "/usr/lib/python3/dist-packages/"
    vega = f"{packages}/python3-vega-datasets{python}vega_datasets/_data/"
    add_csv(collection, "python3-vega-datasets", vega + "seattle-temps.csv", 24, {"temp"})
    add_csv(collection, "python3-vega-datasets", vega + "sf-temps.csv", 24, {"temp"})
    add_csv(collection, "python3-vega-datasets", vega + "seattle-weather.csv", 365)
    add_csv(collection, "python3-vega-datasets", vega + "us-employment.csv", 12)
    sets = f"{packages}/python3-statsmodels{python}statsmodels/datasets/"
    add_csv(collection, "python3-statsmodels", sets + "elec_equip/elec_equip.csv", 12)
    add_csv(collection, "python3-statsmodels", sets + "elnino/elnino.csv", 12, by_rows=True)
    ferret = f"{packages}/ferret-datasets/usr/share/ferret-vis/data/"
    add_winds(collection, "ferret-datasets", ferret + "monthly_navy_winds.cdf")

    kept, doubles = collection.without_doubles()
    write(out, kept)
    print(f"made {out}/series.csv: {len(kept)} series, {sum(len(s[4]) for s in kept)} values; "
          f"{doubles} doubles left out")


def write(out, kept):
    """series.csv, and sources.csv with what each package gave."""
    with open(os.path.join(out, "series.csv"), "w", encoding="utf-8") as file:
        file.write("part,domain,name,period,values\n")
        for part, domain, name, period, values in kept:
            text = " ".join(f"{v:.7g}" for v in values)
            file.write(f"{part},{domain},{name},{period},{text}\n")
    counts = {}
    for part, domain, name, period, values in kept:
        n = counts.setdefault((name.split("/")[0], domain, part), [0, 0])
        n[0] += 1
        n[1] += len(values)
    with open(os.path.join(out, "sources.csv"), "w", encoding="utf-8") as file:
        file.write("package,domain,part,series,values\n")
        for key, n in sorted(counts.items()):
            file.write(",".join(key) + f",{n[0]},{n[1]}\n")


if __name__ == "__main__":
    main()
