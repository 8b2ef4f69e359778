"""The models of bench_compare in PyTorch, with the official parameter names.

MODELS[name](request, tensors) -> (module, arguments, finish), as in torch_ops.py. A request that
"trains" gets a module whose call is a step of Adam; its output is the loss of the first two steps.
"""
import torch
from torch import nn
from torch.nn import functional as F

import torch_informer
import torch_itransformer
import torch_mamba
import torch_mossformer2_ss
import torch_time_moe


class TrainingStep(nn.Module):
    trains = True

    def __init__(self, model, arguments, loss):
        super().__init__()
        model.train()
        self.model, self.arguments, self.loss, self.losses = model, arguments, loss, []
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=1e-3)

    def forward(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.model(*self.arguments))
        loss.backward()
        self.optimizer.step()
        if len(self.losses) < 2:
            self.losses.append(loss.item())

    def first_losses(self, _):
        while len(self.losses) < 2:
            self.forward()
        return torch.tensor(self.losses)


def training(model, arguments, loss):
    step = TrainingStep(model, arguments, loss)
    return step, [], step.first_losses


def forward_or_training(request, model, arguments, target):
    if request.get("trains"):
        return training(model, arguments, lambda y: F.mse_loss(y, target))
    return model, arguments, ()


def itransformer(request, tensors):
    x, target = tensors.pop("x"), tensors.pop("target", None)
    model = torch_itransformer.Model(request["config"])
    model.load_state_dict(tensors)
    return forward_or_training(request, model, [x], target)


def informer(request, tensors):
    arguments = [tensors.pop(name) for name in ("x_enc", "x_mark_enc", "x_dec", "x_mark_dec")]
    target = tensors.pop("target", None)
    names = sorted(name for name in tensors if name.startswith("index_sample."))
    samples = [tensors.pop(name).long() for name in names]
    model = torch_informer.Model(request["config"], samples)
    model.load_state_dict(tensors)
    return forward_or_training(request, model, arguments, target)


def mamba(request, tensors):
    ids = tensors.pop("ids").long()
    if request.get("trains"):
        targets = tensors.pop("targets").long().flatten()
        model = torch_mamba.Model(tensors, trains=True)
        return training(model, [ids], lambda y: F.cross_entropy(y.flatten(0, 1), targets))
    return torch_mamba.Model(tensors), [ids], ()


def mamba_step(request, tensors):
    ids = tensors.pop("ids").long()
    layers = sum(name.startswith("ssm_state.") for name in tensors)
    states = [tensors.pop("%s_state.%d" % (kind, i)) for i in range(layers) for kind in ("conv", "ssm")]
    return torch_mamba.Step(torch_mamba.Model(tensors)), [ids, *states], ()


def time_moe(request, tensors):
    x, target = tensors.pop("x"), tensors.pop("target", None)
    model = torch_time_moe.Model(request["config"], x.shape[1])
    model.load_state_dict(tensors)
    return forward_or_training(request, model, [x], target)


def time_moe_step(request, tensors):
    x, series = tensors.pop("x"), tensors.pop("series")
    return torch_time_moe.Step(request["config"], tensors, series), [x], ()


def mossformer2(request, tensors):
    mixture, target = tensors.pop("mixture"), tensors.pop("target", None)
    model = torch_mossformer2_ss.Model(request["config"], mixture.shape[1])
    model.load(tensors)
    return forward_or_training(request, model, [mixture], target)


MODELS = {
    "itransformer": itransformer, "informer": informer, "mamba": mamba, "mamba_step": mamba_step,
    "time_moe": time_moe, "time_moe_step": time_moe_step, "mossformer2": mossformer2,
}
