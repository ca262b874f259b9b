"""Names that SGLang and transformers import."""

from enum import Enum


class InterpolationMode(Enum):
    """transformers tabulates them."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"
