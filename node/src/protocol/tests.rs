//! The shapes of the client protocol, as rules.
