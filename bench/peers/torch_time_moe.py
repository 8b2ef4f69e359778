"""Time-MoE in PyTorch, from the paper, with the official parameter names."""
import math

import torch
from torch import nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rotary(positions, width, theta):
    """Cosine and sine (T, width) of half-split pairs."""
    angles = positions[:, None] * theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.cat((angles, angles), 1)
    return angles.cos().float(), angles.sin().float()


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        for name in "qkv":
            setattr(self, name + "_proj", nn.Linear(width, width))
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x, cos, sin, mask, past=None):
        """`past`: memory for keys and values of which the last step is to be filled."""
        q, k, v = (proj(x).view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)
                   for proj in (self.q_proj, self.k_proj, self.v_proj))
        q, k = turn(q, cos, sin), turn(k, cos, sin)
        if past is not None:
            keys, values = past
            keys[:, :, -1:], values[:, :, -1:] = k, v
            k, v = keys, values
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        y = torch.softmax(scores, -1) @ v
        return self.o_proj(y.transpose(1, 2).reshape(x.shape))


class Expert(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, z):
        return self.down_proj(F.silu(self.gate_proj(z)) * self.up_proj(z))


class Mixture(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, self.k = c["hidden_size"], c["num_experts_per_tok"]
        hidden = c["intermediate_size"]
        self.gate = nn.Linear(width, c["num_experts"], bias=False)
        self.experts = nn.ModuleList(Expert(width, hidden // self.k) for _ in range(c["num_experts"]))
        self.shared_expert = Expert(width, hidden)
        self.shared_expert_gate = nn.Linear(width, 1, bias=False)

    def forward(self, z):
        weights, chosen = torch.topk(torch.softmax(self.gate(z), -1), self.k)
        y = torch.sigmoid(self.shared_expert_gate(z)) * self.shared_expert(z)
        if z.shape[0] == 1:
            return y + self.one(z, weights[0], chosen[0])
        flat = chosen.flatten()
        places, made = [], []
        for e, expert in enumerate(self.experts):
            place = (flat == e).nonzero().flatten()
            places.append(place)
            made.append(expert(z[torch.div(place, self.k, rounding_mode="floor")]))
        back = torch.argsort(torch.cat(places))
        each = torch.cat(made)[back].view(-1, self.k, z.shape[1])
        return y + (weights.unsqueeze(1) @ each).squeeze(1)

    def one(self, z, weights, chosen):
        y = 0
        for weight, e in zip(weights, chosen.tolist()):
            y = y + weight * self.experts[e](z)
        return y


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, eps = c["hidden_size"], c["rms_norm_eps"]
        self.self_attn = Attention(width, c["num_attention_heads"])
        self.ffn_layer = Mixture(c)
        self.input_layernorm = RMSNorm(width, eps)
        self.post_attention_layernorm = RMSNorm(width, eps)

    def forward(self, h, cos, sin, mask, past=None):
        h = h + self.self_attn(self.input_layernorm(h), cos, sin, mask, past)
        z = self.post_attention_layernorm(h)
        return h + self.ffn_layer(z.flatten(0, 1)).view(h.shape)


class Model(nn.Module):
    """The hidden states of a series; with `past` steps before it, those of one step more."""

    def __init__(self, c, steps, past=0):
        super().__init__()
        width = c["hidden_size"]
        self.model = nn.ModuleDict({
            "embed_layer": nn.ModuleDict({
                "emb_layer": nn.Linear(1, width, bias=False),
                "gate_layer": nn.Linear(1, width, bias=False),
            }),
            "layers": nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"])),
            "norm": RMSNorm(width, c["rms_norm_eps"]),
        })
        self.lm_heads = nn.ModuleList(
            nn.ModuleDict({"out_layer": nn.Linear(width, h, bias=False)})
            for h in c["horizon_lengths"])
        positions = torch.arange(past, past + steps, dtype=torch.float64)
        self.cos, self.sin = rotary(positions, width // c["num_attention_heads"], c["rope_theta"])
        self.mask = torch.full((steps, steps), -math.inf).triu(1) if past == 0 else None

    def hidden_states(self, x, caches):
        embed = self.model["embed_layer"]
        h = F.silu(embed["gate_layer"](x)) * embed["emb_layer"](x)
        for layer, past in zip(self.model["layers"], caches):
            h = layer(h, self.cos, self.sin, self.mask, past)
        return self.model["norm"](h)

    def forward(self, x):
        return self.hidden_states(x, [None] * len(self.model["layers"]))


class Step(nn.Module):
    """One point more after a series, whose keys and values stay; all heads answer."""
    no_graph = True

    def __init__(self, c, weights, series):
        super().__init__()
        past, heads = series.shape[1], c["num_attention_heads"]
        before, self.after = Model(c, past), Model(c, 1, past)
        before.load_state_dict(weights)
        self.after.load_state_dict(weights)
        shape = (1, heads, past + 1, c["hidden_size"] // heads)
        self.caches = [(torch.zeros(shape), torch.zeros(shape)) for _ in self.after.model["layers"]]
        for layer, cache in zip(before.model["layers"], self.caches):
            layer.self_attn.register_forward_hook(Keep(cache, before.cos, before.sin))
        before.eval()
        before(series)

    def forward(self, x):
        hidden = self.after.hidden_states(x, self.caches)[:, 0]
        return torch.cat([head["out_layer"](hidden) for head in self.after.lm_heads], 1)


class Keep:
    """Keeps what a layer's attention makes of its input: keys and values of the past."""

    def __init__(self, cache, cos, sin):
        self.cache, self.cos, self.sin = cache, cos, sin

    def __call__(self, attention, arguments, _):
        x = arguments[0]
        k, v = (proj(x).view(1, x.shape[1], attention.heads, -1).transpose(1, 2)
                for proj in (attention.k_proj, attention.v_proj))
        self.cache[0][:, :, :-1] = turn(k, self.cos, self.sin)
        self.cache[1][:, :, :-1] = v
