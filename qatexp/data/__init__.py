"""Data sets: loading, splitting, augmenting and normalising images."""

from __future__ import annotations

from qatexp.data.image_data import ImageData
from qatexp.data.load import load_data
from qatexp.data.source import ImageTensors, LabelledImages, Source

__all__ = ["ImageData", "ImageTensors", "LabelledImages", "Source", "load_data"]
