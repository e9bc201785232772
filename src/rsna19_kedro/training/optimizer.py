"""The optimiser of a phase, and freezing of the encoder."""

from torch.optim import Adam, AdamW, Optimizer, RAdam

from rsna19_kedro.networks.encoders import ENCODERS, trainable
from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.training.recipe import Phase


def make_optimizer(phase: Phase, network: SliceNetwork, *, fused: bool) -> Optimizer:
    """Create the optimiser of a phase; its learning rate is set before each batch.

    Args:
        phase: Sets optimiser, learning rate and weight decay (always decoupled).
        network: The optimiser gets all of its parameters, including frozen ones.
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
    """Freeze or unfreeze the encoder; a new stem stays trainable.

    Args:
        network: Changed in place.
        frozen: Whether to freeze the encoder.
        train_norms: Whether the batch norms of a frozen encoder stay in training mode.
    """
    encoder = network.encoder
    trainable(encoder, not frozen)
    encoder.train(not frozen or train_norms)
    if frozen and network.spec.new_stem:
        for name in ENCODERS[network.spec.encoder].stem:
            trainable(encoder.get_submodule(name), True)
            encoder.get_submodule(name).train()
