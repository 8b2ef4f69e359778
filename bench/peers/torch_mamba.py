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


class Model(nn.Module):
    def __init__(self, tensors):
        super().__init__()
        self.names = {}
        for i, (name, value) in enumerate(tensors.items()):
            self.register_buffer("t%d" % i, value)
            self.names[name] = "t%d" % i
        self.layers = 1 + max(int(n.split(".")[2]) for n in tensors if n.startswith("backbone.layers."))

    def weight(self, name):
        return getattr(self, self.names[name])

    def norm(self, x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight(name)

    def mixer(self, x, prefix):
        w = lambda name: self.weight(prefix + name)
        x, z = F.linear(x, w("in_proj.weight")).chunk(2, -1)
        taps = w("conv1d.weight")
        x = F.conv1d(F.pad(x.transpose(1, 2), (taps.shape[-1] - 1, 0)), taps, w("conv1d.bias"),
                     groups=taps.shape[0])
        x = F.silu(x.transpose(1, 2))
        rank = w("dt_proj.weight").shape[1]
        states = w("A_log").shape[1]
        dt, B, C = F.linear(x, w("x_proj.weight")).split([rank, states, states], -1)
        dt = F.linear(dt, w("dt_proj.weight"), w("dt_proj.bias"))
        y = scan(x, dt, -torch.exp(w("A_log")), B, C, w("D"), z)
        return F.linear(y, w("out_proj.weight"))

    def forward(self, ids):
        x = F.embedding(ids, self.weight("backbone.embedding.weight"))
        for i in range(self.layers):
            prefix = "backbone.layers.%d." % i
            x = x + self.mixer(self.norm(x, prefix + "norm.weight"), prefix + "mixer.")
        x = self.norm(x, "backbone.norm_f.weight")
        return F.linear(x, self.weight("backbone.embedding.weight"))
