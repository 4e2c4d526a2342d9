//! Nets on real sockets of this machine.

use std::collections::BTreeMap;

use libp2p::swarm::{SwarmEvent, dummy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::proto::{Contact, DialFailure, PeerAddress};
use crate::time::Stamp;
use crate::wire::{FRAME_MAX, Frame, Relay};

/// Every test ends, well or badly.
const DEADLINE: Duration = Duration::from_secs(20);

/// A frame that says `number` on a lane.
pub(crate) fn frame(lane: Lane, number: u64) -> Envelope {
    long_frame(lane, number, 0)
}

/// The same, at least so many bytes long.
pub(crate) fn long_frame(lane: Lane, number: u64, length: usize) -> Envelope {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(bytes.len().max(length), 0);
    Envelope {
        stamp: Stamp(number),
        frame: Frame::Relay(Relay {
            from: NodeId([1; 32]),
            to: NodeId([2; 32]),
            lane,
            frame: bytes.into(),
        }),
    }
}

fn config() -> Config {
    Config {
        identity: Identity::generate(),
        listen: "127.0.0.1:0".parse().unwrap(),
        mesh_name: "default".to_owned(),
        keys: Keys::derive(None),
        mdns: false,
        limits: Limits::default(),
    }
}

struct Node {
    net: Net,
    inputs: mpsc::Receiver<Input>,
}

impl Node {
    async fn start(config: Config) -> Self {
        Self::with_room(config, 1024).await
    }

    /// With room for so many inputs.
    async fn with_room(config: Config, room: usize) -> Self {
        let (sender, inputs) = mpsc::channel(room);
        let net = Net::bind(config, sender).await.unwrap();
        Self { net, inputs }
    }

    fn dial(&self, number: u64, target: Target) {
        let dial = DialId(number);
        assert_eq!(self.net.perform(Output::Dial { dial, target }), None);
    }

    fn send(&self, link: LinkId, envelope: Envelope) {
        assert_eq!(self.net.perform(Output::Send { link, envelope }), None);
    }

    fn hang_up(&self, link: LinkId) {
        assert_eq!(self.net.perform(Output::HangUp { link }), None);
    }

    async fn next(&mut self) -> Input {
        let next = timeout(DEADLINE, self.inputs.recv()).await;
        next.expect("something happens in time")
            .expect("the net is there")
    }

    async fn link_up(&mut self) -> (LinkId, NodeId, Option<DialId>, PeerAddress) {
        let input = self.next().await;
        let Input::LinkUp {
            link,
            peer,
            dial,
            remote,
        } = input
        else {
            panic!("not a link: {input:?}");
        };
        (link, peer, dial, remote)
    }

    async fn frame(&mut self) -> (LinkId, Envelope) {
        let input = self.next().await;
        let Input::Frame { link, envelope } = input else {
            panic!("not a frame: {input:?}");
        };
        (link, envelope)
    }

    async fn dial_failed(&mut self) -> (DialId, DialFailure) {
        let input = self.next().await;
        let Input::DialFailed { dial, failure } = input else {
            panic!("not a failed dial: {input:?}");
        };
        (dial, failure)
    }

    async fn refused(&mut self) -> String {
        match self.dial_failed().await {
            (_, DialFailure::Refused(why)) => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    async fn unreachable(&mut self) -> String {
        match self.dial_failed().await {
            (_, DialFailure::Unreachable(why)) => why,
            other => panic!("not unreachable: {other:?}"),
        }
    }

    fn count(&self, name: &str) -> u64 {
        let counters: BTreeMap<_, _> = self.net.counters().into_iter().collect();
        counters[name]
    }

    /// Waits until a count is there. Something else than a link has to show it.
    async fn counted(&self, name: &str, count: u64) {
        let reached = async {
            while self.count(name) < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, reached).await.expect(name);
        assert_eq!(self.count(name), count, "{name}");
    }

    fn nothing_else(&mut self) {
        assert!(self.inputs.try_recv().is_err(), "something else happened");
    }
}

fn contact(node: &Node) -> Target {
    contact_at(node.net.listen_addr())
}

fn contact_at(address: SocketAddr) -> Target {
    Target::Contact(Contact {
        address: address.into(),
        every: false,
        node: None,
    })
}

/// Two nodes and the link between them, as the dialling one and the other one number it.
async fn pair(first: Config, second: Config) -> (Node, LinkId, Node, LinkId) {
    let (mut a, mut b) = (Node::start(first).await, Node::start(second).await);
    a.dial(1, contact(&b));
    let (ab, ..) = a.link_up().await;
    let (ba, ..) = b.link_up().await;
    (a, ab, b, ba)
}

/// An address at which nobody listens.
fn dead_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn a_dial_links_both_nodes_and_both_know_whom_they_have() {
    let (mut a, mut b) = (Node::start(config()).await, Node::start(config()).await);
    a.dial(7, contact(&b));
    let (_, peer, dial, remote) = a.link_up().await;
    assert_eq!((peer, dial), (b.net.node(), Some(DialId(7))));
    assert_eq!(remote, b.net.listen_addr().into());
    let (_, peer, dial, remote) = b.link_up().await;
    assert_eq!((peer, dial), (a.net.node(), None));
    assert!(remote.is_loopback());
    a.nothing_else();
    b.nothing_else();
}

#[tokio::test]
async fn frames_come_in_the_order_in_which_they_went_on_each_lane() {
    const EACH: u64 = 1_000;
    let (mut a, ab, mut b, ba) = pair(config(), config()).await;
    for number in 0..EACH {
        for lane in Lane::ALL {
            a.send(ab, long_frame(lane, number, 100));
            b.send(ba, frame(lane, number));
        }
        a.net.flush();
        b.net.flush();
    }
    for (node, link) in [(&mut a, ab), (&mut b, ba)] {
        let mut expected = BTreeMap::from(Lane::ALL.map(|lane| (lane, 0)));
        for _ in 0..3 * EACH {
            let (from, envelope) = node.frame().await;
            let number = expected.get_mut(&envelope.frame.lane()).unwrap();
            assert_eq!((from, envelope.stamp), (link, Stamp(*number)));
            *number += 1;
        }
        node.nothing_else();
    }
}

#[tokio::test]
async fn the_longest_frame_goes_through() {
    let (a, ab, mut b, ba) = pair(config(), config()).await;
    let envelope = long_frame(Lane::Bulk, 1, FRAME_MAX - 100);
    a.send(ab, envelope.clone());
    a.send(ab, long_frame(Lane::Bulk, 2, FRAME_MAX + 1));
    a.send(ab, frame(Lane::Bulk, 3));
    a.net.flush();
    assert_eq!(b.next().await, Input::Frame { link: ba, envelope });
    let envelope = frame(Lane::Bulk, 3);
    assert_eq!(b.next().await, Input::Frame { link: ba, envelope });
    assert_eq!(a.count("net_frames_unsendable_total"), 1);
}

#[tokio::test]
async fn another_mesh_key_fails_in_the_handshake_on_both_sides() {
    let (mut a, mut b) = (Node::start(config()).await, {
        let keys = Keys::derive(Some(&[9; 32]));
        Node::start(Config { keys, ..config() }).await
    });
    a.dial(1, contact(&b));
    let at = b.net.listen_addr();
    assert_eq!(
        a.refused().await,
        format!("the node at {at} has another mesh key")
    );
    b.counted("net_incoming_failed_total", 1).await;
    assert_eq!(a.count("net_refused_mesh_key_total"), 1);
    a.nothing_else();
    b.nothing_else();
}

#[tokio::test]
async fn a_key_that_passes_the_handshake_alone_is_refused_by_both_sides() {
    let mut keys = Keys::derive(None);
    keys.admission = [9; 32];
    let (mut a, mut b) = (
        Node::start(config()).await,
        Node::start(Config { keys, ..config() }).await,
    );
    a.dial(1, contact(&b));
    assert!(a.refused().await.ends_with("has another mesh key"));
    b.counted("net_refused_mesh_key_total", 1).await;
    a.nothing_else();
    b.nothing_else();
}

#[tokio::test]
async fn another_mesh_name_is_refused_and_both_names_are_told() {
    let (mut a, mut b) = (Node::start(config()).await, {
        let mesh_name = "x".to_owned();
        Node::start(Config {
            mesh_name,
            ..config()
        })
        .await
    });
    a.dial(1, contact(&b));
    let at = b.net.listen_addr();
    let why = format!("the node at {at} belongs to mesh \"x\", this one to \"default\"");
    assert_eq!(a.refused().await, why);
    b.counted("net_refused_mesh_name_total", 1).await;
    assert_eq!(a.count("net_refused_mesh_name_total"), 1);
    a.nothing_else();
    b.nothing_else();
}

#[tokio::test]
async fn a_node_that_dials_itself_is_told_so() {
    let mut a = Node::start(config()).await;
    a.dial(1, contact(&a));
    assert_eq!(a.dial_failed().await, (DialId(1), DialFailure::Own));
    // Nor behind an address that it does not know as its own.
    let wildcard = SocketAddr::new("127.0.0.2".parse().unwrap(), 0);
    let listen = SocketAddr::new("0.0.0.0".parse().unwrap(), 0);
    let mut b = Node::start(Config { listen, ..config() }).await;
    let port = b.net.listen_addr().port();
    b.dial(2, contact_at(SocketAddr::new(wildcard.ip(), port)));
    assert_eq!(b.dial_failed().await, (DialId(2), DialFailure::Own));
}

#[tokio::test]
async fn nobody_answers_at_a_dead_address() {
    let mut a = Node::start(config()).await;
    let at = dead_address();
    a.dial(1, contact_at(at));
    let why = format!("nobody answers at {at}: connection refused");
    assert_eq!(a.unreachable().await, why);
    let nowhere = PeerAddress::parse("no-such-name.invalid:80").unwrap();
    a.dial(
        2,
        Target::Contact(Contact {
            address: nowhere,
            every: true,
            node: None,
        }),
    );
    let why = a.unreachable().await;
    assert!(
        why.starts_with("no-such-name.invalid:80 cannot be resolved: "),
        "{why}"
    );
}

#[tokio::test]
async fn a_program_that_is_no_node_is_named_as_such() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let answers = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let page = format!("HTTP/1.1 400 Bad Request\r\n\r\n{}", "no ".repeat(100));
        socket.write_all(page.as_bytes()).await.unwrap();
        // Until the other side has gone.
        socket.read_to_end(&mut Vec::new()).await.ok();
    };
    let mut a = Node::start(config()).await;
    a.dial(1, contact_at(at));
    let (why, ()) = tokio::join!(a.refused(), answers);
    assert_eq!(why, format!("what answers at {at} is not a node of a mesh"));
}

#[tokio::test]
async fn a_silent_host_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let limits = Limits {
        handshake_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let mut a = Node::start(Config { limits, ..config() }).await;
    a.dial(1, contact_at(at));
    assert_eq!(
        a.unreachable().await,
        format!("nobody answers at {at}: no answer in time")
    );
}

#[tokio::test]
async fn a_member_is_found_at_any_of_its_addresses() {
    let (mut a, mut b) = (Node::start(config()).await, Node::start(config()).await);
    let addresses = vec![dead_address().into(), b.net.listen_addr().into()];
    let node = b.net.node();
    a.dial(1, Target::Member { node, addresses });
    let (_, peer, dial, _) = a.link_up().await;
    assert_eq!((peer, dial), (node, Some(DialId(1))));
    b.link_up().await;
    a.nothing_else();
}

#[tokio::test]
async fn somebody_else_at_a_members_address_is_refused() {
    let (mut a, mut b) = (Node::start(config()).await, Node::start(config()).await);
    let node = Identity::generate().node();
    let addresses = vec![b.net.listen_addr().into()];
    a.dial(1, Target::Member { node, addresses });
    let (at, other) = (b.net.listen_addr(), b.net.node());
    assert_eq!(
        a.refused().await,
        format!("the node at {at} is {other}, not {node}")
    );
    b.nothing_else();
}

#[tokio::test]
async fn hanging_up_writes_what_waits_and_tells_both_sides_once() {
    let (mut a, ab, mut b, ba) = pair(config(), config()).await;
    // More than goes at once.
    let waiting = |number| long_frame(Lane::Bulk, number, 10_000);
    for number in 0..60 {
        a.send(ab, waiting(number));
    }
    a.hang_up(ab);
    a.send(ab, waiting(60));
    for number in 0..60 {
        assert_eq!(b.frame().await, (ba, waiting(number)));
    }
    assert_eq!(b.next().await, Input::LinkDown { link: ba });
    assert_eq!(a.next().await, Input::LinkDown { link: ab });
    assert_eq!(a.count("net_frames_without_link_total"), 1);
    // Another link gets another number.
    a.dial(2, contact(&b));
    let (link, ..) = a.link_up().await;
    assert!(link > ab);
    assert!(b.link_up().await.0 > ba);
    a.nothing_else();
    b.nothing_else();
}

#[tokio::test]
async fn simultaneous_dials_give_two_links_that_both_work() {
    let (mut a, mut b) = (Node::start(config()).await, Node::start(config()).await);
    a.dial(1, contact(&b));
    b.dial(1, contact(&a));
    let links = [a.link_up().await.0, a.link_up().await.0];
    b.link_up().await;
    b.link_up().await;
    for (number, link) in (0..).zip(links) {
        a.send(link, frame(Lane::Control, number));
    }
    a.net.flush();
    let mut came = Vec::new();
    for _ in links {
        let (link, envelope) = b.frame().await;
        came.push((link, envelope.stamp));
    }
    came.sort_by_key(|(_, stamp)| *stamp);
    assert_eq!(
        came.iter().map(|(_, stamp)| stamp.0).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_ne!(came[0].0, came[1].0);
    // Hanging up one leaves the other alone.
    a.hang_up(links[0]);
    assert_eq!(a.next().await, Input::LinkDown { link: links[0] });
    assert_eq!(b.next().await, Input::LinkDown { link: came[0].0 });
    a.send(links[1], frame(Lane::Control, 2));
    a.net.flush();
    let envelope = frame(Lane::Control, 2);
    assert_eq!(
        b.next().await,
        Input::Frame {
            link: came[1].0,
            envelope
        }
    );
}

#[tokio::test]
async fn junk_is_skipped_and_counted_and_the_next_frame_is_read() {
    let (a, ab, mut b, ba) = pair(config(), config()).await;
    a.net
        .links
        .send_raw(ab, Lane::Control, &[3, 0xff, 0xff, 0xff]);
    a.send(ab, frame(Lane::Control, 1));
    a.net.flush();
    let envelope = frame(Lane::Control, 1);
    assert_eq!(b.next().await, Input::Frame { link: ba, envelope });
    assert_eq!(b.count("net_frames_junk_total"), 1);
}

#[tokio::test]
async fn a_frame_that_is_too_long_closes_the_link() {
    let (mut a, ab, mut b, ba) = pair(config(), config()).await;
    a.net.links.send_raw(ab, Lane::Data, &[0xff; 3]);
    assert_eq!(b.next().await, Input::LinkDown { link: ba });
    assert_eq!(a.next().await, Input::LinkDown { link: ab });
    assert_eq!(b.count("net_frames_too_long_total"), 1);
}

#[tokio::test]
async fn a_full_outbox_drops_counts_and_keeps_the_order_of_the_rest() {
    let limits = Limits {
        data_bytes: 64 * 1024,
        ..Limits::default()
    };
    let mut a = Node::start(Config { limits, ..config() }).await;
    let mut b = Node::with_room(config(), 1).await;
    a.dial(1, contact(&b));
    let (ab, ..) = a.link_up().await;
    let (ba, ..) = b.link_up().await;
    let mut number = 0;
    while a.count(r#"net_frames_dropped_total{lane="data"}"#) == 0 {
        a.send(ab, long_frame(Lane::Data, number, 1000));
        a.net.flush();
        number += 1;
        assert!(number < 20_000, "there is room for 20 MB");
        tokio::task::yield_now().await;
    }
    assert_eq!(a.count(r#"net_frames_sent_total{lane="data"}"#), number - 1);
    for number in 0..number - 1 {
        let envelope = long_frame(Lane::Data, number, 1000);
        assert_eq!(b.next().await, Input::Frame { link: ba, envelope });
    }
    b.nothing_else();
}

#[tokio::test]
async fn a_peer_that_takes_nothing_for_too_long_loses_its_link() {
    let limits = Limits {
        write_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let mut a = Node::start(Config { limits, ..config() }).await;
    let mut b = Node::with_room(config(), 1).await;
    a.dial(1, contact(&b));
    let (ab, ..) = a.link_up().await;
    for number in 0..4000 {
        a.send(ab, long_frame(Lane::Data, number, 1000));
    }
    a.net.flush();
    assert_eq!(a.next().await, Input::LinkDown { link: ab });
    assert_eq!(a.count("net_write_timeouts_total"), 1);
    let (ba, ..) = b.link_up().await;
    while let input = b.next().await
        && input != (Input::LinkDown { link: ba })
    {
        assert!(matches!(input, Input::Frame { .. }), "{input:?}");
    }
    b.nothing_else();
}

#[tokio::test]
async fn strangers_on_the_socket_are_dropped_whether_they_talk_or_not() {
    let limits = Limits {
        handshake_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut a = Node::start(Config { limits, ..config() }).await;
    for said in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 4096]] {
        let mut socket = TcpStream::connect(a.net.listen_addr()).await.unwrap();
        socket.write_all(said).await.unwrap();
        // Closed, or reset since it did not read all.
        let closed = timeout(DEADLINE, socket.read_to_end(&mut Vec::new())).await;
        closed.expect("it is dropped in time").ok();
    }
    a.counted("net_incoming_failed_total", 3).await;
    a.nothing_else();
}

#[tokio::test]
async fn a_libp2p_peer_that_does_not_know_our_lanes_is_dropped() {
    let mut a = Node::start(config()).await;
    let prologue = Keys::derive(None).prologue.to_vec();
    let mut stranger = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default(),
            |keypair: &libp2p::identity::Keypair| {
                libp2p::noise::Config::new(keypair).map(|config| config.with_prologue(prologue))
            },
            libp2p::yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(2 * DEADLINE))
        .build();
    let at = address::to_multiaddr(a.net.listen_addr());
    stranger.dial(at).unwrap();
    let dropped = async {
        loop {
            let event = futures_util::StreamExt::select_next_some(&mut stranger).await;
            if let SwarmEvent::ConnectionClosed { .. } = event {
                break;
            }
        }
    };
    timeout(DEADLINE, dropped)
        .await
        .expect("it is dropped in time");
    assert_eq!(a.count("net_refused_other_total"), 1);
    a.nothing_else();
}

#[tokio::test]
async fn no_more_connections_with_one_peer_than_allowed() {
    let limits = Limits {
        connections_per_peer_max: 1,
        ..Limits::default()
    };
    let (mut a, mut b) = (
        Node::start(config()).await,
        Node::start(Config { limits, ..config() }).await,
    );
    a.dial(1, contact(&b));
    a.link_up().await;
    b.link_up().await;
    a.dial(2, contact(&b));
    assert_eq!(a.dial_failed().await.0, DialId(2));
    assert_eq!(b.count("net_connections_over_limit_total"), 1);
    a.nothing_else();
    b.nothing_else();
}

#[tokio::test]
async fn two_nodes_cannot_listen_on_one_address() {
    let a = Node::start(config()).await;
    let listen = a.net.listen_addr();
    let (inputs, _) = mpsc::channel(1);
    let error = Net::bind(Config { listen, ..config() }, inputs)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot listen on {listen}: ")),
        "{error}"
    );
}

#[tokio::test]
async fn a_wildcard_stays_one_and_the_interfaces_are_known() {
    let listen = SocketAddr::new("0.0.0.0".parse().unwrap(), 0);
    let a = Node::start(Config { listen, ..config() }).await;
    let at = a.net.listen_addr();
    assert_eq!(at.ip(), listen.ip());
    assert_ne!(at.port(), 0);
    let last = a.net.interface_addrs().last().copied();
    assert_eq!(
        last,
        Some(SocketAddr::new("127.0.0.1".parse().unwrap(), at.port()))
    );
}

#[tokio::test]
async fn closing_writes_what_waits_and_the_address_is_free_again() {
    let (a, ab, mut b, ba) = pair(config(), config()).await;
    let listen = a.net.listen_addr();
    for number in 0..100 {
        a.send(ab, frame(Lane::Bulk, number));
    }
    timeout(DEADLINE, a.net.close()).await.unwrap();
    for number in 0..100 {
        let envelope = frame(Lane::Bulk, number);
        assert_eq!(b.next().await, Input::Frame { link: ba, envelope });
    }
    assert_eq!(b.next().await, Input::LinkDown { link: ba });
    Node::start(Config { listen, ..config() }).await;
}

#[tokio::test]
async fn a_mesh_name_has_a_longest_length() {
    let (inputs, _) = mpsc::channel(1);
    let mesh_name = "x".repeat(MESH_NAME_MAX + 1);
    let error = Net::bind(
        Config {
            mesh_name,
            ..config()
        },
        inputs,
    )
    .await
    .unwrap_err();
    assert!(matches!(error, BindError::MeshName { got } if got == MESH_NAME_MAX + 1));
}
