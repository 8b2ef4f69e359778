"""PyTorch as a peer of bench_compare: one JSON object a line in, one a line out.

{"do": "prepare", "request": {"op": NAME, sizes}, "inputs": FILE, "threads": N}
    -> {"contenders": [...]}; beside the inputs, FILE.onnx is the same work as a graph for ONNX Runtime
{"do": "run", "contender": I, "calls": N} -> {"seconds": total}
{"do": "output", "contender": I, "file": F} -> {}
{"do": "memory"} -> {"peak_bytes": the most since "prepare", without what was held before it}
The operations are in torch_ops.py, the whole models in torch_models.py. Weights and inputs are those
that Sequin computes with.
"""
import contextlib
import ctypes
import gc
import io
import json
import os
import sys
import time
import warnings

import torch

import torch_models
import torch_ops
from torch_peer import load_safetensors, save_safetensors

warnings.filterwarnings("ignore")


class Contender:
    """`call()` does the work once; `result()` gives what Sequin's output is compared with."""

    def __init__(self, name, call, finish):
        self.name, self.call, self.finish = name, call, finish

    def result(self):
        y = self.call()
        if isinstance(y, tuple):  # the result, then the state that it leaves
            y = y[0]
        if callable(self.finish):
            return self.finish(y)
        return y.permute(self.finish) if self.finish else y


def export(module, arguments, finish, path):
    if os.path.exists(path):
        os.remove(path)
    if getattr(module, "no_graph", False) or callable(finish):
        return
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        names = ["input%d" % i for i in range(len(arguments))]
        torch.onnx.export(module, tuple(arguments), path, opset_version=17, input_names=names,
                          do_constant_folding=True)
    save_safetensors(path + ".inputs", dict(zip(names, arguments)))
    with open(path + ".json", "w") as f:
        json.dump({"permute": finish}, f)


def limit_threads(threads):
    """PyTorch's own threads, and those of the OpenBLAS that it calls, which keeps its own count."""
    torch.set_num_threads(threads)
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if "blas" in line and ".so" in line}
    for path in paths:
        library = ctypes.CDLL(path)
        if hasattr(library, "openblas_set_num_threads"):
            library.openblas_set_num_threads(threads)


def prepare(question):
    request = question["request"]
    limit_threads(question["threads"])
    makers = torch_ops.OPS if request["op"] in torch_ops.OPS else torch_models.MODELS
    if request["op"] not in makers:
        return [], "has no " + request["op"]
    tensors = load_safetensors(question["inputs"])
    module, arguments, finish = makers[request["op"]](request, tensors)
    graph = question["inputs"] + ".onnx"
    if getattr(module, "trains", False):
        if os.path.exists(graph):
            os.remove(graph)
        return [Contender("PyTorch", lambda: module(*arguments), finish)], ""
    module.eval()
    contenders = [Contender("PyTorch", lambda: module(*arguments), finish)]
    if request.get("jit"):
        with contextlib.redirect_stderr(io.StringIO()):
            frozen = torch.jit.freeze(torch.jit.trace(module, tuple(arguments), check_trace=False))
            frozen = torch.jit.optimize_for_inference(frozen)
        for _ in range(3):
            frozen(*arguments)
        contenders.append(Contender("PyTorch jit", lambda: frozen(*arguments), finish))
    try:
        export(module, arguments, finish, graph)
    except Exception as error:  # an operation that ONNX has not: that peer then has no graph
        print("no graph of", request["op"], str(error).splitlines()[0], file=sys.stderr)
        if os.path.exists(graph):
            os.remove(graph)
    return contenders, ""


def resident(name):
    """A line "name: N kB" of /proc/self/status, in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name + ":"))


def trim():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    contenders, before = [], 0
    for line in sys.stdin:
        question = json.loads(line)
        answer = {}
        with torch.inference_mode(not question.get("request", {}).get("trains", False)):
            if question["do"] == "prepare":
                contenders, why = [], ""
                trim()
                before = resident("VmRSS")
                trains = question["request"].get("trains", False)
                contenders, why = prepare(question)
                for c in contenders:
                    c.trains = trains
                answer = {"contenders": [c.name for c in contenders]}
                if why:
                    answer["none"] = why
                trim()
                with open("/proc/self/clear_refs", "w") as f:
                    f.write("5")  # the peak counts anew
        if question["do"] == "memory":
            answer = {"peak_bytes": resident("VmHWM") - before}
        elif question["do"] != "prepare":
            contender = contenders[question["contender"]]
            with torch.inference_mode(not contender.trains):
                if question["do"] == "run":
                    call = contender.call
                    start = time.perf_counter()
                    for _ in range(question["calls"]):
                        call()
                    answer = {"seconds": time.perf_counter() - start}
                else:
                    output = contender.result().detach().float().contiguous()
                    save_safetensors(question["file"], {"output": output})
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
