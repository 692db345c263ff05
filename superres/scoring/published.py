"""What others have published about test sets."""

from typing import NamedTuple

BICUBIC_MARGIN = 0.25  # dB, for differences of border, rounding and cropping
SOURCES = {
    "EDSR-baseline": "Ahn et al., CARN, ECCV 2018 (on DIV2K: the authors' EDSR-PyTorch)",
    "EDSR": "Lim et al., CVPR workshops 2017, table 3 (on DIV2K: the authors' EDSR-PyTorch)",
}


class Published(NamedTuple):
    """Scores of a test set at one scale: PSNR and SSIM on Y; of DIV2K PSNR over RGB.

    Attributes:
        bicubic: PSNR of bicubic enlargement, from Lim et al.: other pictures in a folder of this
            name have another.
        methods: of each in `SOURCES` a tuple of its scores. EDSR-baseline's were measured by Ahn
            et al. from its weights. DIV2K's are inside a border of scale + 2 pixels.
    """

    bicubic: float
    methods: tuple


# Number of pictures, and what is published for each scale.
PUBLISHED = {
    "Set5": (
        5,
        {
            2: Published(33.66, ((37.99, 0.9604), (38.11, 0.9601))),
            3: Published(30.39, ((34.37, 0.9270), (34.65, 0.9282))),
            4: Published(28.42, ((32.09, 0.8938), (32.46, 0.8968))),
        },
    ),
    "Set14": (
        14,
        {
            2: Published(30.24, ((33.57, 0.9175), (33.92, 0.9195))),
            3: Published(27.55, ((30.28, 0.8417), (30.52, 0.8462))),
            4: Published(26.00, ((28.58, 0.7813), (28.80, 0.7876))),
        },
    ),
    "B100": (
        100,
        {
            2: Published(29.56, ((32.16, 0.8994), (32.32, 0.9013))),
            3: Published(27.21, ((29.09, 0.8052), (29.25, 0.8093))),
            4: Published(25.96, ((27.57, 0.7357), (27.71, 0.7420))),
        },
    ),
    "Urban100": (
        100,
        {
            2: Published(26.88, ((31.98, 0.9272), (32.93, 0.9351))),
            3: Published(24.46, ((28.15, 0.8527), (28.80, 0.8653))),
            4: Published(23.14, ((26.04, 0.7849), (26.64, 0.8033))),
        },
    ),
    "DIV2K": (
        100,
        {
            2: Published(31.01, ((34.61,), (35.03,))),
            3: Published(28.22, ((30.92,), (31.26,))),
            4: Published(26.66, ((28.95,), (29.25,))),
        },
    ),
}


def picture_count(name):
    """How many pictures a test set has of which something is published; `None` for others."""
    return PUBLISHED[name][0] if name in PUBLISHED else None


def published(name, scale, bicubic):
    """What others have published about a test set, all of whose pictures were scored.

    Args:
        name: one in `PUBLISHED`.
        scale: 2, 3 or 4.
        bicubic: mean scores of bicubic enlargement, as `metrics.score` has them.

    Returns:
        dict of method -> dict of psnr and ssim (on Y), or of rgb_psnr; empty when the
        pictures are others, as the PSNR of bicubic enlargement shows.
    """
    found = PUBLISHED[name][1][scale]
    keys = ("psnr", "ssim") if len(found.methods[0]) == 2 else ("rgb_psnr",)
    if not abs(bicubic[keys[0]] - found.bicubic) <= BICUBIC_MARGIN:
        return {}
    scores = (dict(zip(keys, values, strict=True)) for values in found.methods)
    return dict(zip(SOURCES, scores, strict=True))
