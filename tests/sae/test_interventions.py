"""Laws of interventions on latents: along their decoder directions, and nothing else."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bitlens.engine.interventions import Intervention
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.errors import BitlensError
from bitlens.sae.interventions import latents_set, latents_taken, reconstructed
from bitlens.sae.sae import Sae
from bitlens.sae.sparse_codes import Codes
from tests.support import tiny

CHOSEN = [3, 17, 40]
each_sae = pytest.mark.parametrize(
    "sae",
    [
        tiny.sae(),
        tiny.sae(normalisation="layer_norm"),
        tiny.sae(normalisation="constant_norm_rescale", centred=True),
    ],
    ids=["plain", "layer norm", "rescaled"],
)


def states(seed: int) -> Tensor:
    return torch.randn(200, 64, generator=torch.Generator().manual_seed(seed))


def with_codes(sae: Sae, x: Tensor, dense: Tensor) -> Tensor:
    """What the SAE makes of other codes of the same rows, with what it did not describe."""
    codes = sae.codes(x)
    row, latent = (dense > 0).nonzero(as_tuple=True)
    other = replace(codes, row=row, latent=latent, value=dense[row, latent])
    assert isinstance(other, Codes)
    return x - sae.decode(codes) + sae.decode(other)


@each_sae
@pytest.mark.parametrize("value", [0.0, 2.5])
def test_latents_are_set(sae: Sae, value: float) -> None:
    """By hand: the dense codes with their columns at the value, decoded, the SAE's own error kept;
    some of them fired before."""
    x = states(0)
    dense = sae.encode(x)
    assert (dense[:, CHOSEN] > 0).any()
    dense[:, CHOSEN] = value
    assert torch.allclose(
        latents_set(sae, CHOSEN, value)(x, x), with_codes(sae, x, dense), atol=1e-4
    )


@each_sae
def test_latents_are_taken(sae: Sae) -> None:
    """Some of them as they are elsewhere; of the same place, nothing changes, bit for bit."""
    x, y = states(0), states(1)
    dense = sae.encode(x)
    dense[:, CHOSEN] = sae.encode(y)[:, CHOSEN]
    change = latents_taken(sae, CHOSEN)
    assert torch.allclose(change(x, y), with_codes(sae, x, dense), atol=1e-4)
    assert torch.equal(change(x, x), x)


def test_a_latent_that_is_silent_costs_nothing_to_ablate() -> None:
    """Bit for bit, where it does not fire."""
    sae, x = tiny.sae(), states(0)
    silent = sae.encode(x)[:, CHOSEN[0]] == 0
    assert silent.any()
    assert torch.equal(latents_set(sae, CHOSEN[:1])(x, x)[silent], x[silent])


def test_in_a_run_they_are_what_a_hook_does() -> None:
    """A latent of the twin as it is in the reference, by the block's own output."""
    layout, batch, sae = tiny.layout("llama"), tiny.batch([12, 7]), tiny.sae()
    twin = tiny.twin(layout, "rtn:bits=2")
    patch = Intervention(site="resid.1", change=latents_taken(sae, CHOSEN), source=REFERENCE)
    run = ForwardRun("changed", "twin", parent="twin", start=2, interventions=(patch,))
    found = tiny.activations(
        tiny.sweep(layout, [batch], ["resid.1", "logits"], {"twin": twin}, [run])
    )
    reference, own = (
        found[(of, "resid.1", 0)].flatten(0, 1)[batch.index] for of in (REFERENCE, "twin")
    )
    dense = sae.encode(own)
    dense[:, CHOSEN] = sae.encode(reference)[:, CHOSEN]
    model = twin.model()

    def hook(module: torch.nn.Module, args: object, output: object) -> object:
        value = output[0] if isinstance(output, tuple) else output
        assert isinstance(value, Tensor)
        flat = value.flatten(0, 1).clone()
        flat[batch.index] = with_codes(sae, own, dense)
        changed = flat.view_as(value)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = model.get_submodule(layout.block_name(1)).register_forward_hook(hook)
    try:
        wanted = tiny.forward(model, batch).flatten(0, 1)[batch.logits_index]
    finally:
        handle.remove()
    assert torch.allclose(found[("changed", "logits", 0)], wanted, atol=1e-4)
    assert not torch.allclose(found[("changed", "logits", 0)], found[("twin", "logits", 0)])


def test_a_reconstruction_is_the_saes() -> None:
    sae, x = tiny.sae(), states(0)
    assert torch.equal(reconstructed(sae)(x, states(1)), sae.decode(sae.codes(x)))


def test_a_latent_that_is_not_there_is_refused() -> None:
    """With how many there are."""
    for change in (latents_set, latents_taken):
        with pytest.raises(BitlensError, match="Latent 48 of the SAE random, which has 48"):
            change(tiny.sae(), [48])
