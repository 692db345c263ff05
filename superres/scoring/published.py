"""What others have published about test sets."""

COUNTS = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "DIV2K": 100}
# Scale -> test set -> PSNR and SSIM on Y of EDSR-baseline and of EDSR. EDSR from Lim et al.,
# 2017, table 3; the baseline from Ahn et al. (CARN), 2018, who measured its weights.
PUBLISHED = {
    2: {
        "Set5": ((37.99, 0.9604), (38.11, 0.9601)),
        "Set14": ((33.57, 0.9175), (33.92, 0.9195)),
        "B100": ((32.16, 0.8994), (32.32, 0.9013)),
        "Urban100": ((31.98, 0.9272), (32.93, 0.9351)),
    },
    3: {
        "Set5": ((34.37, 0.9270), (34.65, 0.9282)),
        "Set14": ((30.28, 0.8417), (30.52, 0.8462)),
        "B100": ((29.09, 0.8052), (29.25, 0.8093)),
        "Urban100": ((28.15, 0.8527), (28.80, 0.8653)),
    },
    4: {
        "Set5": ((32.09, 0.8938), (32.46, 0.8968)),
        "Set14": ((28.58, 0.7813), (28.80, 0.7876)),
        "B100": ((27.57, 0.7357), (27.71, 0.7420)),
        "Urban100": ((26.04, 0.7849), (26.64, 0.8033)),
    },
}
# The same two on DIV2K's validation pictures: PSNR over RGB, inside a border of scale + 2
# pixels; from the authors' repository, EDSR-PyTorch.
PUBLISHED_RGB = {2: (34.61, 35.03), 3: (30.92, 31.26), 4: (28.95, 29.25)}
PUBLISHED_METHODS = ("EDSR-baseline", "EDSR")
SOURCES = {
    "EDSR-baseline": "Ahn et al., CARN, ECCV 2018 (on DIV2K: the authors' EDSR-PyTorch)",
    "EDSR": "Lim et al., CVPR workshops 2017, table 3 (on DIV2K: the authors' EDSR-PyTorch)",
}
# Bicubic enlargement's PSNR, from Lim et al. too: other pictures in a folder of a test set's
# name have another.
PUBLISHED_BICUBIC = {
    2: {"Set5": 33.66, "Set14": 30.24, "B100": 29.56, "Urban100": 26.88, "DIV2K": 31.01},
    3: {"Set5": 30.39, "Set14": 27.55, "B100": 27.21, "Urban100": 24.46, "DIV2K": 28.22},
    4: {"Set5": 28.42, "Set14": 26.00, "B100": 25.96, "Urban100": 23.14, "DIV2K": 26.66},
}
BICUBIC_MARGIN = 0.25  # dB, for differences of border, rounding and cropping


def published(name, scale, bicubic):
    """What others have published about a test set, all of whose pictures were scored.

    Args:
        name: the field's, as in `COUNTS`.
        scale: 2, 3 or 4.
        bicubic: mean scores of bicubic enlargement, as `metrics.score` has them.

    Returns:
        dict of method -> dict of psnr and ssim (on Y), or of rgb_psnr; empty when the
        pictures are others, as the PSNR of bicubic enlargement shows.
    """
    key = "rgb_psnr" if name == "DIV2K" else "psnr"
    if not abs(bicubic[key] - PUBLISHED_BICUBIC[scale][name]) <= BICUBIC_MARGIN:
        return {}
    if name == "DIV2K":
        scores = [{"rgb_psnr": value} for value in PUBLISHED_RGB[scale]]
    else:
        scores = [{"psnr": psnr, "ssim": ssim} for psnr, ssim in PUBLISHED[scale][name]]
    return dict(zip(PUBLISHED_METHODS, scores, strict=True))
