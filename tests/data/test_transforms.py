import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from mindcv_hrnet.data import transforms as T
from mindcv_hrnet.data.decode import decode
from mindcv_hrnet.data.rng import Purpose, uniforms
from mindcv_hrnet.errors import ConfigError

FILL = (124, 116, 104)
SMOOTH = ImageFilter.Kernel((3, 3), (1, 2, 1, 2, 4, 2, 1, 2, 1), 16)


def difference(a, b):
    """Mean absolute difference in levels of 255."""
    return np.abs(np.asarray(a, np.int32) - np.asarray(b, np.int32)).mean()


def pil_affine(image, a, b, x, c, d, y):
    """Pillow maps output to input, with pixel centres at 0.5; a..y map input to output about the centre."""
    width, height = image.size
    inverse = np.linalg.inv([[a, b, x], [c, d, y], [0, 0, 1]])
    centre = np.array([width / 2, height / 2])
    offset = inverse[:2, :2] @ -centre + inverse[:2, 2] + centre
    coefficients = (*inverse[0, :2], offset[0], *inverse[1, :2], offset[1])
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=FILL)


def pil_hue(image, shift):
    h, s, v = image.convert("HSV").split()
    h = Image.fromarray(((np.asarray(h).astype(int) + int(shift * 255)) % 256).astype(np.uint8))
    return Image.merge("HSV", (h, s, v)).convert("RGB")


# name: (ours, Pillow's, mean absolute difference allowed)
TWINS = {
    "brightness 0.4": (lambda i: T.brightness(i, 0.4), lambda p: ImageEnhance.Brightness(p).enhance(0.4), 0.01),
    "brightness 1.36": (lambda i: T.brightness(i, 1.36), lambda p: ImageEnhance.Brightness(p).enhance(1.36), 0.01),
    "contrast 0.4": (lambda i: T.contrast(i, 0.4), lambda p: ImageEnhance.Contrast(p).enhance(0.4), 0.1),
    "contrast 1.9": (lambda i: T.contrast(i, 1.9), lambda p: ImageEnhance.Contrast(p).enhance(1.9), 0.1),
    "saturation 0": (lambda i: T.saturation(i, 0), lambda p: ImageEnhance.Color(p).enhance(0), 0.1),
    "saturation 1.36": (lambda i: T.saturation(i, 1.36), lambda p: ImageEnhance.Color(p).enhance(1.36), 0.1),
    "sharpness 0.1": (lambda i: T.sharpness(i, 0.1), lambda p: ImageEnhance.Sharpness(p).enhance(0.1), 0.6),
    "sharpness 1.9": (lambda i: T.sharpness(i, 1.9), lambda p: ImageEnhance.Sharpness(p).enhance(1.9), 0.6),
    "hue 0.1": (lambda i: T.hue(i, 0.1), lambda p: pil_hue(p, 0.1), 1.0),
    "hue -0.4": (lambda i: T.hue(i, -0.4), lambda p: pil_hue(p, -0.4), 1.0),
    "invert": (T.invert, ImageOps.invert, 0),
    "solarize 178": (lambda i: T.solarize(i, 178), lambda p: ImageOps.solarize(p, 178), 0),
    "solarize 0": (lambda i: T.solarize(i, 0), lambda p: ImageOps.solarize(p, 0), 0),
    "posterize 6": (lambda i: T.posterize(i, 6), lambda p: ImageOps.posterize(p, 6), 0),
    "posterize 1": (lambda i: T.posterize(i, 1), lambda p: ImageOps.posterize(p, 1), 0),
    "auto_contrast": (T.auto_contrast, ImageOps.autocontrast, 0.01),
    "equalize": (T.equalize, ImageOps.equalize, 0),
    "gaussian_blur": (lambda i: T.gaussian_blur(i, 0.85), lambda p: p.filter(SMOOTH), 1.0),
    "rotate 21": (
        lambda i: T.rotate(i, 21, FILL),
        lambda p: p.rotate(21, Image.Resampling.BILINEAR, fillcolor=FILL),
        0.8,
    ),
    "rotate -30": (
        lambda i: T.rotate(i, -30, FILL),
        lambda p: p.rotate(-30, Image.Resampling.BILINEAR, fillcolor=FILL),
        0.8,
    ),
    "shear x": (
        lambda i: T.affine(i, [[1, 0.21, 0], [0, 1, 0]], FILL),
        lambda p: pil_affine(p, 1, 0.21, 0, 0, 1, 0),
        0.8,
    ),
    "translate y": (
        lambda i: T.affine(i, [[1, 0, 0], [0, 1, -70.6]], FILL),
        lambda p: pil_affine(p, 1, 0, 0, 0, 1, -70.6),
        0.8,
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_operation_equals_pillow(name, photos, measured):
    ours, pillows, allowed = TWINS[name]
    for photo in photos:
        image = cv2.resize(photo, (224, 224), interpolation=cv2.INTER_AREA)
        before = image.copy()
        out = ours(image)
        assert out.dtype == np.uint8 and out.shape == image.shape
        measured(f"image {name}", out, pillows(Image.fromarray(image)))
        assert difference(out, pillows(Image.fromarray(image))) <= allowed <= 1
        assert (image == before).all()


@pytest.mark.parametrize("operation", [T.auto_contrast, T.equalize])
def test_flat_image_stays(operation):
    image = np.full((8, 8, 3), 77, np.uint8)
    assert (operation(image) == image).all()


def crops(count, shape, scale, ratio):
    return [T.draw_crop(uniforms(3, Purpose.SAMPLE, 0, i, 40), shape, scale, ratio) for i in range(count)]


def test_crop_area_and_ratio_are_drawn_from_their_ranges():
    boxes = crops(2000, (1000, 1000), (0.08, 1.0), (3 / 4, 4 / 3))
    area = np.array([box.height * box.width / 1e6 for box in boxes])
    log_ratio = np.log([box.width / box.height for box in boxes])
    assert all(box.top + box.height <= 1000 and box.left + box.width <= 1000 for box in boxes)
    assert 0.079 < area.min() < 0.1 and area.max() <= 1
    # a box that does not fit is drawn again, which costs large areas some of their share
    assert abs(area.mean() - 0.475) < 0.02 and abs(log_ratio.mean()) < 0.02
    small = log_ratio[area < 0.5]
    assert abs(small.std() - np.log(16 / 9) / np.sqrt(12)) < 0.01


def test_crop_falls_back_to_the_centre():
    box = T.draw_crop([0.5] * 40, (10, 1000), (1.0, 1.0), (0.75, 1.333))
    assert box == T.Box(top=0, left=493, height=10, width=13)
    assert T.draw_crop([0.5] * 40, (1, 1), (0.08, 1.0), (0.75, 1.333)) == T.Box(0, 0, 1, 1)


@pytest.mark.parametrize("method", T.INTERPOLATIONS)
@pytest.mark.parametrize("size", [48, 96, 160])
def test_reduced_decoding_stays_within_two_levels(size, method, photos, encoded):
    crop = T.RandomCrop(size, (0.08, 1.0), (0.75, 1.333), T.interpolation(method))
    differences, reductions = [], set()
    for photo in photos:
        jpeg = encoded(photo, quality=90)
        same_pixels = encoded(decode(jpeg), fmt="BMP")  # can only be decoded in full, which is quick
        for sample in range(20):
            drawn = uniforms(0, Purpose.SAMPLE, 0, sample, crop.draws)
            reduce = crop.place(drawn, photo.shape)[1]
            if reduce > 1:
                reductions.add(reduce)
                differences.append(difference(crop(jpeg, drawn), crop(same_pixels, drawn)))
            else:
                assert (crop(jpeg, drawn) == crop(same_pixels, drawn)).all()
    if method != "nearest":
        strongest = {48: 8, 96: 4, 160: 2}[size] // crop.method.margin
        assert reductions == {r for r in (2, 4, 8) if r <= strongest}
    assert not differences or np.mean(differences) <= 2


def test_nearest_never_averages(photos, encoded):
    crop = T.RandomCrop(48, (0.5, 1.0), (0.75, 1.333), T.interpolation("nearest"))
    drawn = uniforms(0, Purpose.SAMPLE, 0, 0, crop.draws)
    values = {tuple(pixel) for pixel in photos[0].reshape(-1, 3)}
    assert {tuple(pixel) for pixel in crop(encoded(photos[0], fmt="PNG"), drawn).reshape(-1, 3)} <= values


@pytest.mark.parametrize("name", T.INTERPOLATIONS)
@pytest.mark.parametrize("size, crop_pct", [(224, 0.875), (96, 1.0), (32, 0.6), (224, 1.15)])
def test_evaluation_equals_pillow(name, size, crop_pct, photos, encoded):
    resample = T.interpolation(name).pillow
    for photo in (photos[0], photos[1].transpose(1, 0, 2)):
        data = encoded(np.ascontiguousarray(photo), quality=90)
        out = np.empty((3, size, size), np.uint8)
        T.EvalTransform(size, crop_pct, resample)(data, out)
        image = Image.open(io.BytesIO(data)).convert("RGB")
        short, resize = min(image.size), int(size / crop_pct)
        resized = image.resize([resize * side // short for side in image.size], resample)
        # of an image that is smaller than the crop, what lies outside is black
        left, top = (round((side - size) / 2) if side >= size else -((size - side) // 2) for side in resized.size)
        expected = np.asarray(resized.crop((left, top, left + size, top + size)))
        assert difference(out.transpose(1, 2, 0), expected) <= 0.7


def test_unknown_interpolation_names_the_choices():
    with pytest.raises(ConfigError, match="'bilinar' is not accepted; choices: nearest, bilinear"):
        T.interpolation("bilinar")


def test_color_jitter_factors():
    grey = np.full((4, 4, 3), 100, np.uint8)
    jitter = T.ColorJitter((0.4, 0, 0))
    levels = [jitter(grey, uniforms(0, Purpose.SAMPLE, 0, i, jitter.draws))[0, 0, 0] for i in range(500)]
    assert 60 <= min(levels) < 63 and 137 < max(levels) <= 140
    assert T.ColorJitter(0.4)(grey, [0.5] * 8).tolist() == grey.tolist()  # factors of 1 in any order


def test_color_jitter_order_is_random(photos):
    jitter = T.ColorJitter((0.9, 0.9, 0.9, 0.3))
    first = jitter(photos[0], [0.1, 0.2, 0.3, 0.4, 0.9, 0.1, 0.9, 0.9])
    other = jitter(photos[0], [0.4, 0.3, 0.2, 0.1, 0.9, 0.1, 0.9, 0.9])
    assert (first != other).any()
    by_hand = T.hue(T.saturation(T.contrast(T.brightness(photos[0], 1.72), 0.28), 1.72), 0.24)
    assert np.abs(first.astype(int) - by_hand).max() <= 1


def test_color_jitter_wrong_length():
    with pytest.raises(ConfigError, match="2 values; give one, three or four"):
        T.ColorJitter((0.4, 0.4))
