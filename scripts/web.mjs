// Time ONNX files in WebAssembly, which is what browsers without WebGPU compute with:
//
//     npm install --no-save onnxruntime-web
//     node scripts/web.mjs MODEL.onnx...
//
// One thread, random input, the files in turn; prints milliseconds of the network.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web/wasm";

const RUNS = 15;

const files = process.argv.slice(2);
if (!files.length) {
  console.error("usage: node scripts/web.mjs MODEL.onnx...");
  process.exit(2);
}
ort.env.wasm.numThreads = 1;
const models = [];
for (const file of files) {
  try {
    const session = await ort.InferenceSession.create(readFileSync(file));
    const [input] = session.inputMetadata;
    const values = Float32Array.from({ length: input.shape.reduce((a, b) => a * b) }, Math.random);
    const feeds = { [input.name]: new ort.Tensor("float32", values, input.shape) };
    models.push({ file, session, feeds, taken: [] });
  } catch (error) {
    console.error(`error: ${file}: ${String(error.message).split("\n")[0]}`);
    process.exit(1);
  }
}
for (let run = 0; run <= RUNS; run++) {
  for (const { session, feeds, taken } of models) {
    const start = performance.now();
    await session.run(feeds);
    if (run > 0) taken.push(performance.now() - start);
  }
}
for (const { file, taken } of models) {
  taken.sort((a, b) => a - b);
  console.log(`${file}  median ${taken[RUNS >> 1].toFixed(1)} ms, least ${taken[0].toFixed(1)}`);
}
