"""The data sets that come with qatexp: callables for ``dataset._target_``, each gives a `Source`.

A source of your own is a function like these, in a package that you name in `trusted_packages`.
It may take any of `root`, `download`, `image_size` and `resize_size`, and further keyword
arguments, which become keys of ``dataset``.
"""

from __future__ import annotations

from qatexp.data.sources.embedded import digits
from qatexp.data.sources.folder import imagefolder
from qatexp.data.sources.random_images import synthetic
from qatexp.data.sources.torchvision_sets import cifar10, cifar100, fashion_mnist

__all__ = ["cifar10", "cifar100", "digits", "fashion_mnist", "imagefolder", "synthetic"]
