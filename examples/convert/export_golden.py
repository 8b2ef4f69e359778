#!/usr/bin/env python3
"""Records what a PyTorch model makes of inputs, module by module, for `sequin check`.

    import torch
    from types import SimpleNamespace
    from export_golden import export_golden       # PYTHONPATH=examples/convert
    from model.iTransformer import Model          # your model, here thuml/iTransformer
    config = {"model": "itransformer", "seq_len": 24, "pred_len": 8, "d_model": 16, "n_heads": 2,
              "e_layers": 2, "d_ff": 32, "activation": "gelu", "use_norm": True}
    model = Model(SimpleNamespace(**config, output_attention=False, embed="timeF", freq="h",
                                  dropout=0.1, factor=1, class_strategy="projection"))
    export_golden("golden", model, {"x_enc": torch.randn(2, 24, 3)}, output="dec_out",
                  config=config, call=lambda m, x_enc: m(x_enc, None, None, None))

writes golden/config.json, golden/weights.safetensors and golden/io.safetensors; then
`sequin check golden` compares. Needs torch 1.13 or newer and nothing else.
"""
import contextlib
import json
import os

import torch

from pt_to_safetensors import plain, write


def first_tensor(value):
    """What an output stands for: a tensor itself, else the first one of a tuple, list or dict."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, dict):
        value = list(value.values())
    for entry in value if isinstance(value, (tuple, list)) else []:
        found = first_tensor(entry)
        if found is not None:
            return found
    return None


@contextlib.contextmanager
def recorded_modules(model):
    """While it is open, the first output of each module by its path: {"encoder.norm": tensor}."""
    found = {}

    def recorder(path):
        def record(module, inputs, output):
            tensor = first_tensor(output)
            if tensor is not None and path not in found:
                found[path] = tensor.detach().clone()  # a later step may write into it
        return record

    hooks = [module.register_forward_hook(recorder(path))
             for path, module in model.named_modules() if path]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def export_golden(folder, model, inputs, output, config=None, target=None, call=None):
    """Runs the model in evaluation mode and writes a folder for `sequin check`.

    inputs: the tensors that Sequin's model takes, by the names that it has for them.
    output: the name that Sequin has for the (first) tensor that the model returns.
    config: a dict for config.json; None when the folder has one.
    target: what a mean squared error compares the output with; the loss and the gradients of all
        parameters are then recorded too, for `sequin check --grad`.
    call: how the model is called, call(model, **inputs); None: model(**inputs).
    """
    tensors = {f"input.{name}": tensor.detach().clone() for name, tensor in inputs.items()}
    was_training = model.training
    model.eval()
    model.zero_grad()
    try:
        with torch.set_grad_enabled(target is not None), recorded_modules(model) as modules:
            result = first_tensor(model(**inputs) if call is None else call(model, **inputs))
        tensors[f"output.{output}"] = result
        tensors.update({f"mid.{path}": tensor for path, tensor in modules.items()})
        if target is not None:
            loss = torch.mean((result - target) ** 2)
            loss.backward()
            tensors.update({"input.target": target, "output.loss": loss})
            tensors.update({f"grad.{name}": p.grad.clone() for name, p in model.named_parameters()
                            if p.grad is not None})
    finally:
        model.train(was_training)
        model.zero_grad()

    os.makedirs(folder, exist_ok=True)
    files = {"weights.safetensors": model.state_dict(), "io.safetensors": tensors}
    for file, named in files.items():
        path = os.path.join(folder, file)
        write(path, {n: plain(path, n, t) for n, t in named.items()}, {"format": "pt"})
    if config is not None:
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file, indent=1)
    return modules
