#!/usr/bin/env python3
"""Converts PyTorch checkpoints (.pt, .pth, .bin) to safetensors, names kept.

    python3 pt_to_safetensors.py pytorch_model.bin -o model.safetensors
    python3 pt_to_safetensors.py last.pth --key state_dict -o weights.safetensors

Needs torch 1.13 or newer and nothing else. Only weights are loaded: a file whose pickle would run
code is refused. Exit code 2 and one line on stderr when something is wrong.
"""
import argparse
import ctypes
import inspect
import json
import os
import pickle
import struct
import sys

try:
    import torch
except ImportError:
    torch = None


class ConversionError(Exception):
    """What is wrong, in one line that names the file and the entry."""


def dtype_names():
    return {
        torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
        torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
        torch.uint8: "U8", torch.bool: "BOOL",
    }


def load(path):
    """What the file holds, loaded to the CPU without running code of it."""
    if not os.path.isfile(path):
        raise ConversionError(f"{path}: expected a file, found none")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The first line tells how to load it all the same: by running what is in it.
        reason = str(error).strip().splitlines()[-1]
        raise ConversionError(f"{path}: expected weights alone, found: {reason}") from error
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConversionError(f"{path}: expected a PyTorch checkpoint, found: {reason}") from error


def choices(found):
    """The keys under which a dict of tensors lies, for a message."""
    keys = [repr(k) for k, v in found.items()
            if isinstance(v, dict) and any(isinstance(t, torch.Tensor) for t in v.values())]
    return f"; --key takes what is under one of {', '.join(keys)}" if keys else ""


def tensors_of(path, found, key, skip_others):
    """The tensors by name: the file's own dict, or the one under a key such as "model.ema"."""
    for part in key.split(".") if key else []:
        if not isinstance(found, dict) or part not in found:
            keys = ", ".join(map(repr, found)) if isinstance(found, dict) else type(found).__name__
            raise ConversionError(f"{path}: expected the key '{part}' of --key {key}, found {keys}")
        found = found[part]
    if not isinstance(found, dict):
        raise ConversionError(f"{path}: expected a dict of tensors, found {type(found).__name__}")
    tensors = {}
    for name, value in found.items():
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            tensors[name] = value
        elif not skip_others:
            raise ConversionError(
                f"{path}: expected tensors under names, found {name!r} with a "
                f"{type(value).__name__} (--skip-others leaves it out){choices(found)}")
    if not tensors:
        raise ConversionError(f"{path}: expected tensors, found none{choices(found)}")
    return tensors


def plain(path, name, tensor):
    """The tensor as the file holds it: dense, contiguous, on the CPU."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise ConversionError(f"{path}: '{name}': expected a dense tensor, found "
                              f"{'quantized' if tensor.is_quantized else tensor.layout}")
    if tensor.dtype not in dtype_names():
        raise ConversionError(f"{path}: '{name}': expected one of "
                              f"{', '.join(dtype_names().values())}, found {tensor.dtype}")
    return tensor.detach().resolve_conj().resolve_neg().contiguous()


def memory_of(tensor):
    """The bytes of a contiguous tensor, not copied."""
    size = tensor.numel() * tensor.element_size()
    return (ctypes.c_char * size).from_address(tensor.data_ptr()) if size else b""


def write(path, tensors, metadata):
    """Beside the target first, then renamed. Wide types lie first, so that all are aligned."""
    order = sorted(tensors, key=lambda name: -tensors[name].element_size())
    begin, at = {}, 0
    for name in order:
        begin[name] = at
        at += tensors[name].numel() * tensors[name].element_size()
    header = {"__metadata__": metadata}
    for name, tensor in tensors.items():
        end = begin[name] + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": dtype_names()[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [begin[name], end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{path}.tmp{os.getpid()}"
    try:
        with open(temporary, "xb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in order:
                file.write(memory_of(tensors[name]))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise ConversionError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    return 8 + len(text) + at


def convert(inputs, output, key="", skip_others=False):
    """Returns the tensors written, and the size of the file."""
    tensors, source, storages, shared = {}, {}, {}, []
    for path in inputs:
        for name, tensor in tensors_of(path, load(path), key, skip_others).items():
            if name == "__metadata__":
                raise ConversionError(f"{path}: expected a name for a tensor, found '{name}'")
            if name in tensors:
                raise ConversionError(f"{path}: '{name}': expected in one file, found in "
                                      f"{source[name]} too")
            tensors[name] = plain(path, name, tensor)
            source[name] = path
            storage = tensor.storage().data_ptr()
            if storage and storages.setdefault(storage, name) != name:
                shared.append((name, storages[storage]))
    for name, other in shared:
        print(f"note: '{name}' shares its memory with '{other}', each is written", file=sys.stderr)
    return tensors, write(output, tensors, {"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", nargs="+", help="a .pt, .pth or .bin file, or all its shards")
    parser.add_argument("-o", "--output", required=True, help="the .safetensors file to write")
    parser.add_argument("--key", default="", help="where the weights are in a training checkpoint, "
                        "such as state_dict, model or model.ema")
    parser.add_argument("--skip-others", action="store_true",
                        help="leave out what is no tensor, such as an epoch number")
    a = parser.parse_args()
    try:
        if torch is None:
            raise ConversionError("torch: expected PyTorch 1.13 or newer, found none (pip install "
                                  "torch)")
        if "weights_only" not in inspect.signature(torch.load).parameters:
            raise ConversionError(f"torch: expected 1.13 or newer, found {torch.__version__}")
        if sys.byteorder != "little":
            raise ConversionError("expected a little-endian machine, as the format is")
        tensors, size = convert(a.checkpoint, a.output, a.key, a.skip_others)
    except ConversionError as error:
        print(f"pt_to_safetensors: {error}", file=sys.stderr)
        return 2
    print(f"{a.output}: {len(tensors)} tensors, {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
