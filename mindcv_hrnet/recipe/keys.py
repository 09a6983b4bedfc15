"""Every recipe key once, with its type, default, choices and meaning, grouped by who reads it. Keys are MindCV's.

Imports no MindSpore.
"""

from dataclasses import dataclass

from mindcv_hrnet.models.amp_names import AMP_LEVELS
from mindcv_hrnet.models.stages import FREEZABLE
from mindcv_hrnet.models.variants import VARIANTS
from mindcv_hrnet.recipe.schema import option

SCHEDULERS = (
    *("constant", "cosine_decay", "exponential_decay", "step_decay", "multi_step_decay"),
    *("polynomial_decay", "one_cycle", "cyclic"),
)
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "lion", "rmsprop", "adagrad", "lamb", "nadam")
# Data sets that are read from their authors' files
ORIGINAL_DATASETS = ("cifar10", "cifar100", "mnist", "fashion_mnist")
# Curves from min_lr to lr and back, which contain their own warm-up
CYCLES = ("one_cycle", "cyclic")
MOST = 2**31 - 1
# Far beyond any run, and few enough for a table of learning rates
MOST_EPOCHS = 100_000
MOST_STEPS = 10**9
MOST_MINUTES = 60 * 24 * 365


DEVICES = ("auto", "Ascend", "GPU", "CPU")


@dataclass(frozen=True)
class SystemConfig:
    """Where and how the job runs."""

    mode: int = option(0, "0: graph mode, 1: PyNative mode", choices=(0, 1))
    distribute: bool | None = option(
        None, "train on all devices that a launcher (mpirun, msrun, rank table) started; None: if one did"
    )
    device_target: str = option("auto", "device; auto takes the best that works here", choices=DEVICES)
    val_while_train: bool = option(False, "validate during training")
    val_interval: int = option(1, "epochs between validations", low=1, high=MOST_EPOCHS)
    log_interval: int | None = option(100, "steps between log lines; None: one line an epoch", low=1, high=MOST)
    log_format: str = option(
        "text", "lines on stdout for people, or one JSON object a line for machines", choices=("text", "json")
    )
    seed: int = option(42, "seed of weights, sample order and augmentation", low=0, below=2**31)
    jit_level: str | None = option(
        None,
        "how graphs run: O0 kernel by kernel, O1 with fused kernels, O2 as a whole; None: as the framework chooses",
        choices=("O0", "O1", "O2"),
    )
    compile_cache: bool = option(True, "keep compiled graphs for the next start of the same recipe (graph mode)")
    rank_timeout: float = option(
        120.0, "seconds without a sign of life from a rank after which the others end; 0: never", low=0, high=86400
    )


@dataclass(frozen=True)
class DataConfig:
    """Which samples, and how they become batches."""

    dataset: str = option(
        "imagenet",
        "imagenet, folder or empty: folders or tars of images; otherwise the original files of that data set",
        choices=("imagenet", "folder", "", *ORIGINAL_DATASETS),
    )
    data_dir: str = option("./", "folder that holds the splits, each with one folder per class, or the original files")
    train_split: str = option("train", "folder of the training split inside data_dir; of original files train")
    val_split: str = option("val", "folder of the validation split inside data_dir; of original files val or test")
    dataset_download: bool = option(False, "fetch original files that are missing in data_dir")
    num_parallel_workers: int = option(8, "decoding threads per device; clamped to the cores", low=1, high=1024)
    shuffle: bool = option(True, "draw a new sample order each epoch")
    num_samples: int | None = option(None, "use this many samples of the training split; None: all", low=1, high=MOST)
    batch_size: int = option(128, "images per device and step", low=1, high=65536)
    drop_remainder: bool = option(True, "drop an incomplete last batch; False: fill it with the epoch's first samples")
    eval_shuffle: bool = option(False, "validate in a shuffled order; the scores are the same")


@dataclass(frozen=True)
class AugmentationConfig:
    """From an image file to what the network sees."""

    image_resize: int = option(224, "side of the network's input, pixels", low=32, high=4096)
    scale: tuple[float, float] = option((0.08, 1.0), "random resized crop: area range", above=0, high=1)
    ratio: tuple[float, float] = option((0.75, 1.333), "random resized crop: aspect ratio range", above=0)
    hflip: float = option(0.5, "probability of a horizontal flip", low=0, high=1)
    vflip: float = option(0.0, "probability of a vertical flip", low=0, high=1)
    color_jitter: float | tuple[float, ...] | None = option(
        0.4, "brightness, contrast, saturation [, hue] strength; without effect under auto_augment", low=0
    )
    interpolation: str = option(
        "bilinear",
        "resampling",
        choices=("nearest", "bilinear", "bicubic", "area", "antialias", "pilcubic", "lanczos"),
    )
    auto_augment: str | None = option(None, "policy, such as randaug-m7-mstd0.5")
    aug_splits: int = option(0, "3: view each image three times, the first without auto_augment", choices=(0, 3))
    re_prob: float = option(0.0, "probability of random erasing", low=0, high=1)
    re_scale: tuple[float, float] = option((0.02, 0.33), "random erasing: area range", above=0, high=1)
    re_ratio: tuple[float, float] = option((0.3, 3.3), "random erasing: aspect ratio range", above=0)
    re_value: float | str = option(0, "random erasing: 0 (the mean colour) or random", choices=(0, "random"))
    re_max_attempts: int = option(10, "random erasing: tries to place the box", low=1, high=1000)
    mean: tuple[float, ...] = option((123.675, 116.28, 103.53), "subtracted per channel, in 0..255", low=0, high=255)
    std: tuple[float, ...] = option((58.395, 57.12, 57.375), "divided by per channel, in 0..255", above=0, high=255)
    crop_pct: float = option(
        0.875, "validation: central crop's share of the resized image; above 1 with a black border", above=0, high=2
    )
    mixup: float = option(0.0, "mixup alpha; 0: off", low=0)
    cutmix: float = option(0.0, "cutmix alpha; 0: off", low=0)
    cutmix_prob: float = option(1.0, "probability that a batch is mixed", low=0, high=1)
    mixup_off_epoch: int = option(0, "mix no batch after this many epochs; 0: mix to the end", low=0, high=MOST_EPOCHS)
    aug_repeats: int = option(
        0, "times that each drawn image comes in a row, on different ranks; an epoch keeps its length", low=0, high=1000
    )


@dataclass(frozen=True)
class ModelConfig:
    """The network and the weights that it starts from."""

    model: str = option("hrnet_w32", "network", choices=tuple(VARIANTS))
    num_classes: int | None = option(
        None, "classes; None: as many as the data set or the checkpoint has", low=1, high=1000000
    )
    in_channels: int = option(3, "image channels", choices=(1, 3))
    drop_rate: float | None = option(None, "dropout before the classifier", low=0, below=1)
    drop_path_rate: float | None = option(
        None, "stochastic depth: rate of the last residual block, growing from 0 in the first", low=0, below=1
    )
    pretrained: bool = option(False, "start from the published weights, fetched once; ckpt_path wins over them")
    pretrained_url: str = option("", "where pretrained weights are (http://, https://, hf://); empty: MindCV's own")
    ckpt_path: str = option("", "weights to validate, export, finetune from or resume")
    class_names_override: bool = option(
        False, "number classes as the data set does, whatever names the checkpoint has for them"
    )
    amp_level: str = option("O0", "mixed precision in training; O0 is float32", choices=AMP_LEVELS)
    val_amp_level: str = option(
        "O0", "mixed precision of the commands validate and export; a run validates at amp_level", choices=AMP_LEVELS
    )
    amp_dtype: str = option("fp16", "half precision of both levels", choices=("fp16", "bf16"))
    amp_cast_list: tuple[str, ...] | None = option(
        None,
        "layers, such as [nn.Conv2d, nn.Dense], that amp_level O1 casts and O2 keeps in float32; not of other levels",
    )


@dataclass(frozen=True)
class TrainConfig:
    """The loop around the training step, and what a run keeps."""

    epoch_size: int = option(90, "epochs", low=1, high=MOST_EPOCHS)
    dataset_sink_mode: bool = option(True, "feed the device from a queue; MindSpore has it on Ascend and GPU only")
    ckpt_save_dir: str = option("./ckpt", "run folder: recipe, metrics, checkpoints")
    ckpt_save_interval: int = option(1, "epochs between checkpoints", low=1, high=MOST_EPOCHS)
    ckpt_save_steps: int | None = option(
        None,
        "save the training state also every so many steps, to go on within an epoch; None: by the clock",
        low=1,
        high=MOST_STEPS,
    )
    ckpt_save_minutes: float = option(
        10.0, "save the training state also after so many minutes; 0: never", low=0, high=MOST_MINUTES
    )
    ckpt_save_policy: str = option(
        "latest_k", "which checkpoints stay: the newest, or the best by top-1", choices=("latest_k", "top_k")
    )
    keep_checkpoint_max: int = option(10, "checkpoints that stay, besides best and last", low=1, high=MOST_EPOCHS)
    tensorboard: bool = option(True, "write TensorBoard's event files, to events/ in the run folder")
    tracker: str | None = option(
        None, "service that is told the same numbers; needs its package", choices=("wandb", "mlflow", "swanlab")
    )
    resume_opt: bool = option(
        False, "continue the run in ckpt_save_dir, or else the one that wrote ckpt_path, optimizer and all"
    )
    resume_override: bool = option(False, "continue it although the recipe has changed")
    nan_patience: int = option(
        0,
        "losses in a row that may be NaN or infinite, and their updates skipped, before the run ends",
        low=0,
        high=MOST_STEPS,
    )
    ema: bool = option(False, "train, but validate and save an exponential moving average of the weights")
    ema_decay: float = option(0.9999, "decay of the moving average", above=0, below=1)
    freeze: tuple[str, ...] | None = option(None, "parts of the network that stay as they are", choices=FREEZABLE)
    sync_bn: bool = option(False, "batch-norm statistics over the images of all ranks instead of each rank's own")
    recompute: bool = option(False, "save memory: compute activations again in the backward pass (graph mode)")
    clip_grad: bool = option(False, "clip the global gradient norm")
    clip_value: float = option(15.0, "largest global gradient norm", above=0)
    gradient_accumulation_steps: int = option(1, "steps whose mean gradient makes one update", low=1, high=1000000)


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become weights."""

    opt: str = option("adam", "optimizer", choices=OPTIMIZERS)
    momentum: float = option(0.9, "momentum of sgd, momentum, nesterov and rmsprop", low=0, below=1)
    weight_decay: float = option(1e-6, "weight decay", low=0)
    use_nesterov: bool = option(False, "Nesterov momentum in sgd, momentum and adam")
    weight_decay_filter: str = option(
        "disable",
        "parameters without decay; disable: none, auto: batch norm, norm_and_bias: batch norm and biases",
        choices=("disable", "auto", "norm_and_bias"),
    )
    eps: float | None = option(
        None, "term that keeps the denominator of adaptive optimizers from zero; None: each one's own", above=0
    )
    layer_decay: float | None = option(
        None, "learning-rate factor of a part to the one above: once in stage4, five times in the stem", above=0, high=1
    )
    head_lr_factor: float = option(1.0, "learning-rate factor of the head", above=0)


@dataclass(frozen=True)
class SchedulerConfig:
    """The learning rate at every step."""

    scheduler: str = option("cosine_decay", "curve after warm-up", choices=SCHEDULERS)
    lr: float = option(1e-3, "learning rate after warm-up", above=0)
    min_lr: float = option(1e-6, "where cosine_decay and one_cycle end and cyclic turns", low=0)
    warmup_epochs: int = option(3, "epochs of linear warm-up", low=0, high=MOST_EPOCHS)
    warmup_factor: float = option(0.0, "warm-up starts at lr times this", low=0, high=1)
    decay_epochs: int = option(
        100, "cosine_decay: epochs from lr to min_lr; step_decay: epochs per step", low=1, high=MOST_EPOCHS
    )
    decay_rate: float = option(
        0.9, "factor per step or milestone, or per epoch of exponential_decay; power of polynomial_decay", above=0
    )
    multi_step_decay_milestones: tuple[int, ...] = option(
        (30, 60, 90), "multi_step_decay: epochs after warm-up at which the rate falls", low=1, high=MOST_EPOCHS
    )
    lr_epoch_stair: bool = option(False, "change the rate once per epoch instead of every step")
    num_cycles: int = option(
        1, "cosine_decay: cycles, one more than restarts; cyclic: triangles", low=1, high=MOST_EPOCHS
    )
    cycle_decay: float = option(1.0, "cosine_decay: factor on lr at each restart", above=0, high=1)


@dataclass(frozen=True)
class LossConfig:
    """What is minimised, and how it is scaled for half precision."""

    loss: str = option(
        "CE",
        "CE: softmax cross entropy, BCE: sigmoid cross entropy per class, asl: asymmetric, JSD: AugMix's, of 3 views",
        choices=("CE", "BCE", "asl_single_label", "asl_multi_label", "JSD"),
    )
    label_smoothing: float = option(0.0, "share of the target spread over all classes", low=0, below=1)
    aux_factor: float = option(0.0, "weight of auxiliary outputs; HRNet has none, a run says so", low=0)
    reduction: str = option("mean", "over the batch", choices=("mean", "sum"))
    loss_scale_type: str = option("fixed", "how the loss scale moves", choices=("fixed", "dynamic", "auto"))
    loss_scale: float = option(1.0, "factor on the loss before the backward pass", above=0)
    drop_overflow_update: bool | None = option(
        None, "fixed loss scale: skip updates whose gradients overflow; None: in half precision"
    )


@dataclass(frozen=True)
class ValidationConfig:
    """What the command validate adds to its line of scores."""

    predictions: str = option("", "CSV file to write: the five likeliest classes of every image; empty: none")
    per_class: bool = option(False, "print the accuracy of each class, lowest first")
    class_map: str = option(
        "", "JSON file {folder: class name or number} for a split whose folders have other names; empty: none"
    )
    present_classes: bool = option(
        False, "choose among the classes that the split has, as ImageNet-A and -R are measured"
    )
    real_labels: str = option("", "JSON file of ImageNet-ReaL (real.json), for one more score; empty: none")


@dataclass(frozen=True)
class ExportConfig:
    """The deployment file."""

    file_format: tuple[str, ...] = option(
        ("MINDIR",), "one file for each; AIR on Ascend only", choices=("MINDIR", "ONNX", "AIR")
    )
    file_name: str = option(
        "", "file to write, with or without its suffix; empty: the model's name, beside the checkpoint"
    )
    export_batch_size: int = option(0, "fixed batch size; 0: any", low=0, high=65536)
    export_dynamic_size: bool = option(False, "ONNX: images of any height and width from 32 up")
    export_input: str = option(
        "float32", "what the file takes: normalised float32, or uint8 pixels", choices=("float32", "uint8")
    )
    export_features: str | None = option(
        None,
        "the backbone's four maps instead of the classifier: raw as they leave stage 4, or incre, widened by the head",
        choices=("raw", "incre"),
    )
