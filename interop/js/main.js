// A js-libp2p peer for the interop suite: it listens, or dials one address
// and runs one test, and prints JSON lines on stdout.
import { parseArgs } from 'node:util'
import { multiaddr } from '@multiformats/multiaddr'
import { UnsupportedError, createNode, keyTypes, muxers, securities, libraryVersion } from './node.js'
import { pubsub, routers } from './pubsub.js'
import { echo, identify, ping, serveEcho, ECHO } from './tests.js'

const DEADLINE_MS = 60_000
const EXIT_FAILED = 1
const EXIT_UNSUPPORTED = 3
const TESTS = { ping, identify, echo }

async function run (args) {
  const { values: options, positionals: [command, ...rest] } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      listen: { type: 'string' },
      connect: { type: 'string', multiple: true },
      router: { type: 'string', default: 'gossipsub' },
      message: { type: 'string', default: 'message' },
      size: { type: 'string' },
      peers: { type: 'string', default: '1' },
      leave: { type: 'boolean', default: false },
      unsigned: { type: 'boolean', default: false },
      muxer: { type: 'string', default: 'yamux' },
      security: { type: 'string', default: 'noise' },
      'key-type': { type: 'string', default: 'ed25519' },
      count: { type: 'string' },
      bytes: { type: 'string', default: '1000000' }
    }
  })
  if (command === 'info') {
    return info()
  }
  if (command === 'listen') {
    return listen(options)
  }
  if (command === 'pubsub') {
    return pubsub(rest, options, { emit, deadlineMs: DEADLINE_MS })
  }
  const [address] = rest
  const test = TESTS[command]
  if (test == null || address == null) {
    throw new Error('usage: listen | ping ADDR | identify ADDR | echo ADDR | pubsub .. | info')
  }
  // identify runs by itself on each new connection, unless it is the test
  const node = await createNode({ ...options, identifyOnConnect: command !== 'identify' })
  for (const fields of await withDeadline(test(node, multiaddr(address), options))) {
    emit(command, fields)
  }
}

// Serves until stdin ends.
async function listen (options) {
  const node = await createNode({ ...options, listenOn: options.listen ?? '/ip4/127.0.0.1/tcp/0', identifyOnConnect: true })
  await node.handle(ECHO, serveEcho)
  for (const address of node.getMultiaddrs()) {
    emit('listening', { addr: address.toString() })
  }
  for await (const _ of process.stdin) { /* only its end matters */ }
}

function info () {
  emit('info', {
    name: 'js-libp2p',
    version: libraryVersion,
    muxers: Object.keys(muxers),
    securities: Object.keys(securities),
    key_types: Object.keys(keyTypes),
    remote_key_types: Object.keys(keyTypes),
    routers: Object.keys(routers)
  })
}

function withDeadline (promise) {
  const late = new Promise((_resolve, reject) => {
    setTimeout(() => { reject(new Error(`no end after ${DEADLINE_MS} ms`)) }, DEADLINE_MS).unref()
  })
  return Promise.race([promise, late])
}

function emit (event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')
}

try {
  await run(process.argv.slice(2))
  process.exit(0)
} catch (error) {
  const unsupported = error instanceof UnsupportedError
  console.error(error)
  emit(unsupported ? 'unsupported' : 'error', { error: `${error.name}: ${error.message}` })
  process.exit(unsupported ? EXIT_UNSUPPORTED : EXIT_FAILED)
}
