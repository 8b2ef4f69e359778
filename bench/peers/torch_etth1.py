"""Trains iTransformer on ETTh1 in PyTorch by the official protocol, as the peer of bench/etth1.sh.

usage: torch_etth1.py ETTh1.csv HORIZON SEED [--threads 1]
Reads the official sizes from examples/configs/itransformer_etth1_96_HORIZON.json. Prints one JSON line:
the errors on all test windows, the epochs, and the seconds of an epoch (training and validation).
"""
import argparse
import copy
import csv
import datetime
import json
import os
import time

import torch
from torch.nn import functional as F

from torch_itransformer import Model

TRAIN, VAL, TEST = 8640, 11520, 14400


def read(path):
    with open(path) as f:
        rows = list(csv.reader(f))[1:]
    values = torch.tensor([[float(v) for v in row[1:]] for row in rows], dtype=torch.float64)
    mean, deviation = values[:TRAIN].mean(0), values[:TRAIN].std(0, unbiased=False)
    times = [datetime.datetime.fromisoformat(row[0]) for row in rows]
    marks = torch.tensor(
        [
            (
                t.hour / 23 - 0.5,
                t.weekday() / 6 - 0.5,
                (t.day - 1) / 30 - 0.5,
                (t.timetuple().tm_yday - 1) / 365 - 0.5,
            )
            for t in times
        ]
    )
    return ((values - mean) / deviation).float(), marks


class Windows:
    def __init__(self, values, marks, begin, end, lookback, horizon):
        self.values, self.marks = values[begin:end], marks[begin:end]
        self.lookback, self.horizon = lookback, horizon
        self.count = end - begin - lookback - horizon + 1

    def batch(self, numbers):
        x = numbers[:, None] + torch.arange(self.lookback)
        y = numbers[:, None] + self.lookback + torch.arange(self.horizon)
        return self.values[x], self.marks[x], self.values[y]

    def shuffled(self, size):
        order = torch.randperm(self.count)
        return [order[i : i + size] for i in range(0, self.count - size + 1, size)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("horizon", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    configs = os.path.join(os.path.dirname(__file__), "../../examples/configs")
    c = json.load(open(f"{configs}/itransformer_etth1_96_{args.horizon}.json"))
    values, marks = read(args.data)
    s = c["seq_len"]
    train, val, test = (
        Windows(values, marks, begin, end, s, args.horizon)
        for begin, end in ((0, TRAIN), (TRAIN - s, VAL), (VAL - s, TEST))
    )
    model = Model(c)
    optimizer = torch.optim.Adam(model.parameters(), lr=c["learning_rate"])
    best, since, epochs, seconds = None, 0, 0, []
    while epochs < c["train_epochs"] and since < c["patience"]:
        start = time.perf_counter()
        model.train()
        for numbers in train.shuffled(c["batch_size"]):
            x, m, y = train.batch(numbers)
            optimizer.zero_grad()
            F.mse_loss(model(x, m), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            losses = []
            for numbers in val.shuffled(c["batch_size"]):
                x, m, y = val.batch(numbers)
                losses.append(F.mse_loss(model(x, m), y).item())
        loss = sum(losses) / len(losses)
        epochs += 1
        seconds.append(time.perf_counter() - start)
        for group in optimizer.param_groups:
            group["lr"] = c["learning_rate"] * 0.5 ** (epochs - 1)
        if best is None or loss <= best[0]:
            best, since = (loss, copy.deepcopy(model.state_dict())), 0
        else:
            since += 1
    model.load_state_dict(best[1])
    square = absolute = 0.0
    with torch.no_grad():
        for numbers in torch.arange(test.count).split(64):
            x, m, y = test.batch(numbers)
            difference = (model(x, m) - y).double()
            square += difference.square().sum().item()
            absolute += difference.abs().sum().item()
    elements = test.count * args.horizon * values.shape[1]
    print(
        json.dumps(
            {
                "peer": "PyTorch " + torch.__version__,
                "horizon": args.horizon,
                "seed": args.seed,
                "mse": square / elements,
                "mae": absolute / elements,
                "epochs": epochs,
                "epoch_seconds": sorted(seconds)[len(seconds) // 2],
                "threads": args.threads,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
