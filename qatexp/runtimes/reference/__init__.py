"""An integer reference: what ONNX Runtime's optimized kernels compute, from the file alone."""

from qatexp.runtimes.reference.execute import ReferenceResult, run

__all__ = ["ReferenceResult", "run"]
