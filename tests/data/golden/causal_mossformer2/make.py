"""Writes the cases beside it with PyTorch: `python3 make.py`. The network is written down a second time,
by whole-sequence formulas: attention as one matrix of weights over all pairs of steps, convolutions by
left padding. Nothing is cut into groups or carried in a state."""
import json
import pathlib
import struct

import numpy
import torch
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent
torch.set_num_threads(1)
torch.backends.mkldnn.enabled = False


def save(path, tensors):
    header, data = {}, b""
    for name, t in tensors.items():
        raw = numpy.ascontiguousarray(t.detach().float().numpy()).tobytes()
        header[name] = {"dtype": "F32", "shape": list(t.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def shapes(c):
    n, d, q = c["encoder_embedding_dim"], c["mossformer_sequence_dim"], c["query_key_dim"]
    i, k, taps = c["inner_channels"], c["encoder_kernel_size"], c["taps"]

    def ff(name, inner, outer, norm):
        yield from norm
        yield name + ".linear.weight", (outer, inner)
        yield name + ".linear.bias", (outer,)
        yield name + ".conv.weight", (outer, 1, taps)

    yield "encoder.weight", (n, k)
    yield "norm.weight", (n,)
    yield "norm.bias", (n,)
    yield "conv1d_encoder.weight", (d, n, 1)
    for layer in range(c["num_mossformer_layer"]):
        p = f"layers.{layer}.flash."
        for name, inner, outer in ("to_hidden", d, 4 * d), ("to_qk", d, q), ("to_out", 2 * d, d):
            yield from ff(p + name, inner, outer, [(p + name + ".norm.g", (1,))])
        yield p + "gamma", (4, q)
        yield p + "beta", (4, q)
        p = f"layers.{layer}.fsmn."
        yield p + "conv1.weight", (i, d, 1)
        yield p + "conv1.bias", (i,)
        yield p + "prelu.weight", (1,)
        for name in "to_u", "to_v":
            norm = [(f"{p}{name}.norm.{part}", (i,)) for part in ("weight", "bias")]
            yield from ff(p + name, i, i, norm)
        yield p + "fsmn.linear.weight", (i, i)
        yield p + "fsmn.linear.bias", (i,)
        yield p + "fsmn.project.weight", (i, i)
        yield p + "fsmn.memory.weight", (i, 1, c["lorder"])
        for norm in "norm1", "norm2":
            yield p + norm + ".weight", (i,)
            yield p + norm + ".bias", (i,)
        yield p + "conv2.weight", (d, i, 1)
        yield p + "conv2.bias", (d,)
    yield "norm_out.weight", (d,)
    yield "norm_out.bias", (d,)
    yield "prelu.weight", (1,)
    for name, outer in ("conv1d_out", d * c["num_spks"]), ("output", d), ("output_gate", d):
        yield name + ".weight", (outer, d, 1)
        yield name + ".bias", (outer,)
    yield "conv1_decoder.weight", (n, d, 1)
    yield "decoder.weight", (k, n)


def separate(c, w, mixture):
    """mixture (B, T) -> (B, T, speakers)."""
    hop, g = c["encoder_kernel_size"] // 2, c["group_size"]

    def linear(x, name):
        weight = w[name + ".weight"]
        return F.linear(x, weight.reshape(weight.shape[:2]), w.get(name + ".bias"))

    def layer_norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"])

    def past_conv(x, weight):
        y = F.pad(x.transpose(1, 2), (weight.shape[-1] - 1, 0))
        return F.conv1d(y, weight, groups=weight.shape[0]).transpose(1, 2)

    def ff(x, name):
        if name + ".norm.g" in w:
            size = x.norm(dim=-1, keepdim=True) * x.shape[-1] ** -0.5
            x = x / size.clamp(min=1e-5) * w[name + ".norm.g"]
        else:
            x = layer_norm(x, name + ".norm")
        z = F.silu(linear(x, name + ".linear"))
        return z + past_conv(z, w[name + ".conv.weight"])

    def turned(x):
        """Pairs of neighbours turned by absolute positions."""
        r = min(32, x.shape[-1]) // 2 * 2
        steps = torch.arange(x.shape[1], dtype=torch.float64)[:, None]
        angle = steps * 10000.0 ** (-torch.arange(0, r, 2, dtype=torch.float64) / r)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x[..., 0:r:2], x[..., 1:r:2]
        pairs = torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
        return torch.cat((pairs, x[..., r:]), -1)

    def flash(x, p):
        half = (x.shape[-1] + 1) // 2
        s = torch.cat((F.pad(x[..., :half], (0, 0, 1, -1)), x[..., half:]), -1)
        hidden, qk = ff(s, p + "to_hidden"), ff(s, p + "to_qk")
        quad_q, lin_q, quad_k, lin_k = (qk * w[p + "gamma"][j] + w[p + "beta"][j] for j in range(4))
        step = torch.arange(x.shape[1])
        group = step // g
        local = F.relu(turned(quad_q) @ turned(quad_k).transpose(1, 2) / g) ** 2
        local = local * ((group[:, None] == group) & (step[:, None] >= step)).to(x.dtype)
        age = (group[:, None] - group - 1).to(x.dtype)  # of a finished group: 0 for the last one
        share = torch.where(age >= 0, c["memory_decay"] ** age.clamp(min=0), torch.zeros(()).to(x))
        total = share.sum(-1, keepdim=True) / g
        share = share / total.clamp(min=1e-9)
        attended = (local + lin_q @ lin_k.transpose(1, 2) / g * share) @ hidden
        v, u = hidden.chunk(2, -1)
        att_v, att_u = attended.chunk(2, -1)
        return x + ff(att_u * v * torch.sigmoid(att_v * u), p + "to_out")

    def fsmn(x, p):
        r = layer_norm(F.prelu(linear(x, p + "conv1"), w[p + "prelu.weight"]), p + "norm1")
        u = ff(r, p + "to_u")
        q = linear(F.relu(linear(u, p + "fsmn.linear")), p + "fsmn.project")
        a = u + q + past_conv(q, w[p + "fsmn.memory.weight"])
        return x + linear(layer_norm(ff(r, p + "to_v") * a + r, p + "norm2"), p + "conv2")

    length = mixture.shape[1]
    signal = F.pad(mixture, (hop, -length % hop + hop))
    encoded = F.relu(linear(signal.unfold(1, 2 * hop, hop), "encoder"))
    x = y = linear(layer_norm(encoded, "norm"), "conv1d_encoder")
    for layer in range(c["num_mossformer_layer"]):
        y = fsmn(flash(y, f"layers.{layer}.flash."), f"layers.{layer}.fsmn.")
    y = linear(F.prelu(layer_norm(y, "norm_out") + x, w["prelu.weight"]), "conv1d_out")
    y = y.unflatten(-1, (c["num_spks"], -1))
    gated = torch.tanh(linear(y, "output")) * torch.sigmoid(linear(y, "output_gate"))
    masks = F.relu(linear(gated, "conv1_decoder"))
    frames = linear(masks * encoded[:, :, None], "decoder")  # (B, L, S, 2 hop)
    first, second = frames.split(hop, -1)
    waves = F.pad(first, (0, 0, 0, 0, 0, 1)) + F.pad(second, (0, 0, 0, 0, 1, 0))
    return waves.transpose(2, 3).flatten(1, 2)[:, hop:hop + length]


def write(name, c, batch, length, seed):
    torch.manual_seed(seed)
    weights = {}
    for key, shape in shapes(c):
        one = key.endswith((".g", "norm1.weight", "norm2.weight", "norm.weight", "norm_out.weight"))
        fan = 1
        for extent in shape[1:]:
            fan *= extent
        weights[key] = one + torch.randn(shape) * (0.3 if len(shape) == 1 else 1.2 / fan ** 0.5)
    inputs = {"mixture": torch.randn(batch, length), "target": torch.randn(batch, length, 2)}
    io = {"input." + key: value for key, value in inputs.items()}
    for suffix, dtype in ("", torch.float32), ("64", torch.float64):
        w = {k: v.detach().clone().to(dtype).requires_grad_() for k, v in weights.items()}
        mixture = inputs["mixture"].clone().to(dtype).requires_grad_()
        estimate = separate(c, w, mixture)
        loss = ((estimate - inputs["target"].to(dtype)) ** 2).mean()
        loss.backward()
        io[f"output{suffix}.est_source"], io[f"output{suffix}.loss"] = estimate, loss
        for key, value in [*w.items(), ("input.mixture", mixture)]:
            io[f"grad{suffix}.{key}"] = value.grad
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(c, indent=1) + "\n")
    save(folder / "weights.safetensors", weights)
    save(folder / "io.safetensors", io)


write("two_speakers", {
    "model": "causal_mossformer2", "num_spks": 2, "sampling_rate": 8000, "encoder_kernel_size": 6,
    "encoder_embedding_dim": 7, "mossformer_sequence_dim": 6, "num_mossformer_layer": 2,
    "group_size": 5, "query_key_dim": 5, "inner_channels": 5, "lorder": 4, "taps": 3,
    "memory_decay": 0.8}, 2, 76, 1)
