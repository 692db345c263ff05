"""Training a network: trainer, optimizers, losses, states, log."""
