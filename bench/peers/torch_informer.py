"""Informer in PyTorch, from the paper, with the official parameter names. ProbSparse attention takes
the keys that it samples as they are given: one table (queries, samples) a call."""
import math

import torch
from torch import nn
from torch.nn import functional as F


def neighbours(x):
    """Each step between the one before and the one after, the ends being neighbours."""
    return torch.cat((x.roll(1, 1), x, x.roll(-1, 1)), 2)


def circular(x, conv):
    """The 3-tap convolution as a linear map of neighbours: the faster of PyTorch's two ways."""
    return F.linear(neighbours(x), conv.weight.permute(0, 2, 1).flatten(1), conv.bias)


class Position(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("pe", torch.zeros(1, 5000, width))


class Embedding(nn.Module):
    def __init__(self, channels, marks, width):
        super().__init__()
        self.value_embedding = nn.ModuleDict({"tokenConv": nn.Conv1d(channels, width, 3)})
        self.position_embedding = Position(width)
        self.temporal_embedding = nn.ModuleDict({"embed": nn.Linear(marks, width)})

    def forward(self, x, marks):
        value = circular(x, self.value_embedding["tokenConv"])
        position = self.position_embedding.pe[:, : x.shape[1]]
        return value + position + self.temporal_embedding["embed"](marks)


def full(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v


def prob_sparse(q, k, v, samples, active, causal):
    """q, k, v (B, H, T, P). At these lengths all scores at once cost less than gathering the keys of
    each query."""
    batch, heads, steps, width = q.shape
    scores = q @ k.transpose(-1, -2)
    drawn = scores.gather(3, samples.expand(batch, heads, *samples.shape))
    measure = drawn.amax(3) - drawn.sum(3) / k.shape[2]
    top = measure.topk(active, sorted=False)[1].unsqueeze(3)
    rows = scores.gather(2, top.expand(-1, -1, -1, k.shape[2])) * width**-0.5
    if causal:
        rows = rows.masked_fill(torch.arange(k.shape[2]) > top, -math.inf)
        context = v.cumsum(2)
    else:
        context = v.mean(2, keepdim=True).expand(-1, -1, steps, -1)
    attended = torch.softmax(rows, -1) @ v
    return context.scatter(2, top.expand(-1, -1, -1, width), attended)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        for name in ("query", "key", "value", "out"):
            setattr(self, name + "_projection", nn.Linear(width, width))

    def forward(self, x, memory, attend, mix=False):
        def heads(y):
            return y.view(y.shape[0], y.shape[1], self.heads, -1).transpose(1, 2)

        y = attend(heads(self.query_projection(x)), heads(self.key_projection(memory)),
                   heads(self.value_projection(memory)))
        if not mix:  # mixed: the memory of (B, H, T, P) is read as (B, T, H P)
            y = y.transpose(1, 2)
        return self.out_projection(y.reshape(x.shape))


class FeedForward(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.conv1 = nn.Conv1d(width, hidden, 1)
        self.conv2 = nn.Conv1d(hidden, width, 1)

    def feed_forward(self, x):
        y = F.gelu(F.linear(x, self.conv1.weight[:, :, 0], self.conv1.bias))
        return F.linear(y, self.conv2.weight[:, :, 0], self.conv2.bias)


class EncoderLayer(FeedForward):
    def __init__(self, c):
        super().__init__(c["d_model"], c["d_ff"])
        self.attention = Attention(c["d_model"], c["n_heads"])
        self.norm1, self.norm2 = nn.LayerNorm(c["d_model"]), nn.LayerNorm(c["d_model"])

    def forward(self, x, attend):
        x = self.norm1(x + self.attention(x, x, attend))
        return self.norm2(x + self.feed_forward(x))


class DecoderLayer(FeedForward):
    def __init__(self, c):
        super().__init__(c["d_model"], c["d_ff"])
        self.self_attention = Attention(c["d_model"], c["n_heads"])
        self.cross_attention = Attention(c["d_model"], c["n_heads"])
        for name in ("norm1", "norm2", "norm3"):
            setattr(self, name, nn.LayerNorm(c["d_model"]))

    def forward(self, x, memory, attend):
        x = self.norm1(x + self.self_attention(x, x, attend, mix=True))
        x = self.norm2(x + self.cross_attention(x, memory, full))
        return self.norm3(x + self.feed_forward(x))


class Distil(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.downConv = nn.Conv1d(width, width, 3)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x):
        y = F.elu(self.norm(circular(x, self.downConv).transpose(1, 2)))
        return F.max_pool1d(y, 3, 2, 1).transpose(1, 2)


class Model(nn.Module):
    """`samples`: of each ProbSparse call in order."""

    def __init__(self, c, samples):
        super().__init__()
        width, marks = c["d_model"], c["marks"]
        self.pred_len, self.factor, self.samples = c["pred_len"], c["factor"], samples
        self.enc_embedding = Embedding(c["enc_in"], marks, width)
        self.dec_embedding = Embedding(c["dec_in"], marks, width)
        self.encoder = nn.ModuleDict({
            "attn_layers": nn.ModuleList(EncoderLayer(c) for _ in range(c["e_layers"])),
            "conv_layers": nn.ModuleList(Distil(width) for _ in range(c["e_layers"] - 1)),
            "norm": nn.LayerNorm(width),
        })
        self.decoder = nn.ModuleDict({
            "layers": nn.ModuleList(DecoderLayer(c) for _ in range(c["d_layers"])),
            "norm": nn.LayerNorm(width),
        })
        self.projection = nn.Linear(width, c["c_out"])

    def sparse(self, call, causal):
        samples = self.samples[call]
        steps = samples.shape[0]
        active = min(self.factor * math.ceil(math.log(steps)), steps)
        return lambda q, k, v: prob_sparse(q, k, v, samples, active, causal)

    def forward(self, x, x_mark, y, y_mark):
        memory = self.enc_embedding(x, x_mark)
        call = 0
        for layer in self.encoder["attn_layers"]:
            memory = layer(memory, self.sparse(call, False))
            if call < len(self.encoder["conv_layers"]):
                memory = self.encoder["conv_layers"][call](memory)
            call += 1
        memory = self.encoder["norm"](memory)
        y = self.dec_embedding(y, y_mark)
        for layer in self.decoder["layers"]:
            y = layer(y, memory, self.sparse(call, True))
            call += 1
        y = self.decoder["norm"](y[:, -self.pred_len :])
        return self.projection(y)
