"""What the tests of `quant` ask Python about models that others made, which come with packages.

usage:
  others.py list                       JSON: name → path of the models found beside this Python's packages
  others.py ranges FLOAT OBSERVED      JSON lines: a sample's smallest and largest value of every tensor
  others.py values FLOAT OBSERVED FILE writes what tensors hold, by sample: JSON of names and lengths in a line, then the floats;
                                       prints the input's shape as JSON
  others.py sqnr FLOAT OURS            JSON: signal to quantization noise of the first output, ours and the Python tool's with the
                                       same settings (U8S8 per channel, MinMax) on the same samples; bytes of both files
Samples are drawn: see `picture`.
"""

import glob
import json
import os
import sys
import sysconfig
import tempfile

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from onnxruntime import quantization

onnxruntime.set_default_logger_severity(3)
SAMPLES = 16


def models():
    packages = sysconfig.get_paths()["purelib"]
    found = glob.glob(os.path.join(packages, "*", "**", "*.onnx"), recursive=True)
    return {os.path.basename(path): path for path in found if f"{os.sep}onnx{os.sep}" not in path}


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def samples(path, seed):
    """One image each. Sizes that are left open are 96 pixels; readers want lines."""
    (value,) = session(path).get_inputs()
    open_sizes = [1, 3, 48, 320] if "_rec_" in os.path.basename(path) else [1, 3, 96, 96]
    shape = [size if isinstance(size, int) and size > 0 else other for size, other in zip(value.shape, open_sizes)]
    shape[0] = 1
    random = np.random.default_rng(seed)
    for _ in range(SAMPLES):
        yield {value.name: picture(random, *shape[1:])[None]}


def picture(random, channels, height, width):
    """A smooth background with rows of marks as large as letters: detectors and readers find something in it."""
    coarse = random.standard_normal([channels, -(-height // 16), -(-width // 16)])
    image = 1 + 0.3 * np.kron(coarse, np.ones((1, 16, 16)))[:, :height, :width]
    size = int(random.integers(2, 4))
    for top in range(4, height - 5 * size, 9 * size):
        marks = random.random([5, (width - 8) // size]) < 0.5
        marks[:, ::4] = False
        marks = np.kron(marks, np.ones((size, size), bool))
        image[:, top : top + marks.shape[0], 4 : 4 + marks.shape[1]][:, marks] = -1.5
    return (image + 0.05 * random.standard_normal(image.shape)).astype(np.float32)


class Reader(quantization.CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = feeds

    def get_next(self):
        return next(self.feeds, None)


def ranges(float_model, observed):
    model = session(observed)
    names = [value.name for value in model.get_outputs()]
    for feed in samples(float_model, 1):
        values = dict(zip(names, model.run(names, feed))) | feed
        floats = {name: value for name, value in values.items() if value.dtype == np.float32 and value.size}
        print(json.dumps({name: [float(value.min()), float(value.max())] for name, value in floats.items()}))


def values(float_model, observed, path):
    model = session(observed)
    names = [value.name for value in model.get_outputs()]
    with open(path, "wb") as file:
        for feed in samples(float_model, 1):
            found = dict(zip(names, model.run(names, feed))) | feed
            floats = {name: value for name, value in found.items() if value.dtype == np.float32}
            file.write(json.dumps([[name, value.size] for name, value in floats.items()]).encode() + b"\n")
            for value in floats.values():
                file.write(value.astype("<f4").tobytes())
    (value,) = feed.values()
    print(json.dumps(value.shape))


def theirs(float_model, path, folder):
    model = onnx.load(float_model)
    if model.opset_import[0].version < 13:
        model = onnx.version_converter.convert_version(model, 13)
    raised, prepared = (os.path.join(folder, name) for name in ("raised.onnx", "prepared.onnx"))
    onnx.save(model, raised)
    quantization.quant_pre_process(raised, prepared, skip_symbolic_shape=True)
    quantization.quantize_static(
        prepared,
        path,
        Reader(samples(float_model, 1)),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


def sqnr(float_model, ours):
    def outputs(path):
        model = session(path)
        return [model.run(None, feed)[0].astype(np.float64) for feed in samples(float_model, 2)]

    expected = outputs(float_model)

    def decibels(path):
        noise = sum(np.square(one - other).sum() for one, other in zip(outputs(path), expected))
        return float(10 * np.log10(sum(np.square(one).sum() for one in expected) / noise))

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "theirs.onnx")
        theirs(float_model, path, folder)
        found = {
            name: {"sqnr_db": decibels(model), "bytes": os.path.getsize(model)}
            for name, model in (("ours", ours), ("theirs", path))
        }
    print(json.dumps(found))


if sys.argv[1] == "list":
    print(json.dumps(models()))
else:
    {"ranges": ranges, "values": values, "sqnr": sqnr}[sys.argv[1]](*sys.argv[2:])
