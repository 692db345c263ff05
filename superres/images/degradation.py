"""Degradation as people's pictures have it: reduced, blurred, sharpened, noisy, saved twice.

The ranges are those of everyday photographs, not of ruined ones. For comparison: Real-ESRGAN and
BSRGAN degrade twice, with blur up to 3 pixels, noise up to 30 levels and JPEG from 30 to 95;
waifu2x saves at 37 to 98, sometimes again after a shift of 0 to 7 pixels; FBCNN, trained on
pictures that were saved twice, gains 1.3 dB on them.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from superres.images.estimate import MAX_BLUR, MAX_NOISE
from superres.images.quality import LOSSLESS, network_quality
from superres.runtime.errors import InputError

WILD = "wild"  # in settings: a random degradation
# Share of all pictures that stay clean: photo networks also get PNGs, which must stay sharp.
CLEAN_SHARE = 0.15
# Share of the rest that is only encoded, some twice: without it networks get worse on plain JPEGs.
# The shares below are of what then remains, each independent of the others.
JPEG_ONLY_SHARE, TWICE_SHARE = 0.3, 0.4
# Share that was saved as a larger JPEG and then reduced, as sites and messengers do.
EARLIER_SHARE, EARLIER_FACTOR, EARLIER_QUALITY = 0.4, (1.1, 2.0), (50, 95)
# A camera, a browser or an editor reduces by other kernels than MATLAB's bicubic.
OTHER_KERNEL_SHARE = 0.5
KERNELS = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
# A lens a little out of focus, a scanner, a hand that moved: standard deviation in LR pixels.
BLUR_SHARE, BLUR_SIGMA = 0.4, (0.2, MAX_BLUR)
# Phones in the evening and scanned film: standard deviation in levels. In half of these pictures it
# is the same in all channels, like grain; a third are smoothed, as by cameras: blotches remain.
NOISE_SHARE, NOISE_SIGMA = 0.4, (1.0, MAX_NOISE)
GREY_NOISE_SHARE, SMOOTHED_SHARE, SMOOTHING_SIGMA = 0.5, 1 / 3, (0.3, 0.6)
# Sites sharpen what they have reduced: an unsharp mask.
SHARPENED_SHARE, SHARPENED_AMOUNT, SHARPENED_RADIUS = 0.25, (0.3, 1.5), (0.5, 1.2)
# WordPress saves at 82, Pillow and the IJG at 75, cameras above 90, messengers below 50.
JPEG_SHARE, JPEG_QUALITY = 0.85, (30, 98)
SUBSAMPLED_SHARE = 0.75  # 4:2:0, which most programs write; the rest 4:4:4
SAMPLING = {True: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, False: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}
WEBP_SHARE = 0.05
BLOCK = 16  # side of JPEG's coding blocks in pixels, with 4:2:0


@dataclass(frozen=True)
class Encoding:
    """One saving of a picture, as JPEG or WebP."""

    quality: int  # 1 to 100, libjpeg's or libwebp's
    is_subsampled: bool = True  # 4:2:0, or 4:4:4; WebP always is
    shift: tuple = (0, 0)  # of its blocks, in rows and columns
    is_webp: bool = False

    def __str__(self):
        if self.is_webp:
            return f"WebP {self.quality}"
        return f"JPEG {self.quality} {'4:2:0' if self.is_subsampled else '4:4:4'}"


@dataclass(frozen=True)
class Degradation:
    """In this order: earlier encoding, kernel, blur, noise, smoothing, unsharp mask, encodings."""

    kernel: str = "bicubic"  # of the reduction: bicubic or one of `KERNELS`
    blur: float = 0.0  # standard deviation in LR pixels
    noise: float = 0.0  # standard deviation in levels
    encodings: tuple = ()  # of `Encoding`
    factor: float = 1.0  # size at which it was encoded earlier, as a multiple of the LR size
    earlier: Encoding | None = None
    is_noise_grey: bool = False  # whether the noise is the same in all channels
    smoothing: float = 0.0  # blur after the noise: standard deviation in LR pixels
    amount: float = 0.0  # of an unsharp mask
    radius: float = 0.0

    @property
    def quality(self):
        """`Condition.quality` after the last encoding, which is the one that a file shows."""
        return network_quality(self.encodings[-1].quality) if self.encodings else LOSSLESS

    @property
    def sharpening(self):
        """As `Condition` has it: of a sine wave with a period of 4 pixels."""
        return self.amount * (1 - math.exp(-((math.pi * self.radius) ** 2) / 8))

    def __str__(self):
        words = [f"{self.factor:.1f} times as large, {self.earlier}"] if self.earlier else []
        words += [self.kernel] if self.kernel != "bicubic" else []
        words += [f"blur {self.blur:.1f}"] if self.blur else []
        words += (
            [f"{'grey ' if self.is_noise_grey else ''}noise {self.noise:.1f}"] if self.noise else []
        )
        words += ["smoothed"] if self.smoothing else []
        words += [f"sharpened {self.amount:.1f}"] if self.amount else []
        return ", ".join([*words, *map(str, self.encodings)]) or "clean"


def random_degradation(random):
    """A `Degradation` by a NumPy generator."""

    def happens(share):
        return random.random() < share

    def number(limits):
        return float(random.uniform(*limits))

    def encoding(limits):
        quality, shift = int(random.integers(*limits, endpoint=True)), random.integers(0, BLOCK, 2)
        is_subsampled = happens(SUBSAMPLED_SHARE)
        return Encoding(quality, is_subsampled, tuple(shift.tolist()), happens(WEBP_SHARE))

    if happens(CLEAN_SHARE):
        return Degradation()
    if happens(JPEG_ONLY_SHARE):
        times = 2 if happens(TWICE_SHARE) else 1
        return Degradation(encodings=tuple(encoding(JPEG_QUALITY) for _ in range(times)))
    fields = {}
    if happens(EARLIER_SHARE):
        fields |= {"factor": number(EARLIER_FACTOR), "earlier": encoding(EARLIER_QUALITY)}
    if happens(OTHER_KERNEL_SHARE):
        fields["kernel"] = str(random.choice(list(KERNELS)))
    if happens(BLUR_SHARE):
        fields["blur"] = number(BLUR_SIGMA)
    if happens(NOISE_SHARE):
        fields |= {"noise": number(NOISE_SIGMA), "is_noise_grey": happens(GREY_NOISE_SHARE)}
        fields["smoothing"] = number(SMOOTHING_SIGMA) if happens(SMOOTHED_SHARE) else 0.0
    if happens(SHARPENED_SHARE):
        fields |= {"amount": number(SHARPENED_AMOUNT), "radius": number(SHARPENED_RADIUS)}
    if happens(JPEG_SHARE):
        fields["encodings"] = (encoding(JPEG_QUALITY),)
    return Degradation(**fields)


def parse_degradation(name):
    """The `Degradation` of a name: `jpeg75` for quality 75 in 4:2:0; InputError for others."""
    quality = name.removeprefix("jpeg")
    if not name.startswith("jpeg") or not quality.isdecimal() or not 1 <= int(quality) <= 100:
        expected = "expected wild, or jpeg and a quality from 1 to 100, such as jpeg75"
        raise InputError(f"DEGRADATION = {name!r}: {expected}")
    return Degradation(encodings=(Encoding(int(quality)),))


def degradation_of(name, number):
    """The `Degradation` of a test set's picture by its number, and the generator of its noise.

    `WILD` names a random one, the same in every run.
    """
    random = np.random.default_rng(number)
    return (random_degradation(random) if name == WILD else parse_degradation(name)), random


def recompress(picture, encoding):
    """A picture, uint8 (H, W) or (H, W, 3), encoded and decoded again."""
    top, left = encoding.shift
    # The first blocks begin above and left of the picture.
    padded = cv2.copyMakeBorder(picture, top, 0, left, 0, cv2.BORDER_REFLECT_101)
    options = [cv2.IMWRITE_JPEG_QUALITY, encoding.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    options += [SAMPLING[encoding.is_subsampled]]
    options = [cv2.IMWRITE_WEBP_QUALITY, encoding.quality] if encoding.is_webp else options
    is_grey = picture.ndim == 2
    bgr = padded if is_grey else cv2.cvtColor(padded, cv2.COLOR_RGB2BGR)
    _, coded = cv2.imencode(".webp" if encoding.is_webp else ".jpg", bgr, options)
    decoded = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR)
    decoded = decoded if is_grey else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return decoded[top:, left:]


def degrade(degradation, lr, hr, scale, random=None):
    """The degraded LR picture, uint8 of the shape of `lr`.

    Args:
        degradation: `Degradation`.
        lr: uint8 (H, W) or (H, W, 3), reduced by MATLAB's bicubic.
        hr: uint8 (scale * H, scale * W[, 3]); `None`: without kernel and earlier encoding.
        scale: of the reduction.
        random: NumPy generator of the noise, if there is some.
    """
    height, width = lr.shape[:2]
    if hr is not None and (degradation.earlier or degradation.kernel != "bicubic"):
        if degradation.earlier:
            sides = [round(degradation.factor * length) for length in (width, height)]
            hr = np.asarray(Image.fromarray(hr).resize(sides, Image.Resampling.LANCZOS))
            hr = recompress(hr, degradation.earlier)
        kernel = KERNELS.get(degradation.kernel, Image.Resampling.BICUBIC)
        lr = np.asarray(Image.fromarray(hr).resize((width, height), kernel))
    if degradation.blur:
        lr = cv2.GaussianBlur(lr, (0, 0), degradation.blur)
    if degradation.noise:
        shape = (*lr.shape[:2], 1)[: lr.ndim] if degradation.is_noise_grey else lr.shape
        noisy = lr + random.normal(0, degradation.noise, shape)
        lr = np.floor(np.clip(noisy, 0, 255) + 0.5).astype(np.uint8)
    if degradation.smoothing:
        lr = cv2.GaussianBlur(lr, (0, 0), degradation.smoothing)
    if degradation.amount:
        blurred = cv2.GaussianBlur(lr, (0, 0), degradation.radius)
        lr = cv2.addWeighted(lr, 1 + degradation.amount, blurred, -degradation.amount, 0)
    for encoding in degradation.encodings:
        lr = recompress(lr, encoding)
    return lr
