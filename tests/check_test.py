"""What `sequin check` says of recorded modules: check_test.py SEQUIN ROOT WORK

On tests/data/golden/itransformer/modules (made by examples/convert/export_golden.py from the
official code), with one thing changed at a time. Where this python3 has torch also the recipe of
docs/check.md, word for word, on a PyTorch model with the official names."""
import json
import os
import re
import shutil
import struct
import subprocess
import sys

program, root, work = sys.argv[1:4]
golden = os.path.join(root, "tests/data/golden/itransformer/modules")
shutil.rmtree(work, ignore_errors=True)
os.makedirs(work)


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + length]), bytearray(data[8 + length:])


def write(path, header, body):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def changed(file, change):
    """A copy of the case in which change(header, body) altered one of the files."""
    folder = os.path.join(work, "case")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(golden, folder)
    path = os.path.join(folder, file)
    header, body = read(path)
    change(header, body)
    write(path, header, body)
    return folder


def moved(name, by=0.5):
    """Adds to the first element of a tensor."""
    def change(header, body):
        begin = header[name]["data_offsets"][0]
        value = struct.unpack("<f", body[begin:begin + 4])[0]
        body[begin:begin + 4] = struct.pack("<f", value + by)
    return change


def check(folder, code, *expected, options=()):
    """Runs the program; all texts have to be in what it prints."""
    run = subprocess.run([program, "check", folder, *options], capture_output=True, text=True)
    assert run.returncode == code, (options, run.returncode, run.stdout, run.stderr)
    for text in expected:
        assert text in run.stdout + run.stderr, (text, run.stdout, run.stderr)
    return run.stdout


def check_named(weight, first, last):
    """A wrong weight: the report names the module that it belongs to."""
    report = check(changed("weights.safetensors", moved(weight)), 1, "DOES NOT HOLD")
    found = re.search(r"first module that diverges: (\S+)\n  largest difference \S+ at \[.*\]: "
                      r"recorded \S+, found \S+\n  relative \S+, expected at most 2.0e-05\n"
                      r"last module that held: (.+?)( \(\S+\))?\n",
                      report)
    assert found and found.group(1, 2) == (first, last), (weight, report)


layer = "encoder.attn_layers."
whole = check(golden, 0, "holds\n", "modules: 17 of 32 recorded compared, all hold\n",
              "mid.projector", "not compared: recorded [2, 5, 6], here [2, 3, 6]")
assert "diverges" not in whole, whole
check(golden, 0, "modules: 17 of 32 recorded compared, all hold\n", options=["--grad"])
lines = check(golden, 0, f"  mid.{layer}0.attention ", f"  mid.{layer}1.norm2 ",
              "no module here puts it out", options=["--modules"])
assert lines.count("\n  mid.") == 32, lines

embedding = "enc_embedding.value_embedding"
check_named(f"{embedding}.weight", embedding, "none before it")
check_named(f"{layer}0.attention.query_projection.bias", f"{layer}0.attention.query_projection",
            embedding)
check_named(f"{layer}1.attention.value_projection.weight", f"{layer}1.attention.value_projection",
            f"{layer}1.attention.key_projection")
check_named(f"{layer}1.attention.out_projection.bias", f"{layer}1.attention.out_projection",
            f"{layer}1.attention.value_projection")
# conv1 and the norms are fused with what surrounds them: the next block that is compared is named.
check_named(f"{layer}0.conv1.bias", f"{layer}0.conv2", f"{layer}0.attention")
check_named(f"{layer}0.conv2.weight", f"{layer}0.conv2", f"{layer}0.attention")
check_named(f"{layer}0.norm2.weight", f"{layer}0", f"{layer}0.conv2")
check_named("encoder.norm.bias", "encoder.norm", f"{layer}1")

# What no compared module shows comes after the last of them.
after = "all hold: the difference comes after encoder\n"
check(changed("weights.safetensors", moved("projector.bias")), 1, "DOES NOT HOLD", after)
check(changed("io.safetensors", moved("output.dec_out")), 1, "DOES NOT HOLD", after)
check(changed("io.safetensors", moved("grad.projector.bias")), 1, after, options=["--grad"])

# A module that diverges alone does not decide, and is named; NaN is a difference.
for by in (0.5, float("nan")):
    check(changed("io.safetensors", moved("mid.encoder.norm", by)), 0, "holds\n",
          "compared; one diverges though the outputs hold\n"
          "first module that diverges: encoder.norm\n")


def renamed(how):
    def change(header, body):
        for name in [n for n in header if n.startswith("mid.")]:
            entry = header.pop(name)
            if how(name) is not None:
                header[how(name)] = entry
    return change


def without_data(header, body):
    """The data of what was taken out of the header goes too: a file has no holes."""
    kept = bytearray()
    for entry in sorted((e for n, e in header.items() if n != "__metadata__"),
                        key=lambda e: e["data_offsets"]):
        begin, end = entry["data_offsets"]
        entry["data_offsets"] = [len(kept), len(kept) + end - begin]
        kept += body[begin:end]
    body[:] = kept


def without_modules(header, body):
    renamed(lambda name: None)(header, body)
    without_data(header, body)
    moved("output.dec_out")(header, body)


def shaped(name, shape, dtype="F32"):
    def change(header, body):
        header[name].update(shape=shape, dtype=dtype)
    return change


# Unknown names, other shapes and types: said, whatever they are.
check(changed("io.safetensors", renamed(lambda name: "mid.model." + name[4:])), 0, "holds\n",
      "modules: 0 of 32 recorded compared; expected mid.<official module path>, found mid.model.")
check(changed("io.safetensors", renamed(lambda name: "mid.\x1b[31m" + name[4:])), 0,
      "found mid.\\x1b[31m")
check(changed("io.safetensors", without_modules), 1, "the file records no modules (mid.*); "
      "examples/convert/export_golden.py does")
for shape in ([16, 5], [2, 2, 2, 2, 5], [80, 1, 1]):
    check(changed("io.safetensors", shaped("mid.encoder", shape)), 0, "modules: 16 of 32",
          f"not compared: recorded {shape}, here [2, 5, 8]")
check(changed("io.safetensors", shaped("mid.encoder", [10, 8])), 0, "modules: 17 of 32", "all hold")
check(changed("io.safetensors", shaped("mid.encoder", [2, 5, 4], "I64")), 0, "not compared")
check(golden, 2, "expected a causal model", options=["--stream"])

try:
    import torch
except ImportError:
    print("the recipe was not run: this python3 has no torch")
    sys.exit(0)

# docs/check.md takes thuml/iTransformer; the same network with the same names stands in for it.
import types
sys.path[:0] = [os.path.join(root, "examples/convert"), os.path.join(root, "bench/peers")]
import torch_itransformer


class Model(torch_itransformer.Model):
    def __init__(self, configs):
        super().__init__(vars(configs))

    def forward(self, x_enc, x_mark_enc, x_dec, x_mark_dec):
        return super().forward(x_enc)


sys.modules["model"] = types.ModuleType("model")
sys.modules["model.iTransformer"] = types.ModuleType("model.iTransformer")
sys.modules["model.iTransformer"].Model = Model
with open(os.path.join(root, "docs/check.md"), encoding="utf-8") as file:
    recipe = re.search(r"```python\n(.*?)```", file.read(), re.DOTALL).group(1)
os.chdir(work)
names = {}
exec(compile(recipe, "docs/check.md", "exec"), names)
check("golden", 0, "holds\n", " recorded compared, all hold\n")

export, model, config = names["export_golden"], names["model"], names["config"]
model.train()
inputs = {"x_enc": torch.randn(3, 24, 2)}
call = lambda m, x_enc: m(x_enc, None, None, None)
export("trained", model, inputs, "dec_out", config, target=torch.zeros(3, 8, 2), call=call)
assert model.training and all(p.grad is None or not p.grad.any() for p in model.parameters())
assert not any(m._forward_hooks for m in model.modules())
check("trained", 0, f"grad.{layer}1.conv2.weight", "all hold", options=["--grad"])
with torch.no_grad():
    model.encoder["attn_layers"][1].attention.key_projection.weight[0, 0] += 0.5
shutil.copytree("trained", "changed")
export("other", model, inputs, "dec_out", config, call=call)
shutil.copy("other/weights.safetensors", "changed/weights.safetensors")
check("changed", 1, f"first module that diverges: {layer}1.attention.key_projection\n",
      f"last module that held: {layer}1.attention.query_projection (")
