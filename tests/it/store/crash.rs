//! The node's store killed, cut and damaged.
