package main

import (
	"crypto/rand"
	"fmt"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// newHost makes a host with exactly the asked-for stack; ping and identify
// are part of every go-libp2p host.
func newHost(opts options) (host.Host, error) {
	key, err := newKey(opts.keyType)
	if err != nil {
		return nil, err
	}
	muxer, err := muxerOption(opts.muxer)
	if err != nil {
		return nil, err
	}
	security, err := securityOption(opts.security)
	if err != nil {
		return nil, err
	}
	addresses := libp2p.NoListenAddrs
	if opts.listen != "" {
		addresses = libp2p.ListenAddrStrings(opts.listen)
	}
	return libp2p.New(
		libp2p.Identity(key),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.UserAgent("peerkit-interop-go/"+libraryVersion()),
		muxer, security, addresses,
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	)
}

func newKey(keyType string) (crypto.PrivKey, error) {
	types := map[string]int{
		"ed25519": crypto.Ed25519, "secp256k1": crypto.Secp256k1,
		"ecdsa": crypto.ECDSA, "rsa": crypto.RSA,
	}
	kind, known := types[keyType]
	if !known {
		return nil, unsupported{fmt.Errorf("no key type %q", keyType)}
	}
	const rsaBits = 2048
	key, _, err := crypto.GenerateKeyPairWithReader(kind, rsaBits, rand.Reader)
	return key, err
}

func muxerOption(name string) (libp2p.Option, error) {
	if name != "yamux" {
		return nil, unsupported{fmt.Errorf("go-libp2p has no muxer %q", name)}
	}
	return libp2p.Muxer(yamux.ID, yamux.DefaultTransport), nil
}

func securityOption(name string) (libp2p.Option, error) {
	switch name {
	case "noise":
		return libp2p.Security(noise.ID, noise.New), nil
	case "plaintext":
		return libp2p.NoSecurity, nil
	default:
		return nil, unsupported{fmt.Errorf("no security %q", name)}
	}
}
