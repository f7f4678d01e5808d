import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("artifacts/quantize/model.onnx")
notes = session.get_modelmeta().custom_metadata_map
classes = json.loads(notes["classes"])
normalization = json.loads(notes["normalization"])

for path in sys.argv[1:]:
    pixels = np.asarray(Image.open(path).convert("RGB")) / 255
    pixels = (pixels - normalization["mean"]) / normalization["std"]
    batch = pixels.transpose(2, 0, 1)[np.newaxis].astype(np.float32)  # one image: channels, rows, columns
    (scores,) = session.run(["output"], {"input": batch})
    print(path, classes[scores[0].argmax()])
