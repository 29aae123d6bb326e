"""Shapes that signatures state, checked while tests run.

A method says `Annotated[Tensor, "positions width"]`, which costs nothing where it runs and needs no
library. Here the words become jaxtyping's, and beartype looks at every call: one word is one
number within a call, `*columns` any number of axes.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_args, get_origin

from beartype import beartype
from jaxtyping import Shaped, jaxtyped
from torch import Tensor

from bitlens.compression.twin import CompressedTwin
from bitlens.engine.activations import Positions
from bitlens.engine.interventions import Intervention
from bitlens.engine.swept_model import Reference
from bitlens.models.shell import Shell
from bitlens.sae.sae import Sae

CHECKED: tuple[type, ...] = (CompressedTwin, Intervention, Positions, Reference, Shell, Sae)
"""The classes whose methods are looked at."""


def stated(annotation: Any) -> Any:
    """What jaxtyping calls a shape; anything else is not looked at."""
    if get_origin(annotation) is not Annotated:
        return Any
    tensor, shape = get_args(annotation)
    return Shaped[tensor, shape]


def shape(value: Any) -> Any:
    """What a look can tell tensors apart by; of anything else its type."""
    return value.shape if isinstance(value, Tensor) else type(value)


def checked(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, refusing tensors of another shape than its signature says.

    On a tiny model a look takes longer than most methods do, and the same shapes come again and
    again: what was found right once, on the way in and on the way out, is not looked at twice.
    """
    method.__annotations__ = {name: stated(of) for name, of in method.__annotations__.items()}
    looked_at: Callable[..., Any] = jaxtyped(typechecker=beartype)(method)
    right: dict[Any, set[Any]] = {}

    @wraps(method)
    def called(*args: Any, **kwargs: Any) -> Any:
        given = (*map(shape, args), *((name, shape(of)) for name, of in kwargs.items()))
        if given in right:
            found = method(*args, **kwargs)
            if shape(found) in right[given]:
                return found
        found = looked_at(*args, **kwargs)
        right.setdefault(given, set()).add(shape(found))
        return found

    return called


def check_shapes() -> list[str]:
    """Check every method of `CHECKED` that states a shape from now on; their names."""
    names = []
    for owner in CHECKED:
        for name, method in list(vars(owner).items()):
            if inspect.isfunction(method) and any(
                get_origin(of) is Annotated for of in method.__annotations__.values()
            ):
                setattr(owner, name, checked(method))
                names.append(f"{owner.__name__}.{name}")
    return names
