"""Names that SGLang and transformers import."""

from torchvision.transforms import InterpolationMode as InterpolationMode

pil_to_tensor = None
