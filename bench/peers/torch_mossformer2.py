"""The official MossFormer2 separation network in PyTorch, timed on the weights of a folder.

usage: torch_mossformer2.py OFFICIAL DIR [--seconds 2] [--threads 1] [--repeat 3]
OFFICIAL: a clone of github.com/modelscope/ClearerVoice-Studio; DIR: config.json and
model.safetensors in the layout clearervoice_ss. Prints one JSON line with the median time and the
real-time factor. The official code is used as it is; where the three small packages that it imports
(einops, rotary_embedding_torch, torchinfo) are not installed, the few calls that it makes of them are
provided here.
"""
import argparse
import json
import resource
import sys
import types

import torch
from torch import nn

from torch_peer import load_safetensors, median_ms


class RotaryEmbedding(nn.Module):
    """Interleaved pairs over the first `dim` channels, positions along the last axis but one."""

    def __init__(self, dim):
        super().__init__()
        steps = torch.arange(0, dim, 2).float() / dim
        self.freqs = nn.Parameter(10000.0**-steps, requires_grad=False)

    def rotate_queries_or_keys(self, x):
        width = 2 * self.freqs.shape[0]
        angles = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * self.freqs
        cos, sin = (f(angles).repeat_interleave(2, -1) for f in (torch.cos, torch.sin))
        turned, kept = x[..., :width], x[..., width:]
        a, b = turned[..., 0::2], turned[..., 1::2]
        crossed = torch.stack((-b, a), -1).flatten(-2)
        return torch.cat((turned * cos + crossed * sin, kept), -1)


def rearrange(x, pattern, **sizes):
    if pattern == "b (g n) d -> b g n d":
        return x.reshape(x.shape[0], -1, sizes["n"], x.shape[-1])
    if pattern == "b g n d -> b (g n) d":
        return x.reshape(x.shape[0], -1, x.shape[-1])
    if pattern == "b (g j) -> b g 1 j":
        return x.reshape(x.shape[0], -1, 1, sizes["j"])
    if pattern == "... -> ... 1":
        return x[..., None]
    raise NotImplementedError("rearrange: " + pattern)


def provide(name, **entries):
    try:
        __import__(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__dict__.update(entries)
        sys.modules[name] = module


def official_network(folder, config):
    provide("einops", rearrange=rearrange)
    provide("rotary_embedding_torch", RotaryEmbedding=RotaryEmbedding)
    provide("torchinfo", summary=lambda *args, **kwargs: None)
    sys.path.insert(0, folder + "/clearvoice/clearvoice/models")
    from mossformer2_ss.mossformer2 import MossFormer2_SS_16K

    return MossFormer2_SS_16K(types.SimpleNamespace(**config)).model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("official")
    parser.add_argument("dir")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = json.load(open(args.dir + "/config.json"))
    model = official_network(args.official, config)
    model.load_state_dict(load_safetensors(args.dir + "/model.safetensors"))
    model.eval()
    samples = int(args.seconds * config["sampling_rate"])
    x = 0.1 * torch.randn(1, samples)
    with torch.no_grad():
        median = median_ms(lambda: model(x), args.repeat, warm_up=1)
    print(
        json.dumps(
            {
                "peer": "PyTorch " + torch.__version__,
                "threads": args.threads,
                "forward_ms": median,
                "real_time_factor": median / 1e3 / args.seconds,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
