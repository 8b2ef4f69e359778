"""PyTorch trains the byte model of examples/byte_lm: the same first weights, the same batches.

usage: torch_byte_lm.py DIR [THREADS]
DIR holds what `byte_lm --record N` and then `byte_lm --steps N --log-every 1` wrote there. Prints
the loss of both at some steps, the largest difference, and the time of a step.
"""
import json
import math
import os
import statistics
import sys
import time

import torch
from torch.nn import functional as F

import torch_mamba
from torch_peer import load_safetensors


def main():
    folder = sys.argv[1]
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    batches = load_safetensors(os.path.join(folder, "batches.safetensors"))
    lines = [json.loads(line) for line in open(os.path.join(folder, "metrics.jsonl"))]
    ours = [line for line in lines if "loss" in line]
    model = torch_mamba.Model(load_safetensors(os.path.join(folder, "initial.safetensors")), True)
    # Rate by rate as the log has it; the other options are those of byte_lm.
    adam = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    times, worst = [], 0.0
    for step, (ids, following) in enumerate(zip(batches["ids"], batches["next"])):
        adam.param_groups[0]["lr"] = ours[step]["learning_rate"]
        start = time.perf_counter()
        adam.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(ids).flatten(0, 1), following.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        times.append(time.perf_counter() - start)
        difference = abs(loss.item() - ours[step]["loss"])
        worst = max(worst, difference)
        if (step + 1) & step == 0 or step + 1 == len(batches["ids"]):
            found = (step + 1, loss.item(), ours[step]["loss"])
            print("step %4d: loss %.6f in PyTorch, %.6f in Sequin" % found)
    pieces = batches["ids"].shape[1]
    theirs = 1e3 * statistics.median(times[min(3, len(times) - 1) :])
    rates = [line["examples_per_second"] for line in ours[3:] or ours]
    mine = 1e3 * pieces / statistics.median(rates)
    print("largest difference of losses %.2e, in bits a byte %.2e" % (worst, worst / math.log(2)))
    print("median step: PyTorch %.1f ms, Sequin %.1f ms" % (theirs, mine))


main()
