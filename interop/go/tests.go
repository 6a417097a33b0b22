package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

func pingTest(ctx context.Context, node host.Host, remote peer.AddrInfo, count int) error {
	if err := node.Connect(ctx, remote); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	results := ping.Ping(ctx, node, remote.ID)
	for range count {
		result, open := <-results
		if !open {
			return errors.New("the ping stream ended")
		}
		if result.Error != nil {
			return result.Error
		}
		emit("ping", fields{"ok": true, "ms": float64(result.RTT.Microseconds()) / 1000})
	}
	return nil
}

func identifyTest(ctx context.Context, node host.Host, remote peer.AddrInfo) error {
	events, err := node.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerIdentificationFailed),
	})
	if err != nil {
		return err
	}
	defer events.Close()
	if err := node.Connect(ctx, remote); err != nil {
		return err
	}
	select {
	case outcome := <-events.Out():
		return reportIdentify(outcome)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func reportIdentify(outcome any) error {
	switch identified := outcome.(type) {
	case event.EvtPeerIdentificationFailed:
		return identified.Reason
	case event.EvtPeerIdentificationCompleted:
		observed := ""
		if identified.ObservedAddr != nil {
			observed = identified.ObservedAddr.String()
		}
		emit("identify", fields{
			"ok":            true,
			"peer":          identified.Peer.String(),
			"agent":         identified.AgentVersion,
			"protocols":     identified.Protocols,
			"listen_addrs":  identified.ListenAddrs,
			"observed_addr": observed,
		})
	}
	return nil
}

func echoTest(ctx context.Context, node host.Host, remote peer.AddrInfo, count int) error {
	dialed := time.Now()
	if err := node.Connect(ctx, remote); err != nil {
		return err
	}
	stream, err := node.NewStream(ctx, remote.ID, echoProtocol)
	if err != nil {
		return err
	}
	defer stream.Close()
	end, _ := ctx.Deadline()
	if err := stream.SetDeadline(end); err != nil {
		return err
	}

	start := time.Now()
	sent := sha256.New()
	written := make(chan error, 1)
	go func() { written <- sendRandom(io.MultiWriter(stream, sent), stream, count) }()
	received := sha256.New()
	var first firstWrite
	answered, err := io.Copy(io.MultiWriter(&first, received), stream)
	if err := errors.Join(<-written, err); err != nil {
		return err
	}
	want, got := hex.EncodeToString(sent.Sum(nil)), hex.EncodeToString(received.Sum(nil))
	if want != got {
		return fmt.Errorf("sent %d bytes %s, got %d bytes %s back", count, want, answered, got)
	}
	emit("echo", fields{
		"ok": true, "bytes": count, "sha256": got, "seconds": time.Since(start).Seconds(),
		"first_byte_ms": float64(first.at.Sub(dialed).Microseconds()) / 1000,
	})
	return nil
}

// firstWrite remembers when the first byte came.
type firstWrite struct{ at time.Time }

func (first *firstWrite) Write(bytes []byte) (int, error) {
	if first.at.IsZero() {
		first.at = time.Now()
	}
	return len(bytes), nil
}

// sendRandom writes count bytes and half-closes.
func sendRandom(to io.Writer, stream network.Stream, count int) error {
	var seed [32]byte
	random := rand.NewChaCha8(seed)
	if _, err := io.CopyN(to, random, int64(count)); err != nil {
		return err
	}
	return stream.CloseWrite()
}

// serveEcho answers with what it reads until the remote half-closes.
func serveEcho(stream network.Stream) {
	if _, err := io.Copy(stream, stream); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		_ = stream.Reset()
		return
	}
	_ = stream.Close()
}
