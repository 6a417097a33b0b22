// The node with exactly the asked-for stack.
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { mplex } from '@libp2p/mplex'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { plaintext } from '@libp2p/plaintext'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import manifest from './package.json' with { type: 'json' }

export const libraryVersion = manifest.dependencies.libp2p
export const muxers = { yamux, mplex }
export const securities = { noise, plaintext }
// js-libp2p makes ECDSA keys, but no peer id from one, its own or a remote's
export const keyTypes = { ed25519: 'Ed25519', secp256k1: 'secp256k1', rsa: 'RSA' }

export class UnsupportedError extends Error {
  name = 'UnsupportedError'
}

export async function createNode ({ muxer, security, 'key-type': keyType, listenOn, identifyOnConnect, services }) {
  const muxerFactory = choose(muxers, muxer)
  const securityFactory = choose(securities, security)
  return createLibp2p({
    privateKey: await generateKeyPair(choose(keyTypes, keyType)),
    addresses: { listen: listenOn == null ? [] : [listenOn] },
    transports: [tcp()],
    connectionEncrypters: [securityFactory()],
    streamMuxers: [muxerFactory()],
    nodeInfo: { userAgent: `peerkit-interop-js/${libraryVersion}` },
    services: {
      ping: ping(),
      identify: identify({ runOnConnectionOpen: identifyOnConnect }),
      identifyPush: identifyPush(),
      ...services
    }
  })
}

function choose (known, name) {
  if (!Object.hasOwn(known, name)) {
    throw new UnsupportedError(`js-libp2p has no ${name}`)
  }
  return known[name]
}
