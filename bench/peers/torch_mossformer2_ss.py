"""MossFormer2's separation network in PyTorch, from the paper, with the parameter names of
ClearerVoice-Studio. Time goes before channels: linear maps then are products of matrices. Dropout is
left out, in training too."""
import torch
from torch import nn
from torch.nn import functional as F


def pointwise(conv, x):
    return F.linear(x, conv.weight[:, :, 0], conv.bias)


def over_time(x, weight):
    """Depthwise convolution over time that keeps the length."""
    channels, _, taps = (int(n) for n in weight.shape)
    return F.conv1d(x.transpose(1, 2), weight, None, 1, taps // 2, 1, channels).transpose(1, 2)


class ScaleNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x):
        length = x.norm(dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        return x * (self.g / length.clamp(min=1e-5))


class Holder(nn.Module):
    """A module whose children have the given names."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)


class FFConvM(nn.Module):
    def __init__(self, norm, width, out):
        super().__init__()
        conv = nn.Conv1d(out, out, 17, groups=out, bias=False)
        self.mdl = nn.ModuleDict({
            "0": norm, "1": nn.Linear(width, out),
            "3": Holder(sequential=nn.ModuleDict({"1": Holder(conv=conv)})),
        })

    def forward(self, x):
        z = F.silu(self.mdl["1"](self.mdl["0"](x)))
        return z + over_time(z, self.mdl["3"].sequential["1"].conv.weight)


class Rotary(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.freqs = nn.Parameter(torch.zeros(width // 2), requires_grad=False)


class OffsetScale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(4, width)), nn.Parameter(torch.zeros(4, width))


def turn(x, cos, sin):
    """Interleaved pairs of the first channels; the others stay."""
    width = 2 * cos.shape[-1]
    a, b = x[..., 0:width:2], x[..., 1:width:2]
    turned = torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
    return torch.cat((turned, x[..., width:]), -1)


class Flash(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, q = c["channels"], c["query_key_dim"]
        self.group = c["group_size"]
        self.rotary_pos_emb = Rotary(min(32, q))
        self.to_hidden = FFConvM(ScaleNorm(), width, 4 * width)
        self.to_qk = FFConvM(ScaleNorm(), width, q)
        self.qk_offset_scale = OffsetScale(q)
        self.to_out = FFConvM(ScaleNorm(), 2 * width, width)

    def attend(self, qk, hidden, cos, sin):
        steps = hidden.shape[1]
        heads = qk.unsqueeze(2) * self.qk_offset_scale.gamma + self.qk_offset_scale.beta
        heads = turn(heads, cos, sin)
        lin_q, lin_k = heads[:, :, 1], heads[:, :, 3]
        total = (lin_k.transpose(1, 2) / steps) @ hidden
        more = -steps % self.group
        quad = F.pad(heads[:, :, 0::2], (0, 0, 0, 0, 0, more)).unflatten(1, (-1, self.group))
        values = F.pad(hidden, (0, 0, 0, more)).unflatten(1, (-1, self.group))
        scores = (quad[:, :, :, 0] / self.group) @ quad[:, :, :, 1].transpose(2, 3)
        local = (F.relu(scores).square() @ values).flatten(1, 2)[:, :steps]
        return torch.baddbmm(local, lin_q, total)

    def forward(self, x, cos, sin):
        half = x.shape[-1] // 2
        s = torch.cat((F.pad(x[:, :-1, :half], (0, 0, 1, 0)), x[:, :, half:]), -1)
        hidden = self.to_hidden(s)
        v, u = hidden.chunk(2, -1)
        att_v, att_u = self.attend(self.to_qk(s), hidden, cos, sin).chunk(2, -1)
        return x + self.to_out(att_u * v * torch.sigmoid(att_v * u))


class DenseNet(nn.Module):
    def __init__(self, width, lorder):
        super().__init__()
        self.width, self.lorder = width, lorder
        for j in (1, 2):
            conv = nn.Conv2d(j * width, width, (2 * lorder - 1, 1), groups=width, bias=False)
            setattr(self, "conv%d" % j, conv)
            setattr(self, "norm%d" % j, nn.InstanceNorm2d(width, affine=True))
            setattr(self, "prelu%d" % j, nn.PReLU(width))

    def stage(self, x, conv, norm, prelu, dilation):
        pad = (self.lorder - 1) * dilation
        y = F.conv1d(x, conv.weight[:, :, :, 0], None, 1, pad, dilation, self.width)
        return prelu(F.instance_norm(y, None, None, norm.weight, norm.bias, True, 0.0, 1e-5))

    def forward(self, p):
        p = p.transpose(1, 2).contiguous()
        first = self.stage(p, self.conv1, self.norm1, self.prelu1, 1)
        both = torch.cat((first, p), 1)
        return self.stage(both, self.conv2, self.norm2, self.prelu2, 2).transpose(1, 2)


class Fsmn(nn.Module):
    def __init__(self, width, lorder):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.project = nn.Linear(width, width, bias=False)
        self.conv = DenseNet(width, lorder)

    def forward(self, x):
        return x + self.conv(self.project(F.relu(self.linear(x))))


class GatedFsmn(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, inner = c["channels"], c["inner_channels"]
        self.conv1 = nn.ModuleDict({"0": nn.Conv1d(width, inner, 1), "1": nn.PReLU()})
        self.norm1, self.norm2 = nn.LayerNorm(inner), nn.LayerNorm(inner)
        self.gated_fsmn = Holder(
            to_u=FFConvM(nn.LayerNorm(inner), inner, inner),
            to_v=FFConvM(nn.LayerNorm(inner), inner, inner), fsmn=Fsmn(inner, c["lorder"]))
        self.conv2 = nn.Conv1d(inner, width, 1)

    def forward(self, x):
        r = self.norm1(self.conv1["1"](pointwise(self.conv1["0"], x)))
        gated = self.gated_fsmn
        y = gated.to_v(r) * gated.fsmn(gated.to_u(r)) + r
        return pointwise(self.conv2, self.norm2(y)) + x


class GlobalNorm(nn.Module):
    """Over time and channels of each utterance, then per channel."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x, steps):
        return F.layer_norm(x, (steps, self.weight.shape[0]), None, None, 1e-8) * self.weight + self.bias


class MaskNet(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, n, layers = c["channels"], c["in_channels"], range(c["num_layers"])
        self.speakers = c["num_spks"]
        self.norm = GlobalNorm(n)
        self.conv1d_encoder = nn.Conv1d(n, width, 1, bias=False)
        self.pos_enc = nn.Module()
        self.pos_enc.scale = nn.Parameter(torch.ones(1))
        self.pos_enc.register_buffer("inv_freq", torch.zeros(width // 2))
        stack = Holder(layers=nn.ModuleList(Flash(c) for _ in layers),
                       fsmn=nn.ModuleList(GatedFsmn(c) for _ in layers))
        self.mdl = Holder(
            intra_mdl=Holder(mossformerM=stack, norm=nn.LayerNorm(width, 1e-6)),
            intra_norm=GlobalNorm(width))
        self.prelu = nn.PReLU()
        self.conv1d_out = nn.Conv1d(width, width * self.speakers, 1)
        self.output = nn.ModuleDict({"0": nn.Conv1d(width, width, 1)})
        self.output_gate = nn.ModuleDict({"0": nn.Conv1d(width, width, 1)})
        self.conv1_decoder = nn.Conv1d(width, n, 1, bias=False)

    def prepare(self, steps):
        """What depends on the length alone."""
        self.steps = steps
        times = torch.arange(steps, dtype=torch.float32)[:, None]
        angles = times * self.pos_enc.inv_freq
        self.positions = torch.cat((angles.sin(), angles.cos()), 1)
        angles = times * self.mdl.intra_mdl.mossformerM.layers[0].rotary_pos_emb.freqs.detach()
        self.cos, self.sin = angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)

    def forward(self, x):
        x = pointwise(self.conv1d_encoder, self.norm(x, self.steps))
        x = x + self.pos_enc.scale * self.positions
        y, stack = x, self.mdl.intra_mdl.mossformerM
        for flash, fsmn in zip(stack.layers, stack.fsmn):
            y = fsmn(flash(y, self.cos, self.sin))
        y = self.mdl.intra_norm(self.mdl.intra_mdl.norm(y), self.steps) + x
        y = pointwise(self.conv1d_out, self.prelu(y)).unflatten(2, (self.speakers, -1))
        y = torch.tanh(pointwise(self.output["0"], y)) * torch.sigmoid(
            pointwise(self.output_gate["0"], y))
        return F.relu(pointwise(self.conv1_decoder, y))


class Model(nn.Module):
    """mixture (B, T) -> sources (B, T, speakers)"""

    def __init__(self, c, samples):
        super().__init__()
        n, size = c["in_channels"], c["encoder_kernel_size"]
        self.samples, self.hop = samples, size // 2
        self.steps = (samples - size) // self.hop + 1
        self.enc = Holder(conv1d=nn.Conv1d(1, n, size, bias=False))
        self.mask_net = MaskNet(c)
        self.dec = nn.ConvTranspose1d(n, 1, size, bias=False)

    def load(self, weights):
        self.load_state_dict(weights)
        self.mask_net.prepare(self.steps)

    def forward(self, mixture):
        encoded = F.relu(F.conv1d(mixture.unsqueeze(1), self.enc.conv1d.weight, stride=self.hop))
        encoded = encoded.transpose(1, 2).contiguous()
        sources = self.mask_net(encoded) * encoded.unsqueeze(2)  # (B, L, speakers, N)
        each = sources.permute(0, 2, 3, 1).flatten(0, 1)
        waves = F.conv_transpose1d(each, self.dec.weight, stride=self.hop).squeeze(1)
        waves = F.pad(waves, (0, self.samples - waves.shape[1]))
        return waves.unflatten(0, (-1, self.mask_net.speakers)).transpose(1, 2)
