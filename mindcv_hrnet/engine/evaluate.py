"""Measures a network on a split: every image exactly once, at any batch size and on any number of ranks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mindspore import Parameter, Tensor, nn

from mindcv_hrnet.data.loader import EvalLoader
from mindcv_hrnet.engine.metrics import BatchCounts
from mindcv_hrnet.engine.predictions import Collector
from mindcv_hrnet.engine.preprocess import Normalize
from mindcv_hrnet.recipe.keys import AugmentationConfig
from mindcv_hrnet.runtime.compiled import CompileCache
from mindcv_hrnet.runtime.distributed import Cluster, sum_over_ranks
from mindcv_hrnet.runtime.progress import Speed, progress_bar

FAR = 1e30  # what a class that is no choice is below the others
TOP5_NEEDS = 6  # with five classes or fewer every answer is among the first five


@dataclass(frozen=True)
class Evaluation:
    """Result of one pass: counts over `count` images, mean cross entropy, images per second over all ranks."""

    count: int
    correct1: int
    correct5: int | None
    loss: float
    images_per_second: float

    @property
    def top1(self) -> float:
        """Per cent."""
        return 100.0 * self.correct1 / self.count

    @property
    def top5(self) -> float | None:
        """Per cent; None with five classes or fewer."""
        return None if self.correct5 is None else 100.0 * self.correct5 / self.count

    @property
    def numbers(self) -> dict[str, float | None]:
        """For machines: scores in per cent, and what they were counted from."""
        scores = {"top1": self.top1, "top5": self.top5, "loss": self.loss}
        counts = {"images": self.count, "correct1": self.correct1, "correct5": self.correct5}
        return {**scores, **counts, "images_per_second": self.images_per_second}

    def __str__(self) -> str:
        top5 = "" if self.correct5 is None else f"  top-5 {self.top5:.2f} % ({self.correct5}/{self.count})"
        return (
            f"top-1 {self.top1:.2f} % ({self.correct1}/{self.count}){top5}  loss {self.loss:.5f}  "
            f"{self.images_per_second:.0f} images/s"
        )


class EvalStep(nn.Cell):
    """(images, labels, valid) of the loader -> (3,): correct top-1, correct top-5, summed loss; and (N, K) logits.

    `among`: the classes to choose from; None: all.
    """

    def __init__(self, network: nn.Cell, preprocess: nn.Cell, among: np.ndarray | None = None, num_classes: int = 0):
        super().__init__(auto_prefix=False)
        self.preprocess = preprocess
        self.network = network
        self.counts = BatchCounts()
        self.restricted = among is not None
        if among is not None:
            penalty = np.full(num_classes, -FAR, np.float32)
            penalty[among] = 0
            # a parameter, not a constant of the graph: another split is no other graph
            self.penalty = Parameter(Tensor(penalty), "penalty_of_absent_classes", requires_grad=False)

    def construct(self, images: Tensor, labels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) uint8, (N,) int32, (N,) float32 -> (3,) float32, (N, K) float32."""
        logits = self.network(self.preprocess(images))
        if self.restricted:
            logits = logits + self.penalty
        return self.counts(logits, labels, valid), logits


class Evaluator:
    """Measures a network on one split as often as asked. The network returns to the mode (train or not) it was in."""

    def __init__(
        self,
        network: nn.Cell,
        loader: EvalLoader,
        augmentation: AugmentationConfig,
        cluster: Cluster,
        graphs: CompileCache,
        *,
        present_classes: bool = False,
    ):
        self.network, self.loader, self.cluster, self.graphs = network, loader, cluster, graphs
        self.between: tuple[Callable[[], None], ...] = ()  # called after each batch
        among = np.unique(loader.source.labels) if present_classes else None
        normalize = Normalize(augmentation.mean, augmentation.std)
        self.step = EvalStep(network, normalize, among, len(loader.source.class_names))

    def __call__(self, collector: Collector | None = None) -> Evaluation:
        """One pass over the split, the same result on every rank. Raises DataError for an image that cannot be read.

        `collector` is given the answers for this rank's images.
        """
        was_training = self.network.training
        self.step.set_train(False)
        total = np.zeros(5)
        speed = Speed()
        with progress_bar(self.loader.steps, "validate", self.cluster) as bar:
            for step, (images, labels, valid) in enumerate(self.loader):
                with self.graphs.compiling(f"graph to evaluate {images.shape}"):
                    counts, logits = self.step(Tensor(images), Tensor(labels), Tensor(valid.astype(np.float32)))
                total[:4] += (*counts.asnumpy(), valid.sum())
                if collector:
                    collector.add(self.loader.samples(step)[valid], logits.asnumpy()[valid])
                speed.count(int(valid.sum()))
                bar.update()
                for call in self.between:
                    call()
        self.network.set_train(was_training)
        total[4] = speed.per_second
        correct1, correct5, loss, count, images_per_second = sum_over_ranks(total, self.cluster).tolist()
        return Evaluation(
            count=round(count),
            correct1=round(correct1),
            correct5=round(correct5) if len(self.loader.source.class_names) >= TOP5_NEEDS else None,
            loss=loss / count,
            images_per_second=images_per_second,
        )
