"""Repair of an SAE: its encoder adapted, step by step, to be read on a twin as on its reference.

What is learnt from: activations of both models at the same positions of calibration documents. A
gain and an offset of a latent move what it says, not how it orders positions, so that they mend its
strength and when it fires (concordance, F1) but hardly its correlation; a linear map of what the
encoder reads, and an encoder trained against the reference's codes, mend correlation too, as far as
the twin's activations still hold what the latent reads. The latents keep their decoder directions
but for one linear map of all of them together. What comes out is an ordinary SAE.
"""
