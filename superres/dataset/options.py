"""Options of the pictures of a training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataOptions:
    """The settings of the same names.

    Attributes:
        data, validation_data, cache: folders; the last two may be empty.
        scale: reduction of the LR pictures.
        crop_size: side of a crop, HR pixels.
        batch_size: crops a step, of all processes together.
        validation_crop: side of the centre of a validation picture that is scored, HR pixels.
        seed: of all crops.
        degradation: of LR crops: bicubic, none; or wild, as in `images.degradation`.
        drawings: share of crops of random drawings.
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
