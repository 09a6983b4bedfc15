"""The colours, canvases and transform that tests of policies compare with Pillow on."""

import cv2
from PIL import Image

from mindcv_hrnet.data.augment.operations import Canvas

FILL = (124, 116, 104)
RECIPE = Canvas(FILL, cv2.INTER_LINEAR)
PAPER = Canvas(FILL, cv2.INTER_LINEAR, canonical=True)


def transform(image, matrix):
    """Pillow's affine transform as the policies' shears and shifts are."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=FILL)
