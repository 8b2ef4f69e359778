"""The models of bench_compare in PyTorch, with the official parameter names.

MODELS[name](request, tensors) -> (module, arguments, finish), as in torch_ops.py. A request that
"trains" gets a module whose call is a step of Adam on the mean squared error.
"""
import torch
from torch import nn
from torch.nn import functional as F

import torch_itransformer
import torch_mamba


class TrainingStep(nn.Module):
    trains = True

    def __init__(self, model, x, target):
        super().__init__()
        model.train()
        self.model, self.x, self.target = model, x, target
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def forward(self):
        self.optimizer.zero_grad()
        F.mse_loss(self.model(self.x), self.target).backward()
        self.optimizer.step()


def itransformer(request, tensors):
    x, target = tensors.pop("x"), tensors.pop("target", None)
    model = torch_itransformer.Model(request["config"])
    model.load_state_dict(tensors)
    if request.get("trains"):
        return TrainingStep(model, x, target), [], ()
    return model, [x], ()


def mamba(request, tensors):
    ids = tensors.pop("ids").long()
    model = torch_mamba.Model(tensors)
    model.no_graph = True
    return model, [ids], ()


MODELS = {"itransformer": itransformer, "mamba": mamba}
