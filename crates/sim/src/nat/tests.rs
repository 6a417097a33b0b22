use proptest::{collection::vec, prelude::*};
use rand::SeedableRng;

use super::*;

const SECOND: u64 = 1_000_000_000;
const HOST: &str = "10.0.0.1:5000";
const PEER: &str = "10.0.1.1:80";
const PEER_OTHER_PORT: &str = "10.0.1.1:81";
const STRANGER: &str = "10.0.2.1:80";
const BEHAVIORS: [NatBehavior; 3] = [
    NatBehavior::EndpointIndependent,
    NatBehavior::AddressDependent,
    NatBehavior::AddressAndPortDependent,
];

/// A box and the endpoints of one test, in text.
struct Bench(Nat);

impl Bench {
    fn new(config: NatConfig) -> Self {
        let rng = StdRng::seed_from_u64(1);
        Self(Nat::new(config, addr("44.128.0.1:0").ip(), rng))
    }

    fn outbound(&mut self, kind: PacketKind, source: &str, target: &str, seconds: u64) -> Verdict {
        let (source, target) = (addr(source), addr(target));
        let packet = Packet {
            kind,
            source,
            target,
        };
        self.0.handle_outbound(packet, seconds * SECOND)
    }

    /// To a public port.
    fn inbound(&mut self, kind: PacketKind, source: &str, port: u16, seconds: u64) -> Verdict {
        let packet = Packet {
            kind,
            source: addr(source),
            target: SocketAddr::new(self.0.public, port),
        };
        self.0.handle_inbound(packet, seconds * SECOND)
    }

    /// The public port of a packet from inside, which passes.
    fn port(&mut self, kind: PacketKind, source: &str, target: &str, seconds: u64) -> u16 {
        let verdict = self.outbound(kind, source, target, seconds);
        let Verdict::Pass(public) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(public.ip(), self.0.public);
        public.port()
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn passes(to: &str) -> Verdict {
    Verdict::Pass(addr(to))
}

#[test]
fn each_mapping_gives_each_remote_the_port_that_its_name_says() {
    for kind in [PacketKind::Datagram, PacketKind::Syn] {
        for mapping in BEHAVIORS {
            for filtering in BEHAVIORS {
                let mut bench = Bench::new(NatConfig::new(mapping, filtering));
                let first = bench.port(kind, HOST, PEER, 0);
                let again = bench.port(kind, HOST, PEER, 1);
                let other_port = bench.port(kind, HOST, PEER_OTHER_PORT, 1);
                let other_address = bench.port(kind, HOST, STRANGER, 1);
                assert_eq!(first, again);
                let same = (other_port == first, other_address == first);
                let expected = match mapping {
                    NatBehavior::EndpointIndependent => (true, true),
                    NatBehavior::AddressDependent => (true, false),
                    NatBehavior::AddressAndPortDependent => (false, false),
                };
                assert_eq!(same, expected, "{mapping:?}, {filtering:?}, {kind:?}");
            }
        }
    }
}

#[test]
fn each_filter_lets_in_whom_its_name_says() {
    for kind in [PacketKind::Datagram, PacketKind::Syn] {
        for mapping in BEHAVIORS {
            for filtering in BEHAVIORS {
                let mut config = NatConfig::new(mapping, filtering);
                config.udp_inbound_refresh = false;
                let mut bench = Bench::new(config);
                let port = bench.port(kind, HOST, PEER, 0);
                let stranger = bench.inbound(kind, STRANGER, port, 1) == passes(HOST);
                let other_port = bench.inbound(kind, PEER_OTHER_PORT, port, 1) == passes(HOST);
                let peer = bench.inbound(kind, PEER, port, 1) == passes(HOST);
                let expected = match filtering {
                    NatBehavior::EndpointIndependent => (true, true, true),
                    NatBehavior::AddressDependent => (true, true, false),
                    NatBehavior::AddressAndPortDependent => (true, false, false),
                };
                let found = (peer, other_port, stranger);
                assert_eq!(found, expected, "{mapping:?}, {filtering:?}, {kind:?}");
            }
        }
    }
}

#[test]
fn the_usual_names_have_the_usual_meaning() {
    use NatBehavior::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let table = [
        (
            NatConfig::full_cone(),
            EndpointIndependent,
            EndpointIndependent,
        ),
        (
            NatConfig::restricted_cone(),
            EndpointIndependent,
            AddressDependent,
        ),
        (
            NatConfig::port_restricted_cone(),
            EndpointIndependent,
            AddressAndPortDependent,
        ),
        (
            NatConfig::symmetric(),
            AddressAndPortDependent,
            AddressAndPortDependent,
        ),
    ];
    for (config, mapping, filtering) in table {
        assert_eq!((config.mapping, config.filtering), (mapping, filtering));
    }
}

#[test]
fn a_packet_to_a_port_without_mapping_does_not_get_in() {
    let mut bench = Bench::new(NatConfig::full_cone());
    assert_eq!(
        bench.inbound(PacketKind::Datagram, PEER, 5000, 0),
        Verdict::Drop
    );
    bench.port(PacketKind::Datagram, HOST, PEER, 0);
    let other_protocol = bench.inbound(PacketKind::Syn, PEER, 5000, 0);
    assert_eq!(
        other_protocol,
        Verdict::Drop,
        "TCP and UDP have ports of their own"
    );
    assert_eq!(bench.0.stats(0).inbound_unknown, 2);
}

#[test]
fn a_udp_mapping_ends_after_its_time_out_exactly_unless_it_is_used() {
    let mut bench = Bench::new(NatConfig::port_restricted_cone());
    let port = bench.port(PacketKind::Datagram, HOST, PEER, 0);
    assert_eq!(
        bench.inbound(PacketKind::Datagram, PEER, port, 299),
        passes(HOST)
    );
    assert_eq!(
        bench.inbound(PacketKind::Datagram, PEER, port, 598),
        passes(HOST),
        "refreshed"
    );
    assert_eq!(
        bench.inbound(PacketKind::Datagram, PEER, port, 898),
        Verdict::Drop
    );
    let stats = bench.0.stats(898 * SECOND);
    assert_eq!(
        (stats.mappings, stats.sessions, stats.mappings_expired),
        (0, 0, 1)
    );
}

#[test]
fn without_inbound_refresh_only_packets_from_inside_hold_a_mapping() {
    let mut config = NatConfig::full_cone();
    config.udp_inbound_refresh = false;
    let mut bench = Bench::new(config);
    let port = bench.port(PacketKind::Datagram, HOST, PEER, 0);
    bench.port(PacketKind::Datagram, HOST, PEER, 100);
    assert_eq!(
        bench.inbound(PacketKind::Datagram, PEER, port, 399),
        passes(HOST)
    );
    assert_eq!(
        bench.inbound(PacketKind::Datagram, PEER, port, 400),
        Verdict::Drop
    );
}

#[test]
fn the_filter_forgets_a_remote_while_another_one_holds_the_mapping() {
    let mut bench = Bench::new(NatConfig::restricted_cone());
    let port = bench.port(PacketKind::Datagram, HOST, PEER, 0);
    assert_eq!(bench.port(PacketKind::Datagram, HOST, STRANGER, 200), port);
    assert_eq!(
        bench.inbound(PacketKind::Datagram, PEER, port, 300),
        Verdict::Drop
    );
    assert_eq!(
        bench.inbound(PacketKind::Datagram, STRANGER, port, 300),
        passes(HOST)
    );
}

/// Opens a TCP connection from inside, both ways.
fn connected(config: NatConfig) -> (Bench, u16) {
    let mut bench = Bench::new(config);
    let port = bench.port(PacketKind::Syn, HOST, PEER, 0);
    assert_eq!(bench.inbound(PacketKind::Syn, PEER, port, 0), passes(HOST));
    (bench, port)
}

#[test]
fn an_established_connection_lives_for_two_hours_and_four_minutes_after_its_last_packet() {
    let (mut bench, port) = connected(NatConfig::port_restricted_cone());
    assert_eq!(
        bench.inbound(PacketKind::Segment, PEER, port, 7439),
        passes(HOST)
    );
    assert_eq!(
        bench.port(PacketKind::Segment, HOST, PEER, 7439 + 7439),
        port
    );
    let end = 2 * 7439 + 7440;
    assert_eq!(
        bench.inbound(PacketKind::Segment, PEER, port, end),
        Verdict::Drop
    );
    assert_eq!(
        bench.outbound(PacketKind::Segment, HOST, PEER, end),
        Verdict::Drop
    );
}

#[test]
fn a_connection_that_is_not_answered_closed_or_reset_lives_for_four_minutes() {
    let mut bench = Bench::new(NatConfig::port_restricted_cone());
    let port = bench.port(PacketKind::Syn, HOST, PEER, 0);
    assert_eq!(
        bench.inbound(PacketKind::Syn, PEER, port, 240),
        Verdict::Drop
    );

    let (mut bench, port) = connected(NatConfig::port_restricted_cone());
    bench.outbound(PacketKind::Fin, HOST, PEER, 10);
    assert_eq!(
        bench.inbound(PacketKind::Segment, PEER, port, 1000),
        passes(HOST),
        "half-closed"
    );
    bench.inbound(PacketKind::Fin, PEER, port, 1000);
    assert_eq!(
        bench.inbound(PacketKind::Segment, PEER, port, 1239),
        passes(HOST)
    );
    assert_eq!(
        bench.inbound(PacketKind::Segment, PEER, port, 1239 + 240),
        Verdict::Drop
    );

    let (mut bench, port) = connected(NatConfig::port_restricted_cone());
    bench.inbound(PacketKind::Reset, PEER, port, 10);
    assert_eq!(
        bench.inbound(PacketKind::Segment, PEER, port, 250),
        Verdict::Drop
    );
}

#[test]
fn the_endpoints_of_a_closed_connection_can_connect_again() {
    let (mut bench, port) = connected(NatConfig::port_restricted_cone());
    bench.inbound(PacketKind::Reset, PEER, port, 10);
    assert_eq!(bench.port(PacketKind::Syn, HOST, PEER, 20), port);
    bench.inbound(PacketKind::Syn, PEER, port, 20);
    assert_eq!(
        bench.inbound(PacketKind::Segment, PEER, port, 7000),
        passes(HOST),
        "established"
    );
}

#[test]
fn segments_of_a_connection_that_the_box_does_not_know_make_no_mapping() {
    for (unsolicited, verdict) in [
        (Unsolicited::Drop, Verdict::Drop),
        (Unsolicited::Refuse, Verdict::Refuse),
    ] {
        let mut config = NatConfig::full_cone();
        config.unsolicited = unsolicited;
        let (mut bench, port) = connected(config);
        bench.0.reboot();
        assert_eq!(bench.outbound(PacketKind::Segment, HOST, PEER, 1), verdict);
        assert_eq!(bench.inbound(PacketKind::Segment, PEER, port, 1), verdict);
        assert_eq!(bench.inbound(PacketKind::Syn, PEER, port, 1), verdict);
        assert_eq!(
            bench.inbound(PacketKind::Reset, PEER, port, 1),
            Verdict::Drop
        );
        assert_eq!(
            bench.inbound(PacketKind::Datagram, PEER, port, 1),
            Verdict::Drop
        );
        assert_eq!(bench.0.stats(SECOND).mappings, 0);
    }
}

#[test]
fn a_full_cone_lets_a_stranger_connect_and_talk() {
    let mut bench = Bench::new(NatConfig::full_cone());
    let port = bench.port(PacketKind::Syn, HOST, PEER, 0);
    assert_eq!(
        bench.inbound(PacketKind::Segment, STRANGER, port, 1),
        Verdict::Drop
    );
    assert_eq!(
        bench.inbound(PacketKind::Syn, STRANGER, port, 1),
        passes(HOST)
    );
    assert_eq!(bench.port(PacketKind::Syn, HOST, STRANGER, 1), port);
    assert_eq!(
        bench.inbound(PacketKind::Segment, STRANGER, port, 7000),
        passes(HOST)
    );
}

#[test]
fn an_answer_leaves_by_the_port_at_which_the_question_came_in() {
    let config = NatConfig::new(
        NatBehavior::AddressAndPortDependent,
        NatBehavior::EndpointIndependent,
    );
    for kind in [PacketKind::Datagram, PacketKind::Syn] {
        let mut bench = Bench::new(config.clone());
        let port = bench.port(kind, HOST, PEER, 0);
        assert_eq!(bench.inbound(kind, STRANGER, port, 1), passes(HOST));
        assert_eq!(bench.port(kind, HOST, STRANGER, 1), port);
    }
}

#[test]
fn two_endpoints_do_not_connect_through_two_mappings_at_once() {
    let config = NatConfig::new(
        NatBehavior::AddressAndPortDependent,
        NatBehavior::EndpointIndependent,
    );
    let mut bench = Bench::new(config);
    let [first, second] = [PEER, STRANGER].map(|to| bench.port(PacketKind::Syn, HOST, to, 0));
    assert_ne!(first, second);
    assert_eq!(
        bench.inbound(PacketKind::Syn, PEER, second, 1),
        Verdict::Drop
    );
    assert_eq!(bench.inbound(PacketKind::Syn, PEER, first, 1), passes(HOST));
}

#[test]
fn ports_are_preserved_while_they_are_free() {
    let mut bench = Bench::new(NatConfig::full_cone());
    let ports = [
        "10.0.0.1:5000",
        "10.0.0.2:5000",
        "10.0.0.2:80",
        "10.0.0.3:5001",
    ]
    .map(|host| bench.port(PacketKind::Datagram, host, PEER, 0));
    assert_eq!(ports, [5000, 1024, 1025, 5001]);
    assert_eq!(bench.port(PacketKind::Syn, "10.0.0.2:5000", PEER, 0), 5000);
}

#[test]
fn sequential_ports_follow_each_other_and_begin_anew_after_the_last() {
    let mut config = NatConfig::symmetric();
    config.ports = PortAllocation::Sequential;
    let mut bench = Bench::new(config);
    let remotes = [PEER, PEER_OTHER_PORT, STRANGER];
    let ports = remotes.map(|remote| bench.port(PacketKind::Datagram, HOST, remote, 0));
    assert_eq!(ports, [1024, 1025, 1026]);
    bench.0.next_port = u16::MAX;
    let ports = ["10.0.3.1:1", "10.0.3.1:2"]
        .map(|remote| bench.port(PacketKind::Datagram, HOST, remote, 0));
    assert_eq!(ports, [u16::MAX, 1027]);
}

#[test]
fn random_ports_differ_and_come_from_the_seed() {
    let run = || {
        let mut bench = Bench::new(NatConfig::symmetric());
        let remotes = [PEER, PEER_OTHER_PORT, STRANGER];
        remotes.map(|remote| bench.port(PacketKind::Datagram, HOST, remote, 0))
    };
    let [first, second, third] = run();
    assert!(first != second && second != third && first != third);
    assert!(second != first + 1 || third != second + 1);
    assert_eq!(run(), [first, second, third]);
}

#[test]
fn a_full_table_drops_what_is_new_until_something_expires() {
    let mut config = NatConfig::full_cone();
    config.mappings_max = 2;
    let mut bench = Bench::new(config);
    for host in ["10.0.0.1:5000", "10.0.0.2:5000"] {
        bench.port(PacketKind::Datagram, host, PEER, 0);
    }
    let third = "10.0.0.3:5000";
    assert_eq!(
        bench.outbound(PacketKind::Datagram, third, PEER, 1),
        Verdict::Drop
    );
    bench.port(PacketKind::Datagram, HOST, STRANGER, 1);
    assert_eq!(bench.0.stats(SECOND).exhausted, 1);
    bench.port(PacketKind::Datagram, third, PEER, 300);
    assert_eq!(bench.0.stats(300 * SECOND).mappings, 2);
}

#[test]
fn sessions_are_bounded_whoever_makes_them() {
    let mut config = NatConfig::full_cone();
    config.sessions_max = 2;
    let mut bench = Bench::new(config);
    let port = bench.port(PacketKind::Syn, HOST, PEER, 0);
    assert_eq!(
        bench.inbound(PacketKind::Syn, STRANGER, port, 0),
        passes(HOST)
    );
    assert_eq!(
        bench.inbound(PacketKind::Syn, PEER_OTHER_PORT, port, 0),
        Verdict::Drop
    );
    assert_eq!(
        bench.outbound(PacketKind::Syn, HOST, PEER_OTHER_PORT, 0),
        Verdict::Drop
    );
    let stats = bench.0.stats(0);
    assert_eq!((stats.sessions, stats.exhausted, stats.mappings), (2, 2, 1));
}

#[test]
fn all_ports_of_a_protocol_can_be_used_up() {
    let mut bench = Bench::new(NatConfig::symmetric());
    for number in 1024..=u16::MAX {
        let remote = format!("10.9.9.9:{number}");
        bench.port(PacketKind::Datagram, HOST, &remote, 0);
    }
    assert_eq!(
        bench.outbound(PacketKind::Datagram, HOST, PEER, 1),
        Verdict::Drop
    );
    bench.port(PacketKind::Syn, HOST, PEER, 1);
    assert_eq!(bench.0.stats(SECOND).mappings_peak, 64_513);
}

#[test]
fn hairpinning_shows_the_public_endpoint_and_can_be_off() {
    let (one, two) = ("10.0.0.1:5000", "10.0.0.2:6000");
    let mut config = NatConfig::port_restricted_cone();
    for hairpinning in [true, false] {
        config.hairpinning = hairpinning;
        let mut bench = Bench::new(config.clone());
        let ports = [one, two].map(|host| bench.port(PacketKind::Datagram, host, PEER, 0));
        let [first, second] = ports.map(|port| format!("44.128.0.1:{port}"));
        let out = bench.outbound(PacketKind::Datagram, one, &second, 1);
        if !hairpinning {
            assert_eq!(out, Verdict::Drop);
            continue;
        }
        assert_eq!(out, passes(&first));
        let filtered = bench.inbound(PacketKind::Datagram, &first, ports[1], 1);
        assert_eq!(
            filtered,
            Verdict::Drop,
            "the filter holds for neighbours, too"
        );
        assert_eq!(
            bench.outbound(PacketKind::Datagram, two, &first, 1),
            passes(&second)
        );
        let found = bench.inbound(PacketKind::Datagram, &first, ports[1], 1);
        assert_eq!(found, passes(two));
    }
}

#[test]
fn a_reboot_forgets_everything() {
    let mut bench = Bench::new(NatConfig::full_cone());
    let port = bench.port(PacketKind::Datagram, HOST, PEER, 0);
    bench.0.reboot();
    assert_eq!(
        bench.inbound(PacketKind::Datagram, PEER, port, 1),
        Verdict::Drop
    );
    let stats = bench.0.stats(SECOND);
    assert_eq!(
        (stats.mappings, stats.sessions, stats.mappings_made),
        (0, 0, 1)
    );
    bench.port(PacketKind::Datagram, HOST, PEER, 2);
    bench.0.stats(2000 * SECOND);
}

/// One step of the model test.
#[derive(Clone, Debug)]
enum Step {
    Out(u8, u8, u8),
    In(u8, u8, u8),
    Wait(u16),
    Reboot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..4u8, 0..6u8, 0..5u8).prop_map(|(host, remote, kind)| Step::Out(host, remote, kind)),
        6 => (0..6u8, 0..12u8, 0..5u8).prop_map(|(remote, port, kind)| Step::In(remote, port, kind)),
        2 => (0..600u16).prop_map(Step::Wait),
        1 => Just(Step::Reboot),
    ];
    vec(step, 1..200)
}

fn configs() -> impl Strategy<Value = NatConfig> {
    let ports = [
        PortAllocation::Preserving,
        PortAllocation::Sequential,
        PortAllocation::Random,
    ];
    (0..3usize, 0..3usize, 0..3usize, 1..9usize, 1..12usize).prop_map(
        move |(mapping, filtering, port, mappings, sessions)| {
            let mut config = NatConfig::new(BEHAVIORS[mapping], BEHAVIORS[filtering]);
            config.ports = ports[port];
            config.mappings_max = mappings;
            config.sessions_max = sessions;
            config
        },
    )
}

/// The reference: by public endpoint, who has it and until when at least.
type Owners = BTreeMap<(Protocol, u16), (SocketAddr, u64)>;

fn kind(number: u8) -> PacketKind {
    let kinds = [
        PacketKind::Datagram,
        PacketKind::Syn,
        PacketKind::Segment,
        PacketKind::Fin,
        PacketKind::Reset,
    ];
    kinds[usize::from(number)]
}

proptest! {
    #[test]
    fn a_public_endpoint_never_stands_for_two_internal_ones_at_once(
        config in configs(),
        steps in steps(),
    ) {
        let mut bench = Bench::new(config.clone());
        let mut owners = Owners::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Wait(seconds) => now += u64::from(seconds) * SECOND,
                Step::Reboot => {
                    bench.0.reboot();
                    owners.clear();
                }
                Step::Out(host, remote, number) => {
                    let source = addr(&format!("10.0.0.{}:5000", host + 1));
                    let target = addr(&format!("10.0.{}.1:{}", remote / 2 + 1, remote % 2 + 80));
                    let kind = kind(number);
                    let packet = Packet { kind, source, target };
                    if let Verdict::Pass(public) = bench.0.handle_outbound(packet, now) {
                        let place = (kind.protocol(), public.port());
                        if let Some((owner, until)) = owners.get(&place) {
                            prop_assert!(*owner == source || *until <= now, "{place:?}");
                        }
                        // The shortest life of a mapping that was just used.
                        let life = match kind.protocol() {
                            Protocol::Udp => 300,
                            Protocol::Tcp => 240,
                        };
                        owners.insert(place, (source, now + life * SECOND));
                        let answer = Packet { kind, source: target, target: public };
                        prop_assert_eq!(bench.0.handle_inbound(answer, now), Verdict::Pass(source));
                    }
                }
                Step::In(remote, place, number) => {
                    let source = addr(&format!("10.0.{}.1:{}", remote / 2 + 1, remote % 2 + 80));
                    let known: Vec<_> = owners.keys().map(|(_, port)| *port).collect();
                    let port = known.get(usize::from(place)).copied().unwrap_or(5000);
                    let target = SocketAddr::new(bench.0.public, port);
                    let packet = Packet { kind: kind(number), source, target };
                    if let Verdict::Pass(internal) = bench.0.handle_inbound(packet, now) {
                        let owner = owners.get(&(packet.kind.protocol(), port));
                        prop_assert_eq!(owner.map(|owner| owner.0), Some(internal));
                    }
                }
            }
            let stats = bench.0.stats(now);
            prop_assert!(stats.mappings <= config.mappings_max);
            prop_assert!(stats.sessions <= config.sessions_max);
            prop_assert_eq!(bench.0.ports.len(), bench.0.mappings.len());
            prop_assert_eq!(bench.0.deadlines.len(), stats.sessions);
            prop_assert_eq!(bench.0.flows.len(), stats.sessions);
            let held: usize = bench.0.mappings.values().map(|it| it.sessions.len()).sum();
            prop_assert_eq!(held, stats.sessions);
        }
    }
}
