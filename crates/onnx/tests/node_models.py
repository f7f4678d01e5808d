"""Writes the models that ONNX tests runtimes with: one operator each, with its operands as inputs and, where that can be, all but
the first as constants.

usage: node_models.py FOLDER
"""

import pathlib
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

warnings.filterwarnings("ignore")
from onnx.backend.test.case.node import collect_testcases  # noqa: E402


def with_constants(model, operands):
    """The model with all operands but the first as constants; None where one of them cannot be."""
    inputs = list(model.graph.input)
    if len(inputs) != len(operands) or not all(isinstance(it, np.ndarray) and it.dtype != object for it in operands):
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.input[1:]
    for value, operand in list(zip(inputs, operands))[1:]:
        tensor = numpy_helper.from_array(operand, value.name)
        if tensor.data_type != value.type.tensor_type.elem_type:
            return None
        copy.graph.initializer.append(tensor)
    return copy


def main():
    folder = pathlib.Path(sys.argv[1])
    for case in collect_testcases(None):
        if case.model is None:
            continue
        (folder / f"{case.name}.onnx").write_bytes(case.model.SerializeToString())
        constant = with_constants(case.model, list(case.data_sets[0][0])) if case.data_sets else None
        if constant is not None:
            (folder / f"{case.name}-constants.onnx").write_bytes(constant.SerializeToString())


main()
