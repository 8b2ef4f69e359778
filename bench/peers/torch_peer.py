"""What the peers in PyTorch share: safetensors files of float and whole numbers, and the clock."""
import json
import statistics
import struct
import time

import numpy as np
import torch


def load_safetensors(path):
    raw = open(path, "rb").read()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    out = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kind = np.int64 if entry["dtype"] == "I64" else np.float32
        data = np.frombuffer(raw[8 + length + begin : 8 + length + end], dtype=kind)
        out[name] = torch.from_numpy(data.reshape(entry["shape"]).copy())
    return out


def save_safetensors(path, tensors):
    header, blobs, at = {}, [], 0
    for name, t in tensors.items():
        data = t.detach().contiguous().numpy().tobytes()
        kind = "I64" if t.dtype == torch.int64 else "F32"
        header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [at, at + len(data)]}
        blobs.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def median_ms(run, repeat, warm_up=3):
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)
