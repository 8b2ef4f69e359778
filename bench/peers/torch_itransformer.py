"""iTransformer in PyTorch, timed on the weights of a folder, as the peer of `sequin bench`.

usage: torch_itransformer.py DIR [--batch 32] [--variates 7] [--threads 1] [--repeat 30] [--make]
With --make, first writes config.json and drawn weights of the official ETTh1 size to DIR. Prints one
JSON line with the median milliseconds of a forward pass and of a training step (Adam).
The network is written from the paper with the official parameter names.
"""
import argparse
import json
import os

import torch
from torch import nn
from torch.nn import functional as F

from torch_peer import load_safetensors, median_ms, save_safetensors


def make(directory):
    config = {
        "model": "itransformer", "seq_len": 96, "pred_len": 96, "enc_in": 7, "d_model": 256,
        "n_heads": 8, "e_layers": 2, "d_ff": 256, "dropout": 0.1, "activation": "gelu",
        "use_norm": True,
    }
    os.makedirs(directory, exist_ok=True)
    with open(directory + "/config.json", "w") as f:
        json.dump(config, f)
    torch.manual_seed(1)
    save_safetensors(directory + "/weights.safetensors", Model(config).state_dict())


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        inner = width // heads * heads
        self.query_projection = nn.Linear(width, inner)
        self.key_projection = nn.Linear(width, inner)
        self.value_projection = nn.Linear(width, inner)
        self.out_projection = nn.Linear(inner, width)

    def forward(self, x, p):
        b, t, _ = x.shape
        q, k, v = (
            proj(x).view(b, t, self.heads, -1).transpose(1, 2)
            for proj in (self.query_projection, self.key_projection, self.value_projection)
        )
        scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5)
        a = F.dropout(scores.softmax(-1), p, self.training)
        return self.out_projection((a @ v).transpose(1, 2).reshape(b, t, -1))


class Layer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.attention = Attention(width, heads)
        self.conv1 = nn.Conv1d(width, hidden, 1)
        self.conv2 = nn.Conv1d(hidden, width, 1)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x, p):
        # The 1-tap convolutions as linear maps: the faster of PyTorch's two ways.
        x = self.norm1(x + F.dropout(self.attention(x, p), p, self.training))
        y = F.gelu(F.linear(x, self.conv1.weight[:, :, 0], self.conv1.bias))
        y = F.dropout(y, p, self.training)
        y = F.linear(y, self.conv2.weight[:, :, 0], self.conv2.bias)
        return self.norm2(x + F.dropout(y, p, self.training))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        width = c["d_model"]
        self.p = c["dropout"]
        self.enc_embedding = nn.ModuleDict({"value_embedding": nn.Linear(c["seq_len"], width)})
        layers = [Layer(width, c["n_heads"], c["d_ff"]) for _ in range(c["e_layers"])]
        self.encoder = nn.ModuleDict(
            {"attn_layers": nn.ModuleList(layers), "norm": nn.LayerNorm(width)}
        )
        self.projector = nn.Linear(width, c["pred_len"])

    def forward(self, x, marks=None):
        variates = x.shape[-1]
        mean = x.mean(1, keepdim=True).detach()
        x = x - mean
        deviation = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
        x = x / deviation
        if marks is not None:  # each mark is one more token; its forecast is dropped
            x = torch.cat([x, marks], -1)
        h = self.enc_embedding["value_embedding"](x.transpose(1, 2))
        h = F.dropout(h, self.p, self.training)
        for layer in self.encoder["attn_layers"]:
            h = layer(h, self.p)
        y = self.projector(self.encoder["norm"](h)).transpose(1, 2)[..., :variates]
        return y * deviation + mean


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--variates", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--make", action="store_true")
    args = parser.parse_args()
    if args.make:
        make(args.dir)
    torch.set_num_threads(args.threads)
    config = json.load(open(args.dir + "/config.json"))
    model = Model(config)
    model.load_state_dict(load_safetensors(args.dir + "/weights.safetensors"))
    x = torch.randn(args.batch, config["seq_len"], args.variates)
    y = torch.randn(args.batch, config["pred_len"], args.variates)

    model.eval()
    with torch.no_grad():
        forward = median_ms(lambda: model(x), args.repeat)

    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()

    training = median_ms(step, args.repeat)
    print(
        json.dumps(
            {
                "peer": "PyTorch " + torch.__version__,
                "threads": args.threads,
                "forward_ms": forward,
                "training_step_ms": training,
            }
        )
    )


if __name__ == "__main__":
    main()
