"""Options of the pictures that a network is trained on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataOptions:
    """The settings of the same names."""

    data: str  # folder
    validation_data: str  # folder, or empty
    cache: str  # folder, or empty
    scale: int  # reduction of the LR pictures
    crop_size: int  # side of a crop, HR pixels
    batch_size: int  # crops a step, of all processes together
    validation_crop: int  # side of the scored centre of a validation picture, HR pixels
    seed: int  # of all crops
    degradation: str = "bicubic"  # of LR crops: bicubic, or wild, as in `images.degradation`
    drawings: float = 0.0  # share of crops of random drawings
