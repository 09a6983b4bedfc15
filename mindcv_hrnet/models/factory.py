"""From a model's name to its network."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import nn

from mindcv_hrnet.errors import CheckpointError, UserError
from mindcv_hrnet.models.hrnet import HRNet, HRNetFeatures
from mindcv_hrnet.models.variants import BRANCHES, check_variant, find_spec, published_at
from mindcv_hrnet.runtime.files import expand_home

FEATURES = ("raw", "incre")


def unused_by(network: nn.Cell) -> tuple[str, ...]:
    """Beginnings of the names that a classifier's weights have and `network` may not."""
    if isinstance(network, HRNetFeatures):
        last = network.spec.modules[-1] - 1
        head = ("incre_modules.", "downsample_modules.", "final_layer.", "classifier.")
        return (*head, f"stage4.{last}.fuse_layers.")
    return () if network.num_classes else ("classifier.",)


def create_model(
    name: str,
    num_classes: int = 1000,
    in_channels: int = 3,
    pretrained: bool = False,
    checkpoint: str = "",
    features_only: bool = False,
    out_indices: Sequence[int] = BRANCHES,
    *,
    features: str = "raw",
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
) -> nn.Cell:
    """A classifier, or with `features_only` a backbone, of the variant called `name`.

    Args:
        name: one of `list_models()`.
        num_classes: outputs of the classifier; 0 gives the pooled vector before it, (N, 2048).
        in_channels: channels of the images.
        pretrained: start from the published weights, downloaded once into a cache folder.
        checkpoint: path of weights to start from, of any kind that `mindcv_hrnet.weights` reads. With other classes
            the classifier stays fresh, with other image channels the first convolution is adapted; both are logged.
            A run folder stands for its best weights, and its number of classes is not to be changed.
        features_only: return a tuple of feature maps instead of logits; `network.feature_info` says which.
        out_indices: the maps wanted, in this order, of 0 to 3: the branches at strides 4, 8, 16 and 32.
        features: "raw" branches as they leave stage 4 (C, 2C, 4C, 8C channels), or "incre", widened as the head
            does it (128, 256, 512, 1024).
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last residual block of stage 4; it grows from 0 in the first of stage 1.

    Raises:
        UserError: a name or value that does not exist, or a setting that would have no effect.
        CheckpointError: weights that cannot be fetched or read, or do not fit.
    """
    spec = find_spec(name)
    if num_classes < 0:
        raise UserError(f"num_classes must be 0 (no classifier) or more, not {num_classes}")
    if in_channels < 1:
        raise UserError(f"in_channels must be 1 or more, not {in_channels}")
    for key, rate in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)):
        if not 0 <= rate < 1:
            raise UserError(f"{key} must be at least 0 and below 1, not {rate}")
    if drop_rate and (features_only or not num_classes):
        raise UserError(f"drop_rate {drop_rate} has no effect without a classifier: leave it at 0")
    if features not in FEATURES:
        raise UserError(f"unknown features {features!r}. Choices: {', '.join(FEATURES)}")
    wanted = tuple(out_indices)
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(BRANCHES):
        raise UserError(f"out_indices must be one or more different numbers of {BRANCHES}, not {wanted}")
    if not features_only and (features != "raw" or wanted != BRANCHES):
        raise UserError("features and out_indices have an effect with features_only=True only")
    if pretrained and checkpoint:
        raise UserError("pretrained=True and checkpoint both name weights to start from: leave out one of them")
    if pretrained:
        from mindcv_hrnet.weights.pretrained import fetch

        checkpoint = str(fetch(published_at(name), instead="pass checkpoint=FILE"))

    network: nn.Cell
    if features_only:
        network = HRNetFeatures(
            spec,
            in_channels=in_channels,
            out_indices=wanted,
            widened=features == "incre",
            drop_path_rate=drop_path_rate,
        )
    else:
        network = HRNet(
            spec,
            num_classes=num_classes,
            in_channels=in_channels,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
        )
    if checkpoint:
        _start_from(network, name, checkpoint)
    return network


def _start_from(network: nn.Cell, name: str, checkpoint: str) -> None:
    # Only those who load weights need the modules that read them.
    from mindcv_hrnet.weights import adapt_weights, count_classes, read_checkpoint
    from mindcv_hrnet.weights.manifest import file_of_weights

    file = file_of_weights(checkpoint)
    arrays = read_checkpoint(file)
    check_variant(name, arrays, file, 'create_model("{}", ...)')
    ours = network.num_classes if isinstance(network, HRNet) else 0
    if ours and expand_home(checkpoint).is_dir() and (theirs := count_classes(arrays, file)) != ours:
        raise CheckpointError(
            f"{checkpoint}: has {theirs} classes, the network {ours}; pass num_classes={theirs}, "
            f"or checkpoint={file!r} to start other classes from it"
        )
    adapt_weights(network, arrays, file, unused_by(network))
