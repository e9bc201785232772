"""The optimiser of a phase, and what of the network it may change."""

from torch.optim import Adam, AdamW, Optimizer, RAdam

from rsna19_kedro.networks.encoders import ENCODERS, trainable
from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.training.recipe import Phase


def make_optimizer(phase: Phase, network: SliceNetwork, *, fused: bool) -> Optimizer:
    """Make the optimiser of a phase; its learning rate is set batch by batch.

    Args:
        phase: Names the optimiser, rate and weight decay (always decoupled).
        network: All of its parameters are handed over, frozen ones too.
        fused: Whether AdamW may use its fused implementation.
    """
    weights, rate, decay = network.parameters(), phase.learning_rate, phase.weight_decay
    match phase.optimizer:
        case "adam":
            return Adam(weights, lr=rate, weight_decay=decay, decoupled_weight_decay=True)
        case "radam":
            return RAdam(weights, lr=rate, weight_decay=decay, decoupled_weight_decay=True)
        case "adamw":
            return AdamW(weights, lr=rate, weight_decay=decay, fused=fused)


def freeze_encoder(network: SliceNetwork, frozen: bool, *, train_norms: bool = False) -> None:
    """Freeze or unfreeze the encoder; a new stem keeps learning.

    Args:
        network: Changed in place.
        frozen: Whether the encoder is frozen from now on.
        train_norms: Whether the batch norms of a frozen encoder normalise by the batch and update
            their running values; else they use those.
    """
    encoder = network.encoder
    trainable(encoder, not frozen)
    encoder.train(not frozen or train_norms)
    if frozen and network.spec.new_stem:
        for name in ENCODERS[network.spec.encoder].stem:
            trainable(encoder.get_submodule(name), True)
            encoder.get_submodule(name).train()
