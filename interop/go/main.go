// A go-libp2p peer for the interop suite: it listens, or dials one address
// and runs one test, and prints JSON lines on stdout.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	echoProtocol = "/echo/1.0.0"
	deadline     = 60 * time.Second

	exitFailed      = 1
	exitUnsupported = 3
)

// unsupported is an option that go-libp2p cannot serve.
type unsupported struct{ error }

type options struct {
	command, address          string
	listen                    string // empty: not at all
	muxer, security, keyType  string
	pingCount, echoBytesCount int
}

func main() {
	err := run(os.Args[1:])
	var missing unsupported
	switch {
	case err == nil:
		return
	case errors.As(err, &missing):
		emit("unsupported", fields{"error": err.Error()})
		os.Exit(exitUnsupported)
	default:
		emit("error", fields{"error": err.Error()})
		os.Exit(exitFailed)
	}
}

func run(args []string) error {
	if len(args) > 0 && args[0] == "pubsub" {
		return runPubsub(args[1:])
	}
	opts, err := parse(args)
	if err != nil {
		return err
	}
	if opts.command == "info" {
		info()
		return nil
	}
	node, err := newHost(opts)
	if err != nil {
		return err
	}
	defer node.Close()
	if opts.command == "listen" {
		return listen(node)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return dial(ctx, node, opts)
}

func parse(args []string) (options, error) {
	var opts options
	if len(args) == 0 {
		return opts, errors.New("usage: listen | ping ADDR | identify ADDR | echo ADDR | pubsub .. | info")
	}
	opts.command, args = args[0], args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		opts.address, args = args[0], args[1:]
	}
	set := flag.NewFlagSet(opts.command, flag.ContinueOnError)
	addStackFlags(set, &opts)
	if opts.command == "listen" {
		set.StringVar(&opts.listen, "listen", "/ip4/127.0.0.1/tcp/0", "address to listen on")
	}
	set.IntVar(&opts.pingCount, "count", 1, "number of pings")
	set.IntVar(&opts.echoBytesCount, "bytes", 1_000_000, "bytes to echo")
	return opts, set.Parse(args)
}

// addStackFlags adds the flags that every command has.
func addStackFlags(set *flag.FlagSet, opts *options) {
	set.StringVar(&opts.muxer, "muxer", "yamux", "yamux")
	set.StringVar(&opts.security, "security", "noise", "noise or plaintext")
	set.StringVar(&opts.keyType, "key-type", "ed25519", "ed25519, secp256k1, ecdsa or rsa")
}

func dial(ctx context.Context, node host.Host, opts options) error {
	remote, err := peer.AddrInfoFromString(opts.address)
	if err != nil {
		return err
	}
	switch opts.command {
	case "ping":
		return pingTest(ctx, node, *remote, opts.pingCount)
	case "identify":
		return identifyTest(ctx, node, *remote)
	case "echo":
		return echoTest(ctx, node, *remote, opts.echoBytesCount)
	default:
		return fmt.Errorf("unknown command %q", opts.command)
	}
}

// listen serves until stdin ends.
func listen(node host.Host) error {
	node.SetStreamHandler(echoProtocol, serveEcho)
	emitAddresses(node)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func emitAddresses(node host.Host) {
	for _, addr := range node.Addrs() {
		emit("listening", fields{"addr": fmt.Sprintf("%s/p2p/%s", addr, node.ID())})
	}
}

func info() {
	emit("info", fields{
		"name":             "go-libp2p",
		"version":          libraryVersion(),
		"muxers":           []string{"yamux"},
		"securities":       []string{"noise", "plaintext"},
		"key_types":        []string{"ed25519", "secp256k1", "ecdsa", "rsa"},
		"remote_key_types": []string{"ed25519", "secp256k1", "ecdsa", "rsa"},
		"routers":          []string{"gossipsub", "floodsub"},
	})
}

func libraryVersion() string {
	build, _ := debug.ReadBuildInfo()
	for _, dep := range build.Deps {
		if dep.Path == "github.com/libp2p/go-libp2p" {
			return strings.TrimPrefix(dep.Version, "v")
		}
	}
	return "unknown"
}

type fields map[string]any

func emit(event string, values fields) {
	values["event"] = event
	if err := json.NewEncoder(os.Stdout).Encode(values); err != nil {
		fmt.Fprintln(os.Stderr, "cannot write to stdout:", err)
		os.Exit(exitFailed)
	}
}
