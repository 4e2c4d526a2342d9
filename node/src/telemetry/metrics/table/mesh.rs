//! Metrics of frames between nodes, before a layer gets them.

use super::{Metric, counter};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "mesh_frames_ahead_total",
        "Frames of peers refused since their stamp is too far ahead of this node's clock. \
         Above 0: a clock is wrong, here or there; look after NTP.",
    ),
    counter(
        "mesh_frames_relayed_total",
        "Frames passed on for two nodes that have no direct link. Rising: those two cannot \
         reach each other; look after the network between them.",
    ),
    counter(
        "mesh_frames_undeliverable_total",
        "Frames for nodes that no way leads to. Rises for a moment when a node fails; rising \
         on: the mesh is split.",
    ),
    counter(
        "mesh_frames_ungreeted_total",
        "Frames refused on links that had not greeted yet. Above 0: a peer of another \
         version, or a defect of it.",
    ),
    counter(
        "mesh_relays_refused_total",
        "Frames to be passed on that were refused: malformed, nested, or without a direct \
         link to go on. A few while links break are harmless.",
    ),
];
