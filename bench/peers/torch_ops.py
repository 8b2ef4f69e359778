"""The operations of bench_compare in PyTorch, each in the form that is fastest there.

OPS[name](request, tensors) -> (module, arguments, finish): `module(*arguments)` is timed and exported;
`finish` brings its result into the layout of Sequin's: a function, or the order of its axes.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

from torch_mamba import recorded_scan, scan

ACTIVATIONS = {
    "identity": lambda x: x, "relu": F.relu, "gelu": F.gelu, "silu": F.silu,
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": F.softplus,
}


class Call(nn.Module):
    """A function of tensors with its constants as buffers."""

    def __init__(self, function, **constants):
        super().__init__()
        self.function = function
        for name, value in constants.items():
            self.register_buffer(name, value)

    def forward(self, *arguments):
        return self.function(self, *arguments)


same = ()


def linear(request, t):
    act = ACTIVATIONS[request["activation"]]
    bias = t.get("bias")

    def run(m, x):
        return act(F.linear(x, m.weight, m.bias if bias is not None else None))

    constants = {"weight": t["weight"]} | ({"bias": bias} if bias is not None else {})
    return Call(run, **constants), [t["x"]], same


def swiglu(request, t):
    def run(m, x):
        return F.linear(F.silu(F.linear(x, m.gate)) * F.linear(x, m.up), m.down)

    return Call(run, gate=t["gate"], up=t["up"], down=t["down"]), [t["x"]], same


def activation(request, t):
    act = ACTIVATIONS[request["activation"]]
    return Call(lambda m, x: act(x)), [t["x"]], same


def softmax(request, t):
    return Call(lambda m, x: torch.softmax(x, -1)), [t["x"]], same


def layer_norm(request, t):
    def run(m, x):
        return F.layer_norm(x, (x.shape[-1],), m.weight, m.bias)

    return Call(run, weight=t["weight"], bias=t["bias"]), [t["x"]], same


def rms_norm(request, t):
    def run(m, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * m.weight

    return Call(run, weight=t["weight"]), [t["x"]], same


def conv1d(request, t):
    """x comes time-major; PyTorch's layout is channel-major, which it gets outside of the clock."""
    taps, dilation = t["weight"].shape[-1], request["dilation"]
    before = request["before"]
    after = request["after"]
    act = ACTIVATIONS[request["activation"]]

    def run(m, x):
        pad = before if before == after else 0
        if before != after:
            x = F.pad(x, (before, after))
        return act(F.conv1d(x, m.weight, m.bias, 1, pad, dilation, request["groups"]))

    module = Call(run, weight=t["weight"], bias=t["bias"])
    return module, [t["x"].transpose(1, 2).contiguous()], (0, 2, 1)


def attention(request, t):
    q, k, v = (t[n].transpose(1, 2).contiguous() for n in "qkv")
    scale = 1 / math.sqrt(q.shape[-1])
    length, keys = q.shape[2], k.shape[2]
    mask = torch.zeros(length, keys)
    if request["causal"]:
        mask = torch.full((length, keys), float("-inf")).triu(1 + keys - length)

    def run(m, q, k, v):
        scores = torch.matmul(q * scale, k.transpose(-1, -2))
        if request["causal"]:
            scores = scores + m.mask
        return torch.matmul(torch.softmax(scores, -1), v)

    return Call(run, mask=mask), [q, k, v], (0, 2, 1, 3)


def selective_scan(request, t):
    if request.get("trains"):
        names = ("u", "delta", "A", "B", "C", "D", "z")
        inputs = {n: t[n].clone().requires_grad_() for n in names}

        class Gradients(nn.Module):
            trains = True

            def forward(self):
                y = recorded_scan(*inputs.values()).sum()
                return torch.autograd.grad(y, list(inputs.values()))[1]

        return Gradients(), [], same
    module = Call(lambda m, u, delta, B, C, z: scan(u, delta, m.A, B, C, m.D, z), A=t["A"], D=t["D"])
    module.no_graph = True
    return module, [t[n] for n in ("u", "delta", "B", "C", "z")], same


def rfft(request, t):
    """Sequin's spectrum as real parts, then imaginary parts."""
    axis = 1 if request["time_major"] else 2
    module = Call(lambda m, x: torch.fft.rfft(x, dim=axis))
    module.no_graph = True
    return module, [t["x"]], lambda y: torch.stack((y.real, y.imag))


def fft_conv1d(request, t):
    """Causal; channel-major, which PyTorch transforms faster, outside of the clock."""
    steps = t["x"].shape[1]

    def run(m, x):
        n = 2 * steps
        y = torch.fft.rfft(x, n) * torch.fft.rfft(m.weight, n)
        return torch.fft.irfft(y, n)[..., :steps]

    module = Call(run, weight=t["weight"])
    module.no_graph = True
    return module, [t["x"].transpose(1, 2).contiguous()], (0, 2, 1)


def fsmn(request, t):
    channels, _, taps, _ = t["conv1.weight"].shape

    def run(m, x):
        p = F.linear(F.relu(F.linear(x, m.up, m.bias)), m.down).transpose(1, 2)
        memory = F.conv1d(p, m.taps, None, 1, taps // 2, 1, channels)
        return x + (p + memory).transpose(1, 2)

    return Call(run, up=t["linear.weight"], bias=t["linear.bias"], down=t["project.weight"],
                taps=t["conv1.weight"].flatten(2)), [t["x"]], same


def experts(request, t):
    """Top-k of experts, each expert's tokens gathered (the official loop of Time-MoE)."""
    k = request["top_k"]
    count = t["router"].shape[0]

    def run(m, x):
        weights, chosen = torch.topk(torch.softmax(F.linear(x, m.router), -1), k)
        y = torch.zeros_like(x)
        for e in range(count):
            token, slot = torch.where(chosen == e)
            if token.numel() == 0:
                continue
            z = x[token]
            z = F.linear(F.silu(F.linear(z, m.gate[e])) * F.linear(z, m.up[e]), m.down[e])
            y.index_add_(0, token, z * weights[token, slot, None])
        return y

    module = Call(run, router=t["router"], gate=t["gate"], up=t["up"], down=t["down"])
    module.no_graph = True
    return module, [t["x"]], same


def adam(request, t):
    """A step of Adam over one large parameter with a given gradient."""
    parameter = nn.Parameter(t["x"].clone())
    parameter.grad = t["gradient"].clone()
    optimizer = torch.optim.Adam([parameter], lr=1e-3, foreach=False)

    class Step(nn.Module):
        trains = True

        def forward(self):
            optimizer.step()

    return Step(), [], same


def recurrent(request, t):
    """A step of nn.GRU or nn.LSTM, or a whole sequence."""
    width, hidden = request["width"], request["hidden"]
    layer = getattr(nn, request["kind"])(width, hidden, batch_first=True)
    layer.load_state_dict({n: v for n, v in t.items() if n != "x"})

    class Run(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)[0]

    return Run(), [t["x"]], same


OPS = {
    "linear": linear, "swiglu": swiglu, "activation": activation, "softmax": softmax,
    "layer_norm": layer_norm, "rms_norm": rms_norm, "conv1d": conv1d, "attention": attention,
    "selective_scan": selective_scan, "rfft": rfft, "experts": experts, "adam": adam,
    "recurrent": recurrent, "fft_conv1d": fft_conv1d, "fsmn": fsmn,
}
