// A client of the feed in plain Node.js, written from docs/feed.md alone: no package, no code of the engine.
//
//   node feed.js HOST:PORT          says hello with FEED_KEY and FEED_SECRET (and FEED_WANTS, a JSON array), then sends a
//                                   frame for every line of JSON it reads and prints every frame it gets as one, hello first
//   node feed.js --write            prints each line of JSON as the bytes of a frame, in hexadecimal
//   node feed.js --read             prints each line of hexadecimal as the JSON of the frame
//   node feed.js --owner N[/SHARDS] NUMBER…  prints the place of the host that owns each number among N

"use strict";

const { createHash } = require("node:crypto");
const { connect } = require("node:net");
const { createInterface } = require("node:readline");

// -- MessagePack, as much of it as the feed uses ---------------------------------------------------------------------

function encode(value) {
  if (value === null) return Buffer.from([0xc0]);
  if (value === true || value === false) return Buffer.from([value ? 0xc3 : 0xc2]);
  if (typeof value === "number") return encodeNumber(value);
  if (typeof value === "string") {
    const text = Buffer.from(value, "utf8");
    return Buffer.concat([head(text.length, 0xa0, 31, [0xd9, 0xda, 0xdb]), text]);
  }
  if (Array.isArray(value)) {
    return Buffer.concat([head(value.length, 0x90, 15, [null, 0xdc, 0xdd]), ...value.map(encode)]);
  }
  const entries = Object.entries(value);
  return Buffer.concat([head(entries.length, 0x80, 15, [null, 0xde, 0xdf]), ...entries.flat().map(encode)]);
}

function head(length, fixed, mostFixed, [one, two, four]) {
  if (length <= mostFixed) return Buffer.from([fixed | length]);
  if (one !== null && length < 0x100) return Buffer.from([one, length]);
  if (length < 0x10000) return Buffer.from([two, length >> 8, length & 0xff]);
  const bytes = Buffer.alloc(5);
  bytes[0] = four;
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

function encodeNumber(value) {
  if (!Number.isInteger(value)) throw new Error(`the feed has no fractions: ${value}`);
  if (value >= 0 && value < 0x80) return Buffer.from([value]);
  if (value < 0 && value >= -32) return Buffer.from([0x100 + value]);
  const bytes = Buffer.alloc(5);
  if (value < 0) {
    bytes[0] = 0xd2;
    bytes.writeInt32BE(value, 1);
    return bytes;
  }
  if (value < 0x100) return Buffer.from([0xcc, value]);
  if (value < 0x10000) return Buffer.from([0xcd, value >> 8, value & 0xff]);
  bytes[0] = 0xce;
  bytes.writeUInt32BE(value, 1);
  return bytes;
}

function decode(bytes) {
  const [value, end] = decodeAt(bytes, 0);
  if (end !== bytes.length) throw new Error("more than one value in a frame");
  return value;
}

function decodeAt(bytes, at) {
  const first = bytes[at];
  if (first < 0x80) return [first, at + 1];
  if (first >= 0xe0) return [first - 0x100, at + 1];
  if (first < 0x90) return decodeMap(bytes, at + 1, first & 0x0f);
  if (first < 0xa0) return decodeArray(bytes, at + 1, first & 0x0f);
  if (first < 0xc0) return decodeText(bytes, at + 1, first & 0x1f);
  switch (first) {
    case 0xc0: return [null, at + 1];
    case 0xc2: return [false, at + 1];
    case 0xc3: return [true, at + 1];
    case 0xcc: return [bytes[at + 1], at + 2];
    case 0xcd: return [bytes.readUInt16BE(at + 1), at + 3];
    case 0xce: return [bytes.readUInt32BE(at + 1), at + 5];
    case 0xcf: return [Number(bytes.readBigUInt64BE(at + 1)), at + 9];
    case 0xd9: return decodeText(bytes, at + 2, bytes[at + 1]);
    case 0xda: return decodeText(bytes, at + 3, bytes.readUInt16BE(at + 1));
    case 0xdb: return decodeText(bytes, at + 5, bytes.readUInt32BE(at + 1));
    case 0xdc: return decodeArray(bytes, at + 3, bytes.readUInt16BE(at + 1));
    case 0xdd: return decodeArray(bytes, at + 5, bytes.readUInt32BE(at + 1));
    case 0xde: return decodeMap(bytes, at + 3, bytes.readUInt16BE(at + 1));
    case 0xdf: return decodeMap(bytes, at + 5, bytes.readUInt32BE(at + 1));
    default: throw new Error(`0x${first.toString(16)} is not used by the feed`);
  }
}

function decodeText(bytes, at, length) {
  return [bytes.toString("utf8", at, at + length), at + length];
}

function decodeArray(bytes, at, count) {
  const items = [];
  for (let index = 0; index < count; index++) {
    const [item, end] = decodeAt(bytes, at);
    items.push(item);
    at = end;
  }
  return [items, at];
}

function decodeMap(bytes, at, count) {
  const [flat, end] = decodeArray(bytes, at, 2 * count);
  const map = {};
  for (let index = 0; index < flat.length; index += 2) map[flat[index]] = flat[index + 1];
  return [map, end];
}

// -- frames ----------------------------------------------------------------------------------------------------------

function frame(message) {
  const payload = encode(message);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(payload.length);
  return Buffer.concat([length, payload]);
}

class Frames {
  constructor() {
    this.held = Buffer.alloc(0);
  }

  *split(chunk) {
    this.held = Buffer.concat([this.held, chunk]);
    while (this.held.length >= 4 && this.held.length >= 4 + this.held.readUInt32BE(0)) {
      const end = 4 + this.held.readUInt32BE(0);
      yield decode(this.held.subarray(4, end));
      this.held = this.held.subarray(end);
    }
  }
}

// -- which host owns a number ------------------------------------------------------------------------------------------

function canonical(number) {
  if (number.length === 14 && (number.startsWith("+521") || number.startsWith("+549"))) {
    return number.slice(0, 3) + number.slice(4);
  }
  return number;
}

function owner(number, hosts, shards) {
  let key = canonical(number);
  if (shards) key = `${createHash("sha256").update(key).digest().readBigUInt64BE(0) % BigInt(shards)}`;
  let best = 0;
  let bestWeight = -1n;
  for (let place = 0; place < hosts; place++) {
    const weight = createHash("sha256").update(`host-${place}/${key}`).digest().readBigUInt64BE(0);
    if (weight > bestWeight) [best, bestWeight] = [place, weight];
  }
  return best;
}

// -- the commands ------------------------------------------------------------------------------------------------------

function say(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

function talk(address) {
  const colon = address.lastIndexOf(":");
  const socket = connect({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)), allowHalfOpen: true });
  const frames = new Frames();
  const hello = { version: 1, key: process.env.FEED_KEY, secret: process.env.FEED_SECRET };
  if (process.env.FEED_WANTS) hello.wants = JSON.parse(process.env.FEED_WANTS);
  socket.write(frame(hello));
  socket.on("data", (chunk) => {
    for (const message of frames.split(chunk)) say(message);
  });
  socket.on("end", () => process.exit(0));
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => socket.write(frame(JSON.parse(line))));
  lines.on("close", () => socket.end()); // the answers that are due still come
}

function eachLine(work) {
  createInterface({ input: process.stdin }).on("line", work);
}

const [command, ...rest] = process.argv.slice(2);
if (command === "--write") eachLine((line) => process.stdout.write(`${frame(JSON.parse(line)).toString("hex")}\n`));
else if (command === "--read") eachLine((line) => { for (const one of new Frames().split(Buffer.from(line, "hex"))) say(one); });
else if (command === "--owner") rest.slice(1).forEach((number) => say(owner(number, ...rest[0].split("/").map(Number))));
else talk(command);
