"""How is a sparse autoencoder learnt from activations?"""
