"""Writes the small WAV files beside it: `python3 make.py`."""
import math
import pathlib
import struct

HERE = pathlib.Path(__file__).parent


def wav(data, channels=1, rate=8000, bits=16, kind=1, size=None):
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * frame & 0xFFFFFFFF, frame & 0xFFFF, bits)
    chunks = b"fmt " + struct.pack("<I", 16) + fmt
    chunks += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def pcm(values):
    return b"".join(struct.pack("<h", int(v)) for v in values)


tone = [8000 * math.sin(0.3 * i) for i in range(400)]
other = [6000 * math.sin(0.11 * i + 1) for i in range(400)]
files = {
    "tone.wav": wav(pcm(tone)),
    "other.wav": wav(pcm(other)),
    "mixture_stereo_16k.wav": wav(pcm(v for a, b in zip(tone, other) for v in (a + b, a + b)), 2, 16000),
    "empty.wav": b"",
    "no_samples.wav": wav(b""),
    "one_sample.wav": wav(pcm([1000])),
    "silent.wav": wav(pcm([0] * 400)),
    "clipped.wav": wav(pcm(max(-32768, min(32767, 8 * v)) for v in tone)),
    "cut.wav": wav(pcm(tone[:100]), size=800),
    "rate_0.wav": wav(pcm(tone[:10]), rate=0),
    "channels_65535.wav": wav(pcm(tone[:10]), channels=65535),
    "nan.wav": wav(struct.pack("<3f", 0, float("nan"), 0), bits=32, kind=3),
}
for name, data in files.items():
    (HERE / name).write_bytes(data)
