//! What an observer outside may read of this layer, see [`Mesh`](crate::proto::Mesh).

use super::Membership;

/// How much this layer keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loads {
    /// Other members.
    pub members: usize,
    /// Connections, open or not.
    pub links: usize,
    /// Votes against one member, the most of all.
    pub voters: usize,
    /// Probes through others under way.
    pub rounds: usize,
    /// News of members that is to be told on.
    pub news: usize,
    /// Forgotten members that are remembered by their epoch.
    pub marks: usize,
}

impl Membership {
    /// What is kept.
    pub fn loads(&self) -> Loads {
        let suspicions = self
            .peers
            .values()
            .filter_map(|peer| peer.suspicion.as_ref());
        let telling = self.telling.as_ref().map_or(0, |(news, _)| news.len());
        Loads {
            members: self.peers.len(),
            links: self.links.len(),
            voters: suspicions.map(|it| it.voters.len()).max().unwrap_or(0),
            rounds: self.rounds.len(),
            news: self.news.len() + telling,
            marks: self.marks.len(),
        }
    }
}
