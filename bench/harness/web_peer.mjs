// What onnxruntime-web makes of a model: wasm, one thread, in Node. Outputs go to OUT.npy. The last line that is printed is JSON in
// the form of runtime_peer.py's `run`; those before it are a profile of one call, which alone tells what operators ran.
//
// usage: node web_peer.mjs FOLDER MODEL IMAGES.npy OUT.npy SIZE CALLS
// FOLDER has the package onnxruntime-web among its node_modules.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, model, images, out, sizeText, callsText] = process.argv.slice(2);
const ort = await import(pathToFileURL(createRequire(`${folder}/`).resolve('onnxruntime-web')));
const [size, calls] = [sizeText, callsText].map(Number);
const bytes = fs.readFileSync(images);
const header = bytes.toString('latin1', 10, 10 + bytes.readUInt16LE(8));
const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(',').map(Number);
const pixels = new Float32Array(bytes.buffer.slice(bytes.byteOffset + 10 + header.length, bytes.byteOffset + bytes.length));
const each = shape.slice(1).reduce((all, side) => all * side, 1);

function save(path, rows, columns, values) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${columns}), }`;
  const padded = `${text.padEnd(117)}\n`;
  const length = Buffer.alloc(2);
  length.writeUInt16LE(padded.length);
  const magic = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  fs.writeFileSync(path, Buffer.concat([magic, length, Buffer.from(padded, 'latin1'), Buffer.from(values.buffer)]));
}

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'fatal';
const call = async (session, start) => {
  const batch = pixels.slice(start * each, (start + size) * each);
  const given = { [session.inputNames[0]]: new ort.Tensor('float32', batch, [size, ...shape.slice(1)]) };
  const results = await session.run(given);
  return results[session.outputNames[0]].data;
};
try {
  const profiled = await ort.InferenceSession.create(fs.readFileSync(model), { executionProviders: ['wasm'], enableProfiling: true });
  await call(profiled, 0);
  profiled.endProfiling();
  await profiled.release();
  const session = await ort.InferenceSession.create(fs.readFileSync(model), { executionProviders: ['wasm'] });
  const values = [];
  for (let at = 0; at < shape[0]; at += size) {
    const start = Math.min(at, shape[0] - size);
    const found = await call(session, start);
    values.push(...found.slice((at - start) * (found.length / size)));
  }
  save(out, shape[0], values.length / shape[0], Float32Array.from(values));
  // V8 compiles what runs often a second time: until then some operators take several times as long.
  for (const end = performance.now() + 3000; performance.now() < end; ) await call(session, 0);
  const ms = [];
  for (let made = 0; made < calls; made += 1) {
    const start = performance.now();
    await call(session, 0);
    ms.push(performance.now() - start);
  }
  console.log(JSON.stringify({ ms }));
} catch (error) {
  console.log(JSON.stringify({ refused: String(error).slice(0, 300) }));
}
