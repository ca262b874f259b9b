"""Stands in for torchvision in SGLang's processes on a machine without a GPU.

SGLang 0.5.23 and transformers import these names when they start, and call none of them for a model of text alone.
PyPI's own torchvision is built for CUDA: beside a CPU build of torch its import fails ("operator torchvision::nms does
not exist"). What is not named here is an ImportError, as without torchvision.
"""

__version__ = "0.28.0"  # transformers asks for it
