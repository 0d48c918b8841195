// Predict the records of a JSON file: node predict.mjs example.json. Needs onnxruntime-node (npm install).
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ort from 'onnxruntime-node';

const here = dirname(fileURLToPath(import.meta.url));
const session = await ort.InferenceSession.create(join(here, 'model.onnx'));
const { classes } = JSON.parse(readFileSync(join(here, 'manifest.json'), 'utf8'));

// A number, true or false, a date as text (without a time zone: UTC); null is missing.
const number = (value) => {
  if (value === null) return NaN;
  if (typeof value !== 'string') return Number(value);
  return Date.parse(/Z|[+-]\d\d:?\d\d$/.test(value) ? value : `${value.length > 10 ? value : `${value}T00:00:00`}Z`) / 86_400_000;
};
const text = (value) => (value === null ? '' : String(value).trim());

export async function predict(records) {
  const feeds = {};
  for (const input of session.inputMetadata) {
    const column = records.map((r) => (input.type === 'string' ? text(r[input.name]) : number(r[input.name])));
    feeds[input.name] = new ort.Tensor(input.type, input.type === 'string' ? column : Float64Array.from(column), [records.length, 1]);
  }
  const [labels, probabilities] = session.outputNames.map((name) => name);
  const result = await session.run(feeds);
  const first = [...result[labels].data];
  if (!probabilities) return first.map((prediction) => ({ prediction }));
  const p = result[probabilities].data;
  const named = (row) => Object.fromEntries(classes.map((c, k) => [c, p[row * classes.length + k]]));
  return first.map((label, row) => ({ label, probabilities: named(row) }));
}

console.log(JSON.stringify(await predict(JSON.parse(readFileSync(process.argv[2], 'utf8')))));
