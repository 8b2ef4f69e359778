"""Mamba's language model in PyTorch, from the paper, with the official parameter names: the scan is
compiled by TorchScript."""
import torch
from torch import nn
from torch.nn import functional as F


@torch.jit.script
def scan(u, delta, A, B, C, D, z):
    delta = F.softplus(delta)
    x = torch.zeros(u.shape[0], u.shape[2], A.shape[1])
    outputs = []
    decay = torch.exp(delta.unsqueeze(-1) * A)
    drive = (delta * u).unsqueeze(-1) * B.unsqueeze(2)
    for i in range(u.shape[1]):
        x = decay[:, i] * x + drive[:, i]
        outputs.append(torch.matmul(x, C[:, i].unsqueeze(-1)).squeeze(-1))
    return (torch.stack(outputs, 1) + u * D) * F.silu(z)


@torch.jit.script
def recorded_scan(u, delta, A, B, C, D, z):
    """The same for training. The gradient of an indexed step is a whole sequence of zeros but for
    that step; of unbound steps it is put together once, which takes a twentieth of the time."""
    delta = F.softplus(delta)
    x = torch.zeros(u.shape[0], u.shape[2], A.shape[1])
    states = []
    decay = torch.exp(delta.unsqueeze(-1) * A).unbind(1)
    drive = ((delta * u).unsqueeze(-1) * B.unsqueeze(2)).unbind(1)
    for i in range(len(decay)):
        x = torch.addcmul(drive[i], decay[i], x)
        states.append(x)
    y = torch.matmul(torch.stack(states, 1), C.unsqueeze(-1)).squeeze(-1)
    return (y + u * D) * F.silu(z)


class Model(nn.Module):
    """ids (B, T) -> logits (B, T, V)"""
    no_graph = True

    def __init__(self, tensors, trains=False):
        super().__init__()
        self.names, self.trained = {}, trains
        for i, (name, value) in enumerate(tensors.items()):
            setattr(self, "t%d" % i, nn.Parameter(value, requires_grad=trains))
            self.names[name] = "t%d" % i
        self.layers = 1 + max(int(n.split(".")[2]) for n in tensors if n.startswith("backbone.layers."))
        if not trains:
            for i in range(self.layers):
                log = self.weight("backbone.layers.%d.mixer.A_log" % i)
                self.register_buffer("A%d" % i, -torch.exp(log))

    def weight(self, name):
        return getattr(self, self.names[name])

    def decay(self, i):
        if self.trained:
            return -torch.exp(self.weight("backbone.layers.%d.mixer.A_log" % i))
        return getattr(self, "A%d" % i)

    def norm(self, x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight(name)

    def selected(self, x, w):
        """delta (before its softplus), B and C of convolved inputs."""
        rank, states = w("dt_proj.weight").shape[1], w("A_log").shape[1]
        dt, B, C = F.linear(x, w("x_proj.weight")).split([rank, states, states], -1)
        return F.linear(dt, w("dt_proj.weight"), w("dt_proj.bias")), B, C

    def mixer(self, x, i, w):
        x, z = F.linear(x, w("in_proj.weight")).chunk(2, -1)
        taps = w("conv1d.weight")
        x = F.conv1d(F.pad(x.transpose(1, 2), (taps.shape[-1] - 1, 0)), taps, w("conv1d.bias"),
                     groups=taps.shape[0])
        x = F.silu(x.transpose(1, 2))
        dt, B, C = self.selected(x, w)
        y = (recorded_scan if self.trained else scan)(x, dt, self.decay(i), B, C, w("D"), z)
        return F.linear(y, w("out_proj.weight"))

    def mixer_step(self, x, i, w, conv, h):
        """x (B, D), conv (B, E, K), h (B, E, N) -> the same of the next step"""
        x, z = F.linear(x, w("in_proj.weight")).chunk(2, -1)
        conv = torch.cat((conv[:, :, 1:], x.unsqueeze(2)), 2)
        x = F.silu((conv * w("conv1d.weight")[:, 0]).sum(2) + w("conv1d.bias"))
        delta, B, C = self.selected(x, w)
        delta = F.softplus(delta)
        h = h * torch.exp(delta.unsqueeze(2) * self.decay(i)) + (delta * x).unsqueeze(2) * B.unsqueeze(1)
        y = torch.matmul(h, C.unsqueeze(2)).squeeze(2) + x * w("D")
        return F.linear(y * F.silu(z), w("out_proj.weight")), conv, h

    def walk(self, ids, mixer):
        x = F.embedding(ids, self.weight("backbone.embedding.weight"))
        for i in range(self.layers):
            prefix = "backbone.layers.%d." % i
            w = lambda name: self.weight(prefix + "mixer." + name)
            x = x + mixer(self.norm(x, prefix + "norm.weight"), i, w)
        x = self.norm(x, "backbone.norm_f.weight")
        return F.linear(x, self.weight("backbone.embedding.weight"))

    def forward(self, ids):
        return self.walk(ids, self.mixer)


class Step(nn.Module):
    """ids (B) and the states of each layer -> logits (B, V) and the next states"""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, *states):
        after = []

        def mixer(x, i, w):
            y, conv, h = self.model.mixer_step(x, i, w, *states[2 * i : 2 * i + 2])
            after.extend((conv, h))
            return y

        logits = self.model.walk(ids, mixer)
        return (logits, *after)
