"""The host with exactly the asked-for stack."""

import argparse
from importlib.metadata import version

import libp2p
from libp2p.abc import IHost
from libp2p.crypto import ed25519, rsa, secp256k1, x25519
from libp2p.crypto.keys import KeyPair
from libp2p.host.ping import ID as PING, handle_ping
from libp2p.identity.identify.identify import ID as IDENTIFY, identify_handler_for
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE, Transport as Noise
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX, Yamux

import tests

MUXERS = {"yamux": {YAMUX: Yamux}, "mplex": {MPLEX_PROTOCOL_ID: Mplex}}
# It refuses remotes with ECDSA keys.
KEY_TYPES = {
    "ed25519": ed25519.create_new_key_pair,
    "secp256k1": secp256k1.create_new_key_pair,
    "rsa": rsa.create_new_key_pair,
}


class Unsupported(Exception):
    """An option that py-libp2p cannot serve."""


def noise(key: KeyPair) -> dict:
    static = x25519.create_new_key_pair().private_key
    return {NOISE: Noise(key, noise_privkey=static)}


def plaintext(key: KeyPair) -> dict:
    return {PLAINTEXT_PROTOCOL_ID: InsecureTransport(key)}


SECURITIES = {"noise": noise, "plaintext": plaintext}


def new_host(options: argparse.Namespace) -> IHost:
    key = choose(KEY_TYPES, options.key_type)()
    security = choose(SECURITIES, options.security)
    muxer = choose(MUXERS, options.muxer)
    return libp2p.new_host(key_pair=key, sec_opt=security(key), muxer_opt=muxer)


def serve(host: IHost) -> None:
    host.set_stream_handler(PING, handle_ping)
    host.set_stream_handler(IDENTIFY, identify_handler_for(host))
    host.set_stream_handler(tests.ECHO, tests.serve_echo)


def info() -> dict:
    return {
        "name": "py-libp2p",
        "version": version("libp2p"),
        "muxers": list(MUXERS),
        "securities": list(SECURITIES),
        "key_types": list(KEY_TYPES),
        "remote_key_types": list(KEY_TYPES),
    }


def choose(known: dict, name: str):
    if name not in known:
        raise Unsupported(f"py-libp2p has no {name}")
    return known[name]
