"""Reads R's data files without R: lazy-load databases (Rdata.rdx, Rdata.rdb) and .rda files.

Follows "Serialization Formats" of the manual R Internals (versions 2 and 3, XDR). Standard library.
"""
import bz2
import gzip
import lzma
import os
import struct
import zlib


class Value:
    """A vector, list or S4 object: `data` (a list, None for S4) and `attributes` by name."""

    def __init__(self, data, attributes=None):
        self.data = data
        self.attributes = attributes or {}

    def attribute(self, name):
        value = self.attributes.get(name)
        return value.data if isinstance(value, Value) else value

    def named(self):
        """What a list or data frame holds, by name."""
        return dict(zip(self.attribute("names") or [], self.data or []))


NA_INTEGER = -2**31
LANGUAGE = (2, 5, 6)  # pair lists and calls


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0
        self.references = []
        if self.bytes(2) != b"X\n":
            raise ValueError("not XDR")
        version, _, _ = self.ints(3)
        if version == 3:
            self.bytes(self.int())
        elif version != 2:
            raise ValueError(f"version {version}")

    def bytes(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def int(self):
        return struct.unpack(">i", self.bytes(4))[0]

    def ints(self, n):
        return struct.unpack(f">{n}i", self.bytes(4 * n))

    def remember(self, value):
        self.references.append(value)
        return value

    def pairs(self, flags):
        """A pair list: [(tag, value)]."""
        result = []
        while flags & 0xFF in LANGUAGE:
            if flags & 0x200:
                self.item()
            tag = self.item() if flags & 0x400 else ""
            result.append((tag, self.item()))
            flags = self.int()
        rest = self.item(flags)
        return result if rest is None else result + [("", rest)]

    def attributes(self, flags):
        found = self.item() if flags & 0x200 else None
        return {tag: value for tag, value in found or []}

    def item(self, flags=None):
        flags = self.int() if flags is None else flags
        kind = flags & 0xFF
        if kind >= 0xF1 and kind not in (0xFF, 0xF7, 0xF8, 0xF9):  # null and special environments
            return None
        if kind == 0xFF:
            return self.references[(flags >> 8 or self.int()) - 1]
        if kind in (0xF7, 0xF8, 0xF9):
            self.int()
            return self.remember([self.item() for _ in range(self.int())])
        if kind == 1:
            return self.remember(self.item())
        if kind in LANGUAGE:
            return self.pairs(flags)
        if kind == 3:
            self.attributes(flags)
            for _ in range(3):
                self.item()
            return None
        if kind == 4:
            self.int()
            self.remember(None)
            for _ in range(4):
                self.item()
            return None
        if kind in (7, 8):
            return self.bytes(self.int()).decode("latin-1")
        if kind == 9:
            length = self.int()
            return None if length < 0 else self.bytes(length).decode("utf-8", "replace")
        if kind == 25:
            return Value(None, self.attributes(flags))
        if kind == 238:
            return self.alternative()
        length = self.int()
        if kind in (10, 13):
            values = [float("nan") if v == NA_INTEGER else v for v in self.ints(length)]
        elif kind == 14:
            values = list(struct.unpack(f">{length}d", self.bytes(8 * length)))
        elif kind == 15:
            values = list(struct.unpack(f">{2 * length}d", self.bytes(16 * length)))
        elif kind in (16, 19, 20):
            values = [self.item() for _ in range(length)]
        elif kind == 24:
            values = self.bytes(length)
        else:
            raise ValueError(f"type {kind}")
        return Value(values, self.attributes(flags))

    def alternative(self):
        """A vector in a form of its own: sequences and wrapped vectors."""
        name = self.item()[0][1]
        state = self.item()
        attributes = {tag: value for tag, value in self.item() or []}
        if name in ("compact_intseq", "compact_realseq"):
            count, first, step = state.data
            return Value([first + i * step for i in range(int(count))], attributes)
        if name.startswith("wrap_"):
            inner = state.data[0] if isinstance(state, Value) else state[0][1]
            return Value(inner.data, attributes or inner.attributes)
        if name == "deferred_string":
            return Value([str(v) for v in state[0][1].data], attributes)
        raise ValueError(f"alternative representation {name}")


def uncompressed(data):
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:3] == b"BZh":
        return bz2.decompress(data)
    if data[:6] == b"\xfd7zXZ\x00":
        return lzma.decompress(data)
    return data


def chunk(data):
    """One value of a lazy-load database: its length, then gzip, or a letter and what it names."""
    kind, rest = data[4:5], data[5:]
    if kind == b"2":
        return bz2.decompress(rest)
    if kind == b"Z":
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(rest)
    if kind == b"0":
        return rest
    return zlib.decompress(data[4:])


def read(path):
    """{name: Value} of a file .rda or .RData, or of a .rdx beside its .rdb. Objects of kinds that
    are no data (functions) are left out."""
    with open(path, "rb") as file:
        data = file.read()
    if not path.endswith(".rdx"):
        data = uncompressed(data)
        if data[:5] not in (b"RDX2\n", b"RDX3\n"):
            raise ValueError(f"{path}: not an R data file")
        return {k: v for k, v in Reader(data[5:]).item() or [] if isinstance(v, Value)}
    index = Reader(uncompressed(data)).item().named()
    with open(os.path.splitext(path)[0] + ".rdb", "rb") as file:
        database = file.read()
    found = {}
    for name, place in index["variables"].named().items():
        offset, length = place.data
        value = Reader(chunk(database[offset:offset + length])).item()
        if isinstance(value, Value):
            found[name] = value
    return found
