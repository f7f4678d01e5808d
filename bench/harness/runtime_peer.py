"""What benchmarks of other runtimes and processors ask a runtime; run by the Python of an environment that has it.

usage:
  runtime_peer.py images DATASET COUNT OUT.npy LABELS.npy
                                                     evenly spaced test images of a file of `data/download`, normalised, and their
                                                     classes
  runtime_peer.py run KIND MODEL IMAGES.npy OUT.npy SIZE CALLS DUMP
                                                     JSON: what KIND (onnxruntime, openvino, opencv or tract) makes of MODEL on one
                                                     thread: `refused`, why it does not load it or compute it; or `ms`, of CALLS
                                                     calls of SIZE images after a warm-up, and `integers`, of how many convolutions and
                                                     products (`products`), where it tells. Outputs go to OUT.npy; DUMP is a file for
                                                     ONNX Runtime's own rewriting, or `-` for none of it
  runtime_peer.py compare ONE.npy OTHER.npy LABELS.npy
                                                     JSON: of how many `images` OTHER says the class that ONE says (`kept`), or the
                                                     right one (`right`), how many `differ` in any bit, and the `largest` difference
  runtime_peer.py products DUMP                      JSON: `integers` and `products` of such a rewriting, which wants the package onnx
"""

import collections
import json
import sys
import time

import numpy as np

from executed import of_kinds


def images(dataset, count, out, labels):
    from int8_peer import normalised, tensor

    pixels, classes = tensor(dataset, "test.images"), tensor(dataset, "test.labels")
    chosen = np.arange(int(count)) * len(pixels) // int(count)
    np.save(out, normalised(pixels[chosen]).astype(np.float32))
    np.save(labels, classes[chosen])


def onnxruntime(model, dump, shape):
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if dump != "-":
        options.optimized_model_filepath = dump
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0], {}


def openvino(model, dump, shape):
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1})
    kinds = collections.Counter()
    for operator in compiled.get_runtime_model().get_ops():
        about = operator.get_rt_info()
        said = [about[what] for what in ("layerType", "runtimePrecision")]
        layer, precision = [text if isinstance(text, str) else text.astype(str) for text in said]
        if layer in ("Convolution", "FullyConnected", "MatMul"):
            kinds[precision in ("i8", "u8")] += 1
    return lambda batch: compiled(batch)[0], {"integers": kinds[True], "products": kinds.total()}


def opencv(model, dump, shape):
    import cv2

    cv2.setNumThreads(1)
    net = cv2.dnn.readNetFromONNX(model)

    def run(batch):
        net.setInput(batch)
        return net.forward().copy()

    return run, {}


def tract(model, dump, shape):
    import tract

    inference = tract.onnx().load(model)
    inference.set_input_fact(0, ",".join(map(str, shape)) + ",f32")
    runnable = inference.into_model().into_runnable()
    return lambda batch: runnable.run([batch])[0].to_numpy(), {}


def run(kind, model, images, out, size, calls, dump):
    images, size = np.load(images), int(size)
    # The last images make up a batch as large as the others: some runtimes are made for one size.
    batches = [images[min(at, len(images) - size) :][:size] for at in range(0, len(images), size)]
    try:
        call, said = {"onnxruntime": onnxruntime, "openvino": openvino, "opencv": opencv, "tract": tract}[kind](
            model, dump, batches[0].shape
        )
        outputs = np.concatenate([call(batch) for batch in batches[:-1]] + [call(batches[-1])[-(len(images) - 1) % size - 1 :]])
    except Exception as error:
        return {"refused": " ".join(str(error).split())[:300] or type(error).__name__}
    np.save(out, outputs)
    taken = []
    for _ in range(int(calls)):
        start = time.perf_counter_ns()
        call(batches[0])
        taken.append((time.perf_counter_ns() - start) / 1e6)
    return {"ms": taken, **said}


def compare(one, other, labels):
    one, other = np.load(one), np.load(other)
    return {
        "images": len(one),
        "kept": int((one.argmax(1) == other.argmax(1)).sum()),
        "right": int((np.load(labels) == other.argmax(1)).sum()),
        "differ": int((one != other).any(1).sum()),
        "largest": float(np.abs(one - other).max()),
    }


def products(dump):
    import onnx

    return of_kinds(node.op_type for node in onnx.load(dump).graph.node)


if __name__ == "__main__":
    commands = {"images": images, "run": run, "compare": compare, "products": products}
    print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])))
