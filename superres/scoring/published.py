"""Published scores of test sets."""

BICUBIC_MARGIN = 0.25  # dB; papers differ in borders, rounding and cropping
DIV2K = "on DIV2K: the authors' EDSR-PyTorch, without scale + 2 pixels on each side"
SOURCES = {
    "EDSR-baseline": f"Ahn et al., CARN, ECCV 2018 ({DIV2K})",
    "EDSR": f"Lim et al., CVPR workshops 2017, table 3 ({DIV2K})",
}
PICTURES = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "DIV2K": 100}
# PSNR of bicubic enlargement, from Lim et al., and the scores of each of SOURCES: PSNR and SSIM on
# Y, or PSNR over RGB of DIV2K. Ahn et al. measured EDSR-baseline with its weights.
PUBLISHED = {
    ("Set5", 2): (33.66, (37.99, 0.9604), (38.11, 0.9601)),
    ("Set5", 3): (30.39, (34.37, 0.9270), (34.65, 0.9282)),
    ("Set5", 4): (28.42, (32.09, 0.8938), (32.46, 0.8968)),
    ("Set14", 2): (30.24, (33.57, 0.9175), (33.92, 0.9195)),
    ("Set14", 3): (27.55, (30.28, 0.8417), (30.52, 0.8462)),
    ("Set14", 4): (26.00, (28.58, 0.7813), (28.80, 0.7876)),
    ("B100", 2): (29.56, (32.16, 0.8994), (32.32, 0.9013)),
    ("B100", 3): (27.21, (29.09, 0.8052), (29.25, 0.8093)),
    ("B100", 4): (25.96, (27.57, 0.7357), (27.71, 0.7420)),
    ("Urban100", 2): (26.88, (31.98, 0.9272), (32.93, 0.9351)),
    ("Urban100", 3): (24.46, (28.15, 0.8527), (28.80, 0.8653)),
    ("Urban100", 4): (23.14, (26.04, 0.7849), (26.64, 0.8033)),
    ("DIV2K", 2): (31.01, (34.61,), (35.03,)),
    ("DIV2K", 3): (28.22, (30.92,), (31.26,)),
    ("DIV2K", 4): (26.66, (28.95,), (29.25,)),
}


def published(name, scale, mean):
    """Published scores of a test set: method -> dict of psnr and ssim, or of rgb_psnr.

    Empty if `mean`, the scores of bicubic enlargement, shows that its pictures are others.
    """
    bicubic, *methods = PUBLISHED[name, scale]
    keys = ("psnr", "ssim") if len(methods[0]) == 2 else ("rgb_psnr",)
    if abs(mean[keys[0]] - bicubic) > BICUBIC_MARGIN:
        return {}
    scores = (dict(zip(keys, values, strict=True)) for values in methods)
    return dict(zip(SOURCES, scores, strict=True))
