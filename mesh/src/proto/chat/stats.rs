//! What this layer has done, refused and dropped.

/// Declares the counters once: field, name and meaning cannot drift apart.
macro_rules! stats {
    ($($(#[$doc:meta])* $field:ident => $name:literal,)*) => {
        /// Counters since the start of this node.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub(super) struct Stats {
            $($(#[$doc])* pub(super) $field: u64,)*
        }

        impl Stats {
            /// Name and value of each.
            pub(super) fn pairs(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$(($name, self.$field),)*].into_iter()
            }
        }
    };
}

stats! {
    /// Sessions that said `hello`.
    hellos => "chat_hellos_total",
    /// `hello`s refused: malformed, a second one, or the node stops.
    hellos_refused => "chat_hellos_refused_total",
    /// Commands of connections that have not said `hello`.
    unauthenticated => "chat_unauthenticated_total",
    /// Commands of connections that are being closed.
    commands_dropped => "chat_commands_dropped_total",
    /// Sessions closed since their device said `hello` again.
    replaced => "chat_replaced_total",
    /// Sessions whose connection was lost, put into grace.
    graces => "chat_graces_total",
    /// Sessions lost while too many were in grace.
    graces_refused => "chat_graces_refused_total",
    /// Messages asked to be appended.
    sends => "chat_sends_total",
    /// Appends that ended without being known to be stored.
    sends_unavailable => "chat_sends_unavailable_total",
    /// Appends refused since the nonce names another message.
    sends_conflicting => "chat_sends_conflicting_total",
    /// Commands refused since they are malformed.
    bad_requests => "chat_bad_requests_total",
    /// Commands refused since this version cannot do them.
    unsupported => "chat_unsupported_total",
    /// Commands refused since too much of the session, or of all, is under way.
    rate_limited => "chat_rate_limited_total",
    /// Read marks not appended, being no higher than a known one.
    marks_known => "chat_marks_known_total",
    /// Signals of clients.
    signals => "chat_signals_total",
    /// Signals of other nodes for users without a live session here.
    signals_unheard => "chat_signals_unheard_total",
    /// Events for users without a live session here.
    events_unheard => "chat_events_unheard_total",
    /// Events pushed to sessions, live.
    events_pushed => "chat_events_pushed_total",
    /// Events pushed to sessions in answer to `resume`.
    events_resumed => "chat_events_resumed_total",
    /// Changes of presence told to sessions.
    presence_pushed => "chat_presence_pushed_total",
    /// Conversations left out of an answer since a user has too many.
    conversations_left_out => "chat_conversations_left_out_total",
    /// Claims of devices sent to other nodes, repeated ones included.
    claims_sent => "chat_device_claims_sent_total",
    /// Claims of devices never answered.
    claims_unanswered => "chat_device_claims_unanswered_total",
    /// Claims of devices that are not repeated, since too many wait for an answer.
    claims_unwatched => "chat_device_claims_unwatched_total",
    /// Answers to questions and appends that nobody waits for any more.
    answers_unheard => "chat_answers_unheard_total",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_of_its_own_that_ends_in_total() {
        let names: Vec<_> = Stats::default().pairs().map(|(name, _)| name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(names.iter().all(|name| name.ends_with("_total")));
    }
}
