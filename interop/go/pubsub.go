package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// By default each of its queues holds 32 messages and drops what comes
	// faster, so that a burst of more would be lost here and not on the wire.
	queueLength = 1024
	// It does not tell when a message is written.
	writeTime = 200 * time.Millisecond
)

type pubsubOptions struct {
	options
	action, topic, router string
	connect               addresses
	message               string
	size, count, peers    int
	leave, unsigned       bool
}

// addresses is a flag that can be given several times.
type addresses []string

func (list *addresses) String() string { return strings.Join(*list, ",") }

func (list *addresses) Set(address string) error {
	*list = append(*list, address)
	return nil
}

func parsePubsub(args []string) (pubsubOptions, error) {
	var opts pubsubOptions
	if len(args) < 2 {
		return opts, errors.New("usage: pubsub subscribe | publish TOPIC")
	}
	opts.action, opts.topic, args = args[0], args[1], args[2:]
	set := flag.NewFlagSet("pubsub", flag.ContinueOnError)
	addStackFlags(set, &opts.options)
	set.StringVar(&opts.router, "router", "gossipsub", "gossipsub or floodsub")
	set.StringVar(&opts.listen, "listen", "", "address to listen on")
	set.Var(&opts.connect, "connect", "address to dial")
	set.StringVar(&opts.message, "message", "message", "what to publish")
	set.IntVar(&opts.size, "size", 0, "publish so many bytes instead")
	set.IntVar(&opts.count, "count", 0, "messages to publish, or to wait for")
	set.IntVar(&opts.peers, "peers", 1, "subscribers to wait for")
	set.BoolVar(&opts.leave, "leave", false, "unsubscribe after the last message")
	set.BoolVar(&opts.unsigned, "unsigned", false, "StrictNoSign")
	return opts, set.Parse(args)
}

func runPubsub(args []string) error {
	opts, err := parsePubsub(args)
	if err != nil {
		return err
	}
	node, err := newHost(opts.options)
	if err != nil {
		return err
	}
	defer node.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	trace := newTrace()
	router, err := newRouter(ctx, node, opts, trace)
	if err != nil {
		return err
	}
	topic, err := router.Join(opts.topic)
	if err != nil {
		return err
	}
	emitAddresses(node)
	switch opts.action {
	case "subscribe":
		return subscribe(ctx, node, topic, opts)
	case "publish":
		return publish(ctx, node, topic, opts, trace)
	default:
		return fmt.Errorf("unknown command %q", opts.action)
	}
}

func newRouter(ctx context.Context, node host.Host, opts pubsubOptions, trace *trace) (*pubsub.PubSub, error) {
	settings := []pubsub.Option{
		pubsub.WithEventTracer(trace),
		pubsub.WithPeerOutboundQueueSize(queueLength),
		pubsub.WithValidateQueueSize(queueLength),
	}
	if opts.unsigned {
		settings = append(settings,
			pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
			pubsub.WithNoAuthor(),
			pubsub.WithMessageIdFn(hashOfData),
		)
	}
	switch opts.router {
	case "gossipsub":
		return pubsub.NewGossipSub(ctx, node, settings...)
	case "floodsub":
		return pubsub.NewFloodSub(ctx, node, settings...)
	default:
		return nil, unsupported{fmt.Errorf("no router %q", opts.router)}
	}
}

// trace remembers which peers can be written to: the topic counts a peer
// whose subscription came, and drops what is published before the stream to
// that peer is open. What else is dropped goes to stderr.
type trace struct {
	opened chan struct{}
	mutex  sync.Mutex
	peers  map[peer.ID]bool
}

func newTrace() *trace {
	return &trace{opened: make(chan struct{}, 1), peers: map[peer.ID]bool{}}
}

func (trace *trace) Trace(event *pb.TraceEvent) {
	switch event.GetType() {
	case pb.TraceEvent_ON_NEW_OUTBOUND_STREAM:
		trace.mutex.Lock()
		trace.peers[peer.ID(event.OnNewOutboundStream.PeerID)] = true
		trace.mutex.Unlock()
		select {
		case trace.opened <- struct{}{}:
		default:
		}
	case pb.TraceEvent_DROP_RPC, pb.TraceEvent_REJECT_MESSAGE:
		fmt.Fprintln(os.Stderr, event)
	}
}

// reachable says how many of the peers there is a stream to.
func (trace *trace) reachable(peers map[peer.ID]bool) (count int) {
	trace.mutex.Lock()
	defer trace.mutex.Unlock()
	for id := range peers {
		if trace.peers[id] {
			count++
		}
	}
	return count
}

func hashOfData(message *pb.Message) string {
	hash := sha256.Sum256(message.GetData())
	return string(hash[:])
}

func dialAll(ctx context.Context, node host.Host, addresses []string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	for _, address := range addresses {
		remote, err := peer.AddrInfoFromString(address)
		if err != nil {
			return err
		}
		if err := node.Connect(ctx, *remote); err != nil {
			return err
		}
	}
	return nil
}

// subscribe prints what comes until stdin ends, or until it was enough.
func subscribe(ctx context.Context, node host.Host, topic *pubsub.Topic, opts pubsubOptions) error {
	members, err := watch(ctx, topic)
	if err != nil {
		return err
	}
	subscription, err := topic.Subscribe(pubsub.WithBufferSize(queueLength))
	if err != nil {
		return err
	}
	if err := dialAll(ctx, node, opts.connect); err != nil {
		return err
	}
	messages := messagesOf(ctx, subscription)
	stdinEnded := endOfStdin()
	for came := 0; opts.count == 0 || came < opts.count; {
		select {
		case message := <-messages:
			emitMessage(message)
			came++
		case member := <-members:
			emitMember(topic, member)
		case <-stdinEnded:
			if opts.count > 0 {
				return fmt.Errorf("stdin ended after %d of %d messages", came, opts.count)
			}
			return nil
		}
	}
	if opts.leave {
		subscription.Cancel()
		<-stdinEnded
	}
	return nil
}

// publish sends its messages to enough subscribers, and stays until they have gone.
func publish(ctx context.Context, node host.Host, topic *pubsub.Topic, opts pubsubOptions, trace *trace) error {
	members, err := watch(ctx, topic)
	if err != nil {
		return err
	}
	if err := dialAll(ctx, node, opts.connect); err != nil {
		return err
	}
	subscribers := map[peer.ID]bool{}
	late := time.After(deadline)
	for trace.reachable(subscribers) < opts.peers {
		select {
		case member := <-members:
			count(subscribers, member)
		case <-trace.opened:
		case <-late:
			return fmt.Errorf("%d of %d subscribers after %v", len(subscribers), opts.peers, deadline)
		}
	}
	for _, text := range texts(opts) {
		if err := topic.Publish(ctx, []byte(text)); err != nil {
			return err
		}
		// Its id is not told.
		emit("published", fields{"topic": opts.topic, "id": nil, "peers": len(topic.ListPeers())})
	}
	time.Sleep(writeTime)
	stdinEnded := endOfStdin()
	for len(subscribers) > 0 {
		select {
		case member := <-members:
			count(subscribers, member)
		case <-stdinEnded:
			return nil
		}
	}
	return nil
}

// texts are what to publish, each of them different.
func texts(opts pubsubOptions) []string {
	if opts.count <= 1 {
		return []string{sized(opts.message, opts.size)}
	}
	texts := make([]string, opts.count)
	for i := range texts {
		texts[i] = sized(fmt.Sprintf("%s %d", opts.message, i+1), opts.size)
	}
	return texts
}

// sized is the text when size is 0, else the text cut or filled to that size.
func sized(text string, size int) string {
	if size == 0 {
		return text
	}
	return (text + strings.Repeat(".", size))[:size]
}

func count(subscribers map[peer.ID]bool, member pubsub.PeerEvent) {
	if member.Type == pubsub.PeerJoin {
		subscribers[member.Peer] = true
	} else {
		delete(subscribers, member.Peer)
	}
}

func watch(ctx context.Context, topic *pubsub.Topic) (<-chan pubsub.PeerEvent, error) {
	handler, err := topic.EventHandler()
	if err != nil {
		return nil, err
	}
	members := make(chan pubsub.PeerEvent)
	go func() {
		for {
			member, err := handler.NextPeerEvent(ctx)
			if err != nil {
				return
			}
			select {
			case members <- member:
			case <-ctx.Done():
				return
			}
		}
	}()
	return members, nil
}

func messagesOf(ctx context.Context, subscription *pubsub.Subscription) <-chan *pubsub.Message {
	messages := make(chan *pubsub.Message)
	go func() {
		for {
			message, err := subscription.Next(ctx)
			if err != nil {
				return
			}
			select {
			case messages <- message:
			case <-ctx.Done():
				return
			}
		}
	}()
	return messages
}

func endOfStdin() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	return ended
}

func emitMessage(message *pubsub.Message) {
	var from any
	if author := message.GetFrom(); author != "" {
		from = author.String()
	}
	emit("message", fields{
		"topic": message.GetTopic(), "from": from, "data": string(message.GetData()),
	})
}

func emitMember(topic *pubsub.Topic, member pubsub.PeerEvent) {
	event := "subscribed"
	if member.Type == pubsub.PeerLeave {
		event = "unsubscribed"
	}
	emit(event, fields{"peer": member.Peer.String(), "topic": topic.String()})
}
