//! Tests in memory: the machine on a simulated world, the wire, the stores, the rules of the house.

mod tidy;
