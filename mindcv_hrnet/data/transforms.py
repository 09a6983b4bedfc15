"""One image -> one image: elementary operations on (H, W, 3) uint8 RGB arrays, and the two chains made of them.

Nothing here draws a random number: factors, boxes and the uniforms that `TrainTransform` shares out come from the
caller. Every operation equals Pillow's of the same name to within one level on average (the tests hold it to that).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from mindcv_hrnet.data.decode import decode, decode_rows, jpeg_header
from mindcv_hrnet.errors import ConfigError

CROP_ATTEMPTS = 10

# OpenCV's addWeighted rounds, Pillow truncates: this turns the one into the other
_TRUNCATE = -0.5 + 1e-3


class Interpolation(NamedTuple):
    """A resampling method by its names in OpenCV (training) and Pillow (validation, with antialiasing).

    margin: how many times the wanted size a box must keep after decoding at a fraction, and `sharp` whether averaging
    cannot stand for the method then; with both every method stays within two levels of decoding in full.
    """

    cv: int
    pillow: Image.Resampling
    margin: int = 1
    sharp: bool = False


INTERPOLATIONS = {
    "nearest": Interpolation(cv2.INTER_NEAREST, Image.Resampling.NEAREST),
    "bilinear": Interpolation(cv2.INTER_LINEAR, Image.Resampling.BILINEAR),
    "bicubic": Interpolation(cv2.INTER_CUBIC, Image.Resampling.BICUBIC, sharp=True),
    "pilcubic": Interpolation(cv2.INTER_CUBIC, Image.Resampling.BICUBIC, sharp=True),
    "area": Interpolation(cv2.INTER_AREA, Image.Resampling.BOX, margin=2),
    "lanczos": Interpolation(cv2.INTER_LANCZOS4, Image.Resampling.LANCZOS, sharp=True),
    "antialias": Interpolation(cv2.INTER_LANCZOS4, Image.Resampling.LANCZOS, sharp=True),
}


def interpolation(name: str) -> Interpolation:
    """Look up a resampling method; ConfigError names the choices."""
    if name not in INTERPOLATIONS:
        raise ConfigError(f"interpolation: {name!r} is not accepted; choices: {', '.join(INTERPOLATIONS)}")
    return INTERPOLATIONS[name]


# --- elementary operations: (H, W, 3) uint8 -> (H, W, 3) uint8 -------------------------------------------------------


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with black: 0 gives black, 1 the image."""
    return cv2.addWeighted(image, factor, image, 0, _TRUNCATE)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the mean grey level of the image."""
    mean = int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return cv2.addWeighted(image, factor, image, 0, (1 - factor) * mean + _TRUNCATE)


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the grey image (Pillow calls it Color)."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, _TRUNCATE)


def hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turn the colour circle by `shift`, -0.5 to 0.5 of it."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] = hsv[..., 0] + np.uint8(int(shift * 255) % 256)  # wraps around, as hue does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the image smoothed by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13; the outermost pixels stay."""
    own = factor + (1 - factor) * 4 / 13
    blurred = cv2.blur(image, (3, 3))
    out = cv2.addWeighted(image, own, blurred, 1 - own, _TRUNCATE)
    out[0], out[-1], out[:, 0], out[:, -1] = image[0], image[-1], image[:, 0], image[:, -1]
    return out


def invert(image: np.ndarray) -> np.ndarray:
    """255 minus each value."""
    return cv2.bitwise_not(image)


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Invert every value at or above `threshold`."""
    _, mask = cv2.threshold(image, math.ceil(threshold) - 1, 255, cv2.THRESH_BINARY)
    return cv2.bitwise_xor(image, mask)


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keep the upper `bits` (0 to 8) of each value."""
    return image & np.uint8(0xFF00 >> bits & 0xFF)


def auto_contrast(image: np.ndarray) -> np.ndarray:
    """Stretch each channel to the full range."""
    channels = []
    for channel in cv2.split(image):
        low, high, _, _ = cv2.minMaxLoc(channel)
        if high > low:
            scale = 255 / (high - low)
            channel = cv2.addWeighted(channel, scale, channel, 0, -low * scale + _TRUNCATE)
        channels.append(channel)
    return cv2.merge(channels)


def equalize(image: np.ndarray) -> np.ndarray:
    """Flatten the histogram of each channel."""
    channels = []
    for channel in cv2.split(image):
        histogram = cv2.calcHist([channel], [0], None, [256], [0, 256]).ravel().astype(np.int64)
        last = histogram[np.flatnonzero(histogram)[-1]]
        step = (channel.size - last) // 255
        if step:
            below = np.cumsum(histogram) - histogram
            channel = cv2.LUT(channel, np.minimum((below + step // 2) // step, 255).astype(np.uint8))
        channels.append(channel)
    return cv2.merge(channels)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth with a 3 x 3 Gaussian kernel."""
    return cv2.GaussianBlur(image, (3, 3), sigma)


def affine(
    image: np.ndarray, matrix: Sequence[Sequence[float]], fill: Sequence[int], flag: int = cv2.INTER_LINEAR
) -> np.ndarray:
    """Move the pixel at offset p from the centre to `matrix` (2 x 3) times (p, 1); uncovered pixels get `fill`."""
    height, width = image.shape[:2]
    (a, b, x), (c, d, y) = matrix
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    around_centre = np.array(
        [
            [a, b, x + centre_x - a * centre_x - b * centre_y],
            [c, d, y + centre_y - c * centre_x - d * centre_y],
        ]
    )
    if flag == cv2.INTER_AREA:  # warpAffine has none
        flag = cv2.INTER_LINEAR
    return cv2.warpAffine(
        image, around_centre, (width, height), flags=flag, borderMode=cv2.BORDER_CONSTANT, borderValue=tuple(fill)
    )


def rotate(image: np.ndarray, degrees: float, fill: Sequence[int], flag: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Turn counter-clockwise about the centre."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return affine(image, [[cosine, sine, 0], [-sine, cosine, 0]], fill, flag)


# --- crops ---------------------------------------------------------------------------------------------------------


class Box(NamedTuple):
    """A rectangle in pixels of the full image."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(uniforms: Sequence[float], shape: Sequence[int], scale: Sequence[float], ratio: Sequence[float]) -> Box:
    """Random resized crop: area share uniform in `scale`, aspect ratio log-uniform in `ratio`, `CROP_ATTEMPTS` tries.

    `shape`: (H, W, ...) of the image. When none fits, the largest central box whose ratio is in range.
    Reads 4 * CROP_ATTEMPTS uniforms.
    """
    height, width = shape[:2]
    area = height * width
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    for attempt in range(0, 4 * CROP_ATTEMPTS, 4):
        share, aspect, across, down = uniforms[attempt : attempt + 4]
        target = area * (scale[0] + share * (scale[1] - scale[0]))
        w_over_h = math.exp(log_low + aspect * (log_high - log_low))
        box_width, box_height = round(math.sqrt(target * w_over_h)), round(math.sqrt(target / w_over_h))
        if 0 < box_width <= width and 0 < box_height <= height:
            top, left = int(down * (height - box_height + 1)), int(across * (width - box_width + 1))
            return Box(top, left, box_height, box_width)
    w_over_h = min(max(width / height, ratio[0]), ratio[1])
    box_width, box_height = max(1, min(width, round(height * w_over_h))), max(1, min(height, round(width / w_over_h)))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def reduction(box: Box, size: int) -> int:
    """The strongest of 8, 4, 2, 1 at which the box still has `size` pixels on both sides."""
    return next((r for r in (8, 4, 2) if min(box.height, box.width) // r >= size), 1)


class RandomCrop:
    """Random resized crop, decoding included: a JPEG with pixels to spare is decoded at 1/2, 1/4 or 1/8.

    A box that shrinks to half or less is antialiased, and lies on the grid of the reduced image whether or not its file
    can be decoded at that size.
    """

    draws = 4 * CROP_ATTEMPTS

    def __init__(self, size: int, scale: Sequence[float], ratio: Sequence[float], method: Interpolation) -> None:
        self.size, self.scale, self.ratio, self.method = size, scale, ratio, method

    def __call__(self, data: bytes, uniforms: Sequence[float]) -> np.ndarray:
        """(size, size, 3) uint8 RGB. Raises UnreadableImage."""
        header = jpeg_header(data)
        if header:
            box, reduce = self.place(uniforms, header)
            image = decode_rows(data, header, box.top + box.height, reduce)
            if image.shape[1] == -(-header.width // reduce) and image.shape[0] >= box.top + box.height:
                if reduce > 1 and self.method.sharp:
                    return self.antialiased(image, box)
                return self.resize(image, box, cv2.INTER_AREA if reduce > 1 else self.method.cv)
        # no JPEG, or one whose header says something else than its decoder
        image = decode(data)
        box, reduce = self.place(uniforms, image.shape)
        if reduce == 1:
            return self.resize(image, box, self.method.cv)
        return self.antialiased(image, Box(*(side * reduce for side in box)))

    def place(self, uniforms: Sequence[float], shape: Sequence[int]) -> tuple[Box, int]:
        """The box to take from an image of `shape` (H, W, ...), in pixels after the reduction that it allows."""
        box = draw_crop(uniforms, shape, self.scale, self.ratio)
        reduce = 1 if self.method.cv == cv2.INTER_NEAREST else reduction(box, self.size * self.method.margin)
        return Box(*(side // reduce for side in box)), reduce

    def resize(self, image: np.ndarray, box: Box, flag: int) -> np.ndarray:
        """(size, size, 3): the box by OpenCV, with `flag` as its resampling."""
        part = image[box.top : box.top + box.height, box.left : box.left + box.width]
        return cv2.resize(part, (self.size, self.size), interpolation=flag)

    def antialiased(self, image: np.ndarray, box: Box) -> np.ndarray:
        """(size, size, 3): the box by Pillow, whose kernels widen with the reduction."""
        edges = (box.left, box.top, box.left + box.width, box.top + box.height)
        return np.asarray(Image.fromarray(image).resize((self.size, self.size), self.method.pillow, box=edges))


def resize_centre_crop(image: np.ndarray, resize: int, size: int, resample: Image.Resampling) -> np.ndarray:
    """(size, size, 3): shorter side to `resize`, central crop, resampled as Pillow does, with antialiasing.

    Only the crop is computed. Where the resized image is smaller than the crop it is centred on black.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    new_height, new_width = resize * height // short, resize * width // short
    rows, columns = min(size, new_height), min(size, new_width)
    top, left = round((new_height - rows) / 2), round((new_width - columns) / 2)
    per_row, per_column = height / new_height, width / new_width
    box = (left * per_column, top * per_row, (left + columns) * per_column, (top + rows) * per_row)
    crop = np.asarray(Image.fromarray(image).resize((columns, rows), resample, box=box))
    if (rows, columns) == (size, size):
        return crop
    above, before = (size - rows) // 2, (size - columns) // 2
    return np.pad(crop, ((above, size - rows - above), (before, size - columns - before), (0, 0)))


Step = tuple[str, float, np.ndarray]  # operation, its strength, the image after it


class Augmentation(ABC):
    """An image operation in steps, whose choices are read from `draws` uniforms."""

    @property
    @abstractmethod
    def draws(self) -> int:
        """How many uniforms it reads."""

    @abstractmethod
    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[Step]:
        """(operation, its strength, the image after it) of what is applied, in order."""

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        """(H, W, 3) uint8: what the last step leaves; `image` itself if there is none."""
        return reduce(lambda _, step: step[2], self.steps(image, uniforms), image)


# --- chains --------------------------------------------------------------------------------------------------------


class ColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue by random factors, in random order.

    A strength s draws a factor from [max(0, 1 - s), 1 + s]; the fourth, hue, a shift from [-s, s].
    """

    draws = 8

    def __init__(self, strength: float | Sequence[float]) -> None:
        strengths = [float(strength)] * 3 if isinstance(strength, (int, float)) else [float(s) for s in strength]
        if len(strengths) not in (3, 4):
            raise ConfigError(f"color_jitter: {len(strengths)} values; give one, three or four")
        self._steps: list[tuple[Callable[[np.ndarray, float], np.ndarray], float, float]] = [
            (operation, max(0.0, 1 - s), 1 + s)
            for operation, s in zip((brightness, contrast, saturation), strengths, strict=False)
            if s
        ]
        if len(strengths) == 4 and strengths[3]:
            self._steps.append((hue, -strengths[3], strengths[3]))

    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[Step]:
        """(operation, factor, result) in the order drawn."""
        for place in sorted(range(len(self._steps)), key=lambda k: uniforms[k]):
            operation, low, high = self._steps[place]
            factor = low + uniforms[4 + place] * (high - low)
            image = operation(image, factor)
            yield operation.__name__, factor, image


class TrainTransform:
    """Encoded image -> (channels, size, size) uint8: random crop, flips with the given probabilities, `augment`.

    `draws` uniforms decide everything: the crop's come first, then two for the flips, then those of `augment`. So
    switching one step on or off leaves the others' choices as they are. With several `views` the first one is not
    augmented, and each of the others draws for itself; crop and flips are the same.
    """

    def __init__(
        self, crop: RandomCrop, hflip: float, vflip: float, augment: Augmentation | None = None, views: int = 1
    ) -> None:
        self.crop, self.hflip, self.vflip, self.augment, self.views = crop, hflip, vflip, augment, views
        self.draws = crop.draws + 2 + (augment.draws * max(1, views - 1) if augment else 0)

    def __call__(self, data: bytes, uniforms: Sequence[float], *outs: np.ndarray) -> None:
        """Write the image into `outs`, one (3 or 1, size, size) uint8 per view. Raises UnreadableImage."""
        *_, (_, _, image) = self._placed(data, uniforms)
        rest = uniforms[self.crop.draws + 2 : self.draws]
        for view, out in enumerate(outs, start=1 if self.views == 1 else 0):
            augmented = image
            if self.augment and view:
                augmented = self.augment(image, rest[(view - 1) * self.augment.draws :])
            store(augmented, out)

    def steps(self, data: bytes, uniforms: Sequence[float]) -> Iterator[Step]:
        """(operation, its strength, result) one by one, from the crop on; of several views the first augmented one."""
        for step in self._placed(data, uniforms):
            yield step
        if self.augment:
            yield from self.augment.steps(step[2], uniforms[self.crop.draws + 2 : self.draws])

    def _placed(self, data: bytes, uniforms: Sequence[float]) -> Iterator[Step]:
        """The steps that all views share."""
        image = self.crop(data, uniforms)
        yield "crop", 1.0, image
        horizontal, vertical = uniforms[self.crop.draws : self.crop.draws + 2]
        if horizontal < self.hflip:
            image = cv2.flip(image, 1)
            yield "hflip", 1.0, image
        if vertical < self.vflip:
            image = cv2.flip(image, 0)
            yield "vflip", 1.0, image


class EvalTransform:
    """Encoded image -> (channels, size, size) uint8: decode, resize to size / crop_pct, central crop."""

    def __init__(self, size: int, crop_pct: float, resample: Image.Resampling) -> None:
        self.size, self.resize, self.resample = size, math.floor(size / crop_pct), resample

    def __call__(self, data: bytes, out: np.ndarray) -> None:
        """Write the image into `out`, (3 or 1, size, size) uint8. Raises UnreadableImage."""
        self.place(decode(data), out)

    def place(self, image: np.ndarray, out: np.ndarray) -> None:
        """The same for (H, W, 3) uint8 RGB."""
        store(resize_centre_crop(image, self.resize, self.size, self.resample), out)


def store(image: np.ndarray, out: np.ndarray) -> None:
    """Copy an RGB image into its place in a batch, channels first; as grey where the batch has one channel."""
    if len(out) == 1:
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY, dst=out[0])
    else:
        cv2.split(image, list(out))
