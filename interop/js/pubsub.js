// Publish/subscribe, over either of js-libp2p's routers.
import { createHash } from 'node:crypto'
import { floodsub } from '@libp2p/floodsub'
import { gossipsub } from '@libp2p/gossipsub'
import { multiaddr } from '@multiformats/multiaddr'
import { UnsupportedError, createNode } from './node.js'

export const routers = { gossipsub: newGossipsub, floodsub: newFloodsub }
const ACTIONS = { subscribe, publish }
const POLL_MS = 10
// Neither router tells when a message is written.
const WRITE_MS = 200

export async function pubsub ([action, topic], options, { emit, deadlineMs }) {
  const run = ACTIONS[action]
  if (run == null || topic == null) {
    throw new Error('usage: pubsub subscribe | publish TOPIC')
  }
  if (!Object.hasOwn(routers, options.router)) {
    throw new UnsupportedError(`js-libp2p has no ${options.router}`)
  }
  if (options.router === 'floodsub' && options.unsigned && action === 'subscribe') {
    throw new UnsupportedError('js-libp2p\'s floodsub drops every message without an author')
  }
  const node = await createNode({
    ...options,
    listenOn: options.listen,
    identifyOnConnect: true,
    services: { pubsub: routers[options.router](options.unsigned) }
  })
  const peer = {
    node,
    router: node.services.pubsub,
    topic,
    emit,
    deadlineMs,
    async connect () {
      for (const address of node.getMultiaddrs()) {
        emit('listening', { addr: address.toString() })
      }
      await Promise.all((options.connect ?? []).map(async address => node.dial(multiaddr(address))))
    }
  }
  await run(peer, options)
}

function newGossipsub (unsigned) {
  if (unsigned) {
    return gossipsub({ globalSignaturePolicy: 'StrictNoSign', msgIdFn: hashOfData })
  }
  return gossipsub({ msgIdFn: authorAndNumber })
}

// It lets nobody choose the message ids.
function newFloodsub (unsigned) {
  return floodsub({ globalSignaturePolicy: unsigned ? 'StrictNoSign' : 'StrictSign' })
}

// As in go-libp2p; the default has the public key in the author's place.
function authorAndNumber ({ from, sequenceNumber }) {
  const number = Buffer.alloc(8)
  number.writeBigUInt64BE(sequenceNumber)
  return Buffer.concat([from.toMultihash().bytes, number])
}

function hashOfData ({ data }) {
  return createHash('sha256').update(data).digest()
}

// Prints what comes until stdin ends, or until it was enough.
async function subscribe (peer, { count, leave }) {
  const { router, topic, emit } = peer
  const wanted = count == null ? Infinity : Number(count)
  let came = 0
  let enough
  const done = new Promise(resolve => { enough = resolve })
  router.addEventListener('message', ({ detail: message }) => {
    if (message.topic === topic && came < wanted) {
      const data = Buffer.from(message.data).toString()
      emit('message', { topic, from: message.from?.toString() ?? null, data })
      came++
      if (came === wanted) {
        enough()
      }
    }
  })
  onMembers(peer, emit)
  router.subscribe(topic)
  await peer.connect()
  const stdinEnded = endOfStdin()
  await Promise.race([done, stdinEnded])
  if (count != null && came < wanted) {
    throw new Error(`stdin ended after ${came} of ${count} messages`)
  }
  if (leave) {
    router.unsubscribe(topic)
    await stdinEnded
  }
}

// Sends its messages to enough subscribers, and stays until they have gone.
async function publish (peer, { message, size, count, peers }) {
  const { node, router, topic, emit } = peer
  await peer.connect()
  const end = performance.now() + peer.deadlineMs
  while (reachable(peer) < Number(peers)) {
    if (performance.now() > end) {
      throw new Error(`${reachable(peer)} of ${peers} subscribers after ${peer.deadlineMs} ms`)
    }
    await sleep(POLL_MS)
  }
  for (const text of texts(message, Number(count ?? 1), size)) {
    const { recipients } = await router.publish(topic, Buffer.from(text))
    // Its id is not told.
    emit('published', { topic, id: null, peers: recipients.length })
  }
  await sleep(WRITE_MS)
  let ended = false
  endOfStdin().then(() => { ended = true })
  while (!ended && router.getSubscribers(topic).some(id => node.getConnections(id).length > 0)) {
    await sleep(POLL_MS)
  }
}

// The subscribers to which there is an open stream: a message to another is
// dropped without a word.
function reachable ({ node, router, topic }) {
  const protocols = router.protocols ?? [router.protocol]
  return router.getSubscribers(topic).filter(id => node.getConnections(id).some(connection =>
    connection.streams.some(stream => stream.direction === 'outbound' && protocols.includes(stream.protocol))
  )).length
}

function onMembers ({ node, router, topic }, emit) {
  const members = new Set()
  const leave = id => {
    if (members.delete(id)) {
      emit('unsubscribed', { peer: id, topic })
    }
  }
  router.addEventListener('subscription-change', ({ detail: { peerId, subscriptions } }) => {
    const id = peerId.toString()
    for (const { topic: name, subscribe } of subscriptions) {
      if (name === topic && subscribe && !members.has(id)) {
        members.add(id)
        emit('subscribed', { peer: id, topic })
      } else if (name === topic && !subscribe) {
        leave(id)
      }
    }
  })
  node.addEventListener('peer:disconnect', ({ detail: peerId }) => { leave(peerId.toString()) })
}

// What to publish, each text different.
function texts (message, count, size) {
  const numbered = Array.from({ length: count }, (_, i) => count === 1 ? message : `${message} ${i + 1}`)
  return size == null ? numbered : numbered.map(text => text.padEnd(Number(size), '.').slice(0, Number(size)))
}

async function endOfStdin () {
  for await (const _ of process.stdin) { /* only its end matters */ }
}

function sleep (ms) {
  return new Promise(resolve => { setTimeout(resolve, ms) })
}
