// Ping, identify and echo, from the dialer's side, and the echo server.
import { createHash, randomBytes } from 'node:crypto'

export const ECHO = '/echo/1.0.0'
const CHUNK = 64 * 1024

export async function ping (node, address, { count = 1 }) {
  const connection = await node.dial(address)
  const results = []
  for (let i = 0; i < Number(count); i++) {
    const start = performance.now()
    await node.services.ping.ping(connection.remotePeer)
    results.push({ ok: true, ms: performance.now() - start })
  }
  return results
}

export async function identify (node, address) {
  const connection = await node.dial(address)
  const result = await node.services.identify.identify(connection)
  return [{
    ok: true,
    peer: result.peerId.toString(),
    agent: result.agentVersion,
    protocols: result.protocols,
    listen_addrs: result.listenAddrs.map(String),
    observed_addr: String(result.observedAddr ?? '')
  }]
}

export async function echo (node, address, { bytes }) {
  const dialed = performance.now()
  const connection = await node.dial(address)
  const start = performance.now()
  const stream = await connection.newStream(ECHO)
  const [sent, { received, firstByte }] = await Promise.all([send(stream, Number(bytes)), receive(stream)])
  if (sent !== received) {
    throw new Error(`sent ${bytes} bytes ${sent}, got ${received} back`)
  }
  return [{
    ok: true,
    bytes: Number(bytes),
    sha256: received,
    seconds: (performance.now() - start) / 1000,
    first_byte_ms: firstByte - dialed
  }]
}

// Answers with what it reads until the remote half-closes.
export async function serveEcho (stream) {
  for await (const chunk of stream) {
    await write(stream, chunk)
  }
  await stream.close()
}

// Writes pseudo-random bytes, half-closes, and returns their hash.
async function send (stream, bytes) {
  const hash = createHash('sha256')
  for (let left = bytes; left > 0; left -= CHUNK) {
    const chunk = randomBytes(Math.min(left, CHUNK))
    hash.update(chunk)
    await write(stream, chunk)
  }
  await stream.close()
  return hash.digest('hex')
}

// Reads to the end, and returns the hash of what came, and when it began.
async function receive (stream) {
  const hash = createHash('sha256')
  let firstByte
  for await (const chunk of stream) {
    firstByte ??= performance.now()
    hash.update(chunk.subarray())
  }
  return { received: hash.digest('hex'), firstByte }
}

// Sends, and waits for room when the stream is full. stream.onDrain() would
// wait only once in the life of a stream.
async function write (stream, chunk) {
  if (stream.send(chunk)) {
    return
  }
  await new Promise((resolve, reject) => {
    stream.addEventListener('drain', () => { resolve() }, { once: true })
    stream.addEventListener('close', ({ error }) => { reject(error ?? new Error('closed')) }, { once: true })
  })
}
