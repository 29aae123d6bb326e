"""A module's code without what hangs on it: hooks of offloading, and whatever is replaced."""

import copy
from collections.abc import Mapping

from torch import nn


def strip(module: nn.Module, replace: Mapping[str, nn.Module] | None = None) -> nn.Module:
    """A copy of the module's structure that shares its parameters and carries no hooks.

    `replace` names submodules to put something else in place of; without it the whole tree is
    copied, with it only the modules on the way to the replaced ones.
    """
    twin = copy.copy(module)
    twin.__dict__ = dict(module.__dict__)
    for hook in ("_hf_hook", "_old_forward", "forward"):
        twin.__dict__.pop(hook, None)
    twin._parameters = dict(module._parameters)
    twin._buffers = dict(module._buffers)
    twin._modules = dict(module._modules)
    for name, child in module._modules.items():
        if child is None:
            continue
        if replace is None:
            twin._modules[name] = strip(child)
        elif name in replace:
            twin._modules[name] = replace[name]
        else:
            below = {p[len(name) + 1 :]: m for p, m in replace.items() if p.startswith(f"{name}.")}
            if below:
                twin._modules[name] = strip(child, below)
    return twin
