//! What libp2p asks of a protocol: three streams out and three in on every connection.
//!
//! [`Behaviour`] lives on the swarm's task and knows which connection came of which dial and which
//! link it carries. A [`Handler`] lives in each connection's task: it opens one stream for each lane,
//! takes one from the peer for each, gives all six to the connection's [`link`] and polls it.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::connection_limits::Exceeded;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, DialFailure, FromSwarm, ListenFailure};
use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, FullyNegotiatedInbound,
    FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, DialError, ListenError, NetworkBehaviour,
    SubstreamProtocol, THandlerInEvent, ToSwarm,
};
use libp2p::{PeerId, Stream};
use tokio::sync::mpsc;

use super::address;
use super::admission::Refusal;
use super::dial::{Failure, Try};
use super::identity::node_of;
use super::link::{self, Connection, End, Fate, Opened};
use super::links::Links;
use crate::id::LinkId;
use crate::wire::Lane;

/// How long the protocol of one stream may take to be agreed on.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// A link is gone, and nothing comes from it any more.
#[derive(Debug)]
pub(crate) struct Down(pub(crate) LinkId);

/// See [the module](self).
pub(crate) struct Behaviour {
    links: Arc<Links>,
    /// Dials under way.
    tries: BTreeMap<ConnectionId, Try>,
    /// Connections that have a handler.
    connections: BTreeMap<ConnectionId, Fate>,
    /// At most two for each connection.
    events: VecDeque<ToSwarm<Down, Infallible>>,
}

impl Behaviour {
    pub(crate) fn new(links: Arc<Links>) -> Self {
        Self {
            links,
            tries: BTreeMap::new(),
            connections: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// A dial begins.
    pub(crate) fn begin(&mut self, connection: ConnectionId, attempt: Try) {
        self.links.counters.dials.one();
        self.tries.insert(connection, attempt);
    }

    fn handler(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        attempt: Option<Try>,
    ) -> Result<Handler, ConnectionDenied> {
        let node = node_of(&peer).ok_or_else(|| ConnectionDenied::new(NotANode))?;
        let remote = address::from_multiaddr(remote);
        let remote = remote.ok_or_else(|| ConnectionDenied::new(NotANode))?;
        let fate = Fate::default();
        self.connections.insert(id, Arc::clone(&fate));
        let connection = Connection {
            peer: node,
            remote: remote.into(),
            attempt,
            fate,
        };
        Ok(Handler::new(Arc::clone(&self.links), connection))
    }

    fn on_gone(&mut self, connection: ConnectionId) {
        let Some(fate) = self.connections.remove(&connection) else {
            return;
        };
        match fate.get() {
            Some(Some(link)) => {
                self.links.counters.links_down.one();
                self.events.push_back(ToSwarm::GenerateEvent(Down(*link)));
            }
            Some(None) => {}
            None => self.links.counters.refused(&Refusal::Closed),
        }
    }

    fn on_dial_failure(&mut self, connection: ConnectionId, error: &DialError) {
        self.connections.remove(&connection);
        if let Some(attempt) = self.tries.remove(&connection) {
            self.links.counters.dials_failed.one();
            let failure = Failure::of_dial(error, self.links.node);
            if matches!(failure, Failure::Key) {
                self.links.counters.refused_key.one();
            }
            // Whoever dialled may have another connection by now, and then does not care.
            attempt.outcome.send(Err(failure)).ok();
        }
    }

    fn on_listen_failure(&mut self, failure: &ListenFailure<'_>) {
        self.connections.remove(&failure.connection_id);
        let counters = &self.links.counters;
        match failure.error {
            ListenError::Denied { cause } if cause.downcast_ref::<Exceeded>().is_some() => {
                counters.over_limit.one();
            }
            ListenError::Denied { .. }
            | ListenError::Aborted
            | ListenError::WrongPeerId { .. }
            | ListenError::Transport(_) => counters.incoming_failed.one(),
            // This node dialled itself, which the dialling half reports.
            ListenError::LocalPeerId { .. } => {}
        }
        tracing::debug!(from = %failure.send_back_addr, error = %failure.error, "a connection from outside failed");
    }
}

/// The peer has no Ed25519 key or no IP address.
#[derive(Debug, thiserror::Error)]
#[error("not a node of this kind of mesh")]
struct NotANode;

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Down;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(id, peer, remote, None)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        let attempt = self
            .tries
            .remove(&id)
            .ok_or_else(|| ConnectionDenied::new(NotANode))?;
        self.handler(id, peer, remote, Some(attempt))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "of the many events three concern links"
        )]
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.on_gone(connection_id);
            }
            FromSwarm::DialFailure(DialFailure {
                connection_id,
                error,
                ..
            }) => self.on_dial_failure(connection_id, error),
            FromSwarm::ListenFailure(failure) => self.on_listen_failure(&failure),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, end: End) {
        tracing::debug!(%peer, connection = %id, %end, "a connection ends");
        // Not at the end of the connection: closing it may wait for a dead peer.
        self.on_gone(id);
        self.events.push_back(ToSwarm::CloseConnection {
            peer_id: peer,
            connection: CloseConnection::One(id),
        });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Down, THandlerInEvent<Self>>> {
        // No waker is needed: all that adds events is called by the swarm, which polls after it.
        match self.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        }
    }
}

/// See [the module](self).
pub(crate) struct Handler {
    /// Runs until it ends once.
    link: Option<Pin<Box<dyn Future<Output = End> + Send>>>,
    /// Gives streams to the link; `None`: one could not be opened.
    streams: Option<mpsc::Sender<Opened>>,
    /// Lanes without a stream of this side.
    unopened: &'static [Lane],
    /// Lanes without a stream of the peer.
    awaited: Vec<Lane>,
    links: Arc<Links>,
}

impl Handler {
    fn new(links: Arc<Links>, connection: Connection) -> Self {
        let (streams, opened) = mpsc::channel(2 * Lane::ALL.len());
        Self {
            link: Some(Box::pin(link::run(Arc::clone(&links), connection, opened))),
            streams: Some(streams),
            unopened: &Lane::ALL,
            awaited: Lane::ALL.to_vec(),
            links,
        }
    }

    fn hand_over(&mut self, stream: Opened) {
        if let Some(streams) = &self.streams {
            // There is room for all; it fails where the link has ended, and the stream goes with it.
            streams.try_send(stream).ok();
        }
    }

    fn on_inbound(&mut self, (lane, stream): (Lane, Stream)) {
        match self.awaited.iter().position(|awaited| *awaited == lane) {
            Some(at) => {
                self.awaited.swap_remove(at);
                self.hand_over(Opened::There(lane, stream));
            }
            None => self.links.counters.surplus_streams.one(),
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = End;
    type InboundProtocol = AnyLane;
    type OutboundProtocol = OneLane;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<AnyLane> {
        SubstreamProtocol::new(AnyLane, ()).with_timeout(STREAM_TIMEOUT)
    }

    fn connection_keep_alive(&self) -> bool {
        // The link decides when it ends.
        self.link.is_some()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<OneLane, (), End>> {
        if let Some((lane, rest)) = self.unopened.split_first() {
            self.unopened = rest;
            let protocol = SubstreamProtocol::new(OneLane(*lane), ()).with_timeout(STREAM_TIMEOUT);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        match self.link.as_mut().map(|link| link.as_mut().poll(cx)) {
            Some(Poll::Ready(end)) => {
                self.link = None;
                Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(end))
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<Option<End>> {
        // Whatever happens to the connection from here on, the link is over.
        self.link = None;
        Poll::Ready(None)
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, AnyLane, OneLane>) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "of the many events three concern lanes"
        )]
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => self.on_inbound(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (lane, stream),
                ..
            }) => self.hand_over(Opened::Here(lane, stream)),
            ConnectionEvent::DialUpgradeError(_) => self.streams = None,
            _ => {}
        }
    }
}

/// Takes the stream of any lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnyLane;

impl UpgradeInfo for AnyLane {
    type Info = &'static str;
    type InfoIter = std::array::IntoIter<&'static str, 3>;

    fn protocol_info(&self) -> Self::InfoIter {
        Lane::ALL.map(Lane::protocol).into_iter()
    }
}

impl InboundUpgrade<Stream> for AnyLane {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: &'static str) -> Self::Future {
        let lane = Lane::ALL
            .into_iter()
            .find(|lane| lane.protocol() == protocol);
        ready(Ok((lane.expect("only lanes are offered"), stream)))
    }
}

/// Opens the stream of one lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneLane(Lane);

impl UpgradeInfo for OneLane {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.0.protocol())
    }
}

impl OutboundUpgrade<Stream> for OneLane {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: &'static str) -> Self::Future {
        ready(Ok((self.0, stream)))
    }
}
