"""What a training says about its pictures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataOptions:
    """What pictures a training uses, and how: as the settings of the same names.

    Attributes:
        data, validation_data: folders, searched recursively; the second may be empty.
        cache: folder for decoded photographs; empty: none.
        scale: reduction of the LR pictures.
        crop_size: side of a crop, HR pixels.
        batch_size: crops a step, of all processes together.
        validation_crop: side of the centre of a validation picture that is scored, HR pixels.
        seed: of all crops.
        degradation: bicubic: LR pictures are as they are; wild: they have been through
            what people's pictures have, see `images.degradation`.
        drawings: share of the crops that are of random drawings.
    """

    data: str
    validation_data: str
    cache: str
    scale: int
    crop_size: int
    batch_size: int
    validation_crop: int
    seed: int
    degradation: str = "bicubic"
    drawings: float = 0.0
