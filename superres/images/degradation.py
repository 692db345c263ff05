"""What people's pictures have been through: other reductions, blur, noise, JPEG, and JPEG again.

The ranges are those of photographs as they are found, not of ruined ones. Others' for comparison:
Real-ESRGAN and BSRGAN save as JPEG of quality 30 to 95, twice; waifu2x of 37 to 98, a part of them
again after a shift of 0 to 7 pixels; FBCNN gains 1.3 dB on pictures that were saved twice by
training on such.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from superres.images.quality import LOSSLESS, TRAINED, told
from superres.runtime.errors import InputError

CLEAN_SHARE = 1 / 5  # of the pictures that are left as they are: what is clean must stay sharp
# A camera, a browser or an editor reduces by other kernels than MATLAB's bicubic.
OTHER_KERNEL_SHARE = 0.05
KERNELS = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
# A lens a little out of focus: standard deviation in LR pixels.
BLUR_SHARE, BLUR_SIGMA = 0.02, (0.3, 0.8)
# A sensor in moderate light, before the camera saves: standard deviation in levels.
NOISE_SHARE, NOISE_SIGMA = 0.02, (0.5, 4.0)
# WordPress saves at 82, Pillow and the IJG at 75, cameras above 90, messengers below 50.
JPEG_SHARE, JPEG_QUALITY = 0.95, TRAINED
USUAL_SHARE, USUAL_QUALITY = 0.5, (70, 98)  # half of the savings at least are in this range
SUBSAMPLED_SHARE = 0.75  # 4:2:0, which most programs write; the rest 4:4:4
# Of the JPEGs: saved again, at another quality and perhaps cut before. Few, since a network that
# sees many of these must expect more loss than the table tells; how few was not tried by itself.
TWICE_SHARE = 0.1
BLOCK = 16  # pixels a side of what JPEG codes together, with 4:2:0


@dataclass(frozen=True)
class Saving:
    """One saving as JPEG.

    Attributes:
        quality: 1 to 100, as libjpeg has it.
        is_subsampled: 4:2:0, or 4:4:4.
        shift: rows and columns by which its blocks are shifted.
    """

    quality: int
    is_subsampled: bool = True
    shift: tuple = (0, 0)


@dataclass(frozen=True)
class Degradation:
    """What a LR picture goes through, in this order.

    Attributes:
        kernel: by which it is reduced, bicubic or one of `KERNELS`.
        blur: standard deviation in LR pixels; 0: none.
        noise: standard deviation in levels; 0: none.
        savings: tuple of `Saving`.
    """

    kernel: str = "bicubic"
    blur: float = 0.0
    noise: float = 0.0
    savings: tuple = ()

    @property
    def quality(self):
        """What networks are told: of the last saving, which is that which the file tells of."""
        return told(self.savings[-1].quality) if self.savings else LOSSLESS

    def __str__(self):
        words = [self.kernel] if self.kernel != "bicubic" else []
        words += [f"blur {self.blur:.1f}"] if self.blur else []
        words += [f"noise {self.noise:.1f}"] if self.noise else []
        for saving in self.savings:
            chroma = "4:2:0" if saving.is_subsampled else "4:4:4"
            words.append(f"JPEG {saving.quality} {chroma}")
        return ", ".join(words) or "clean"


def draw(random):
    """A random `Degradation`, by a NumPy generator."""

    def happens(share):
        return random.random() < share

    if happens(CLEAN_SHARE):
        return Degradation()
    kernel = str(random.choice(list(KERNELS))) if happens(OTHER_KERNEL_SHARE) else "bicubic"
    blur = float(random.uniform(*BLUR_SIGMA)) if happens(BLUR_SHARE) else 0.0
    noise = float(random.uniform(*NOISE_SIGMA)) if happens(NOISE_SHARE) else 0.0
    savings = []
    if happens(JPEG_SHARE):
        is_subsampled = happens(SUBSAMPLED_SHARE)
        for _ in range(2 if happens(TWICE_SHARE) else 1):
            least, most = USUAL_QUALITY if happens(USUAL_SHARE) else JPEG_QUALITY
            quality = int(random.integers(least, most + 1))
            shift = tuple(random.integers(0, BLOCK, 2).tolist())
            savings.append(Saving(quality, is_subsampled, shift))
    return Degradation(kernel, blur, noise, tuple(savings))


def named(name):
    """A `Degradation` by its name: `jpeg75` for one of quality 75; 4:2:0.

    Raises:
        InputError: there is none of this name.
    """
    quality = name.removeprefix("jpeg")
    if not name.startswith("jpeg") or not quality.isdecimal() or not 1 <= int(quality) <= 100:
        raise InputError(
            f"DEGRADATION = {name!r}: expected photo, or jpeg and a quality from 1 to 100, such as "
            "jpeg75"
        )
    return Degradation(savings=(Saving(int(quality)),))


def of_picture(name, number):
    """The `Degradation` of a picture of a test set, and the generator of its noise.

    Args:
        name: as for `named`; or `photo` for a random one, which is the same in every run.
        number: of the picture.

    Raises:
        InputError: as `named`.
    """
    random = np.random.default_rng(number)
    return (draw(random) if name == "photo" else named(name)), random


def save_as_jpeg(picture, saving):
    """A picture, coded as JPEG and decoded: uint8 (H, W) or (H, W, 3), as it was."""
    top, left = saving.shift
    # In front of the picture are rows and columns that the blocks begin with.
    padded = cv2.copyMakeBorder(picture, top, 0, left, 0, cv2.BORDER_REFLECT_101)
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        if saving.is_subsampled
        else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, saving.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    is_grey = picture.ndim == 2
    bgr = padded if is_grey else cv2.cvtColor(padded, cv2.COLOR_RGB2BGR)
    _, coded = cv2.imencode(".jpg", bgr, options)
    decoded = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR)
    decoded = decoded if is_grey else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return decoded[top:, left:]


def degrade(degradation, lr, hr, scale, random=None):
    """What becomes of a LR picture.

    Args:
        degradation: `Degradation`.
        lr: uint8 (H, W) or (H, W, 3), reduced by MATLAB's bicubic, or as it was given.
        hr: uint8 (scale * H, scale * W[, 3]), of which other kernels make another; `None`: there
            is none, so only `lr` is used.
        scale: of the reduction.
        random: NumPy generator of the noise; needed where there is some.

    Returns:
        uint8 of the shape of `lr`.
    """
    height, width = lr.shape[:2]
    if degradation.kernel != "bicubic" and hr is not None:
        image = Image.fromarray(hr).resize((width, height), KERNELS[degradation.kernel])
        lr = np.asarray(image)
    if degradation.blur:
        lr = cv2.GaussianBlur(lr, (0, 0), degradation.blur)
    if degradation.noise:
        noisy = lr + random.normal(0, degradation.noise, lr.shape)
        lr = np.floor(np.clip(noisy, 0, 255) + 0.5).astype(np.uint8)
    for saving in degradation.savings:
        lr = save_as_jpeg(lr, saving)
    return lr
