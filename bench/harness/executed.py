"""Which operators of a graph that a runtime executes compute in integers. Knows ONNX Runtime's names for them."""

from collections import Counter
from collections.abc import Iterable

INTEGERS = {
    "ConvInteger",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
}
FLOATS = {"Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"}
"""Convolutions and products."""


def of_kinds(kinds: Iterable[str]) -> dict[str, int]:
    """Of the convolutions and products among operators of these kinds, how many compute in integers."""
    counts = Counter(kinds)
    integers = sum(counts[kind] for kind in INTEGERS)
    return {"integers": integers, "products": integers + sum(counts[kind] for kind in FLOATS)}
