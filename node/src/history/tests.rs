//! The rules of the store as a whole.
