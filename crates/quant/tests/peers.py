"""What the tests of `quant` ask Python's `onnx` and `onnxruntime`.

usage:
  peers.py ranges OBSERVED ARCHIVE            JSON lines: a batch's smallest and largest value of every tensor
  peers.py check MODEL                        onnx.checker with full_check, and a run
  peers.py ops MODEL                          JSON: operators after ONNX Runtime's optimisation, with their numbers
  peers.py agree FLOAT OURS ARCHIVE KIND      JSON: how well our model and the Python tool's of the same KIND
                                              (`static`, `static_s8`, `dynamic`) reproduce the float logits
ARCHIVE is a tar file of CIFAR-10's binary format, or a path that does not exist: then inputs are random.
"""

import collections
import json
import os
import sys
import tarfile
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization

onnxruntime.set_default_logger_severity(3)


def images(path, member, count):
    """Normalised float images [count, 3, 32, 32]."""
    if not os.path.exists(path):
        return np.random.default_rng(len(member)).standard_normal((count, 3, 32, 32)).astype(np.float32)
    with tarfile.open(path) as archive:
        data = archive.extractfile(f"cifar-10-batches-bin/{member}.bin").read()
    records = np.frombuffer(data, np.uint8).reshape(-1, 3073)[:count]
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    mean = np.array([0.4914, 0.4822, 0.4465], np.float32).reshape(1, 3, 1, 1)
    std = np.array([0.2023, 0.1994, 0.2010], np.float32).reshape(1, 3, 1, 1)
    return (pixels - mean) / std


def calibration(archive):
    return np.split(images(archive, "data_batch_1", 512), 16)


def session(path, dump=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if dump:
        options.optimized_model_filepath = dump
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ranges(observed, archive):
    model = session(observed)
    names = [value.name for value in model.get_outputs()]
    for batch in calibration(archive):
        values = dict(zip(names, model.run(names, {"input": batch})), input=batch)
        print(json.dumps({name: [float(value.min()), float(value.max())] for name, value in values.items()}))


def check(path):
    onnx.checker.check_model(path, full_check=True)
    model = session(path)
    (value,) = model.get_inputs()
    shape = [size if isinstance(size, int) else 3 for size in value.shape]
    for output in model.run(None, {value.name: np.ones(shape, np.float32)}):
        assert np.isfinite(output).all()
    print("{}")


def ops(path):
    with tempfile.TemporaryDirectory() as folder:
        dump = os.path.join(folder, "optimised.onnx")
        session(path, dump)
        counts = collections.Counter(node.op_type for node in onnx.load(dump).graph.node)
    print(json.dumps(counts))


class Reader(quantization.CalibrationDataReader):
    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch}


def theirs(float_model, archive, kind, path):
    if kind == "dynamic":
        quantization.quantize_dynamic(float_model, path, weight_type=quantization.QuantType.QInt8)
        return
    s8 = kind == "static_s8"
    quantization.quantize_static(
        float_model,
        path,
        Reader(calibration(archive)),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QInt8 if s8 else quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=not s8,
    )


def agree(float_model, ours, archive, kind):
    test = images(archive, "test_batch", 512)
    expected = session(float_model).run(None, {"input": test})[0]
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "theirs.onnx")
        theirs(float_model, archive, kind, path)
        for name, model in [("ours", ours), ("theirs", path)]:
            logits = session(model).run(None, {"input": test})[0]
            noise = np.square(logits - expected).sum()
            result[name] = {
                "agreement": float((logits.argmax(1) == expected.argmax(1)).mean()),
                "correlation": float(np.corrcoef(logits.ravel(), expected.ravel())[0, 1]),
                "sqnr_db": float(10 * np.log10(np.square(expected).sum() / noise)),
                "bytes": os.path.getsize(model),
            }
    print(json.dumps(result))


{"ranges": ranges, "check": check, "ops": ops, "agree": agree}[sys.argv[1]](*sys.argv[2:])
