"""Runs examples/convert/pt_to_safetensors.py on checkpoints made here, and the sequin program on
weights that went through it: convert_test.py SCRIPT GOLDEN WORK [SEQUIN]"""
import argparse
import contextlib
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys

try:
    import torch
except ImportError:
    print("skipped: this python3 has no torch")
    sys.exit(0)

script, golden, work = sys.argv[1:4]
program = sys.argv[4] if len(sys.argv) > 4 else None
spec = importlib.util.spec_from_file_location("pt_to_safetensors", script)
converter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(converter)
shutil.rmtree(work, ignore_errors=True)
os.makedirs(work)
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
          "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
          "U8": torch.uint8, "BOOL": torch.bool}


def path(name):
    return os.path.join(work, name)


def convert(*arguments):
    """Exit code and errors of the script, in this process: to import torch takes seconds."""
    errors, sys.argv = io.StringIO(), [script, *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        code = converter.main()
    return code, errors.getvalue()


def read(name):
    """The tensors of a safetensors file, which must fill its data without holes."""
    with open(name, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    body, tensors, at = data[8 + length:], {}, 0
    for key, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert begin == at, (key, begin, at)
        at = end
        dtype = DTYPES[entry["dtype"]]
        flat = torch.frombuffer(bytearray(body[begin:end]), dtype=dtype) if end > begin else \
            torch.empty(0, dtype=dtype)
        tensors[key] = flat.reshape(entry["shape"])
    assert at == len(body), (at, len(body))
    return tensors


def check_same(converted, tensors):
    assert list(sorted(converted)) == list(sorted(tensors)), (list(converted), list(tensors))
    for name, tensor in tensors.items():
        found = converted[name]
        assert found.dtype == tensor.dtype and found.shape == tensor.shape, name
        assert torch.equal(found, tensor.detach()), name


def check_refused(expected, *arguments):
    output = path("refused.safetensors")
    code, errors = convert(*arguments, "-o", output)
    assert code == 2 and errors.count("\n") == 1 and expected in errors, (code, errors)
    assert not os.path.exists(output)


base = torch.arange(24, dtype=torch.float32)
weights = {
    "layer.weight": torch.nn.Parameter(base.reshape(4, 6)),
    "tied": base.reshape(4, 6),
    "transposed": base.reshape(4, 6).t(),
    "part": base[3:9:2],
    "expanded": torch.ones(1, 3).expand(2, 3),
    "scalar": torch.tensor(7, dtype=torch.int64),
    "none": torch.empty(0, 5),
    "caf\u00e9/\u0000": torch.tensor([True, False, True]),
}
for dtype in DTYPES.values():
    weights[f"of.{dtype}"] = torch.tensor([[1, 0, 3]], dtype=dtype)

torch.save(weights, path("plain.pt"))
torch.save(weights, path("legacy.bin"), _use_new_zipfile_serialization=False)
torch.save({"epoch": 3, "state_dict": weights, "nested": {"model": weights}}, path("training.pth"))
for name, options in {"plain.pt": [], "legacy.bin": [],
                      "training.pth": ["--key", "state_dict"]}.items():
    code, errors = convert(path(name), *options, "-o", path("out.safetensors"))
    assert code == 0 and "'tied' shares its memory with 'layer.weight'" in errors, (code, errors)
    check_same(read(path("out.safetensors")), weights)
assert convert(path("training.pth"), "--key", "nested.model", "-o", path("n.safetensors"))[0] == 0
torch.save({"a": base, "epoch": 3}, path("mixed.pt"))
assert convert(path("mixed.pt"), "--skip-others", "-o", path("m.safetensors"))[0] == 0
check_same(read(path("m.safetensors")), {"a": base})
torch.save({"b": base}, path("shard.bin"))
assert convert(path("m.bin"), "-o", path("s.safetensors"))[0] == 2
torch.save({"a": base}, path("m.bin"))
assert convert(path("m.bin"), path("shard.bin"), "-o", path("s.safetensors"))[0] == 0
check_same(read(path("s.safetensors")), {"a": base, "b": base})

check_refused("none.pt: expected a file, found none", path("none.pt"))
check_refused("found 'epoch' with a int (--skip-others leaves it out); --key takes what is under "
              "one of 'state_dict'", path("training.pth"))
check_refused("expected the key 'ema' of --key ema, found 'epoch', 'state_dict', 'nested'",
              path("training.pth"), "--key", "ema")
check_refused("'a': expected in one file, found in", path("m.bin"), path("mixed.pt"),
              "--skip-others")
torch.save([base], path("list.pt"))
check_refused("expected a dict of tensors, found list", path("list.pt"))
torch.save({}, path("empty.pt"))
check_refused("expected tensors, found none", path("empty.pt"))
torch.save({"c": torch.zeros(2, dtype=torch.complex64)}, path("complex.pt"))
check_refused("'c': expected one of F64, F32", path("complex.pt"))
torch.save({"s": torch.eye(2).to_sparse()}, path("sparse.pt"))
check_refused("sparse.pt: ", path("sparse.pt"))
torch.save({"args": argparse.Namespace(lr=1), "a": base}, path("code.pt"))
check_refused("code.pt: expected weights alone", path("code.pt"))
with open(path("text.pt"), "w") as file:
    file.write("no checkpoint")
check_refused("text.pt: expected", path("text.pt"))

# Published weights, there and back: the program computes the same with them.
case = os.path.join(golden, "mamba", "rms_tied")
torch.save(read(os.path.join(case, "weights.safetensors")), path("mamba.pth"))
shutil.copytree(case, path("mamba"))
os.remove(path("mamba/weights.safetensors"))
assert convert(path("mamba.pth"), "-o", path("mamba/weights.safetensors"))[0] == 0
if program:
    subprocess.run([program, "check", path("mamba")], check=True, stdout=subprocess.DEVNULL)
print("converted")
