//! The sets of all nodes in one table: which are shown, which are built, which are swept away.
//!
//! A set stands under a slot of its own per (node, life, snapshot). Showing one instead of another
//! is O(1); the sweep then goes over the table in slices, tells the differences, and removes what is
//! no longer shown. Differences are told by shard, while batches go on: folded in order, as
//! idempotent changes, what was told ends up as what is shown.

use std::collections::BTreeMap;

use crate::id::{Epoch, NodeId, RouteKey};
use crate::proto::routes::table::{NodeSlot, SHARDS, Table};
use crate::proto::routes::{Event, Route, SLICE_KEYS};

/// What a slice of the sweep may cost: a cell looked at counts 1. Well below 1 ms.
const SLICE_COST: usize = 65_536;

/// What a route of a set that is being told or swept costs in comparison: a search or two.
const ROUTE_COST: usize = 16;

/// The highest slot; the last number stays free.
const SLOT_MAX: usize = u16::MAX as usize - 1;

/// What a slot is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    /// A snapshot is coming in.
    Building,
    /// Looked up.
    Shown,
    /// To be swept away; its keys were told, or not.
    Dying {
        told: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    node: NodeId,
    epoch: Epoch,
    used: Use,
}

impl Slot {
    /// Where its keys lead, where it is shown.
    fn route(self) -> Option<Route> {
        (self.used == Use::Shown).then_some(Route {
            node: self.node,
            epoch: self.epoch,
        })
    }
}

/// What the sweep does to a slot's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Leave,
    /// Tell those that `before`, the set shown earlier, does not have.
    Tell {
        before: Option<NodeSlot>,
    },
    /// Remove all; tell those that `after`, the set shown instead, does not have.
    Replace {
        after: Option<NodeSlot>,
    },
    /// Remove all; nobody was told of them.
    Remove,
}

/// One pass over the table.
#[derive(Debug)]
struct Sweep {
    shard: usize,
    /// By slot; `Leave` for those beyond its end.
    tasks: Vec<Task>,
}

impl Sweep {
    fn task(&self, slot: NodeSlot) -> Task {
        let task = self.tasks.get(usize::from(slot.0)).copied();
        task.unwrap_or(Task::Leave)
    }
}

/// Keys to be told, by node.
type Changes = BTreeMap<NodeId, (Vec<RouteKey>, Vec<RouteKey>)>;

/// Adds the events that tell these keys of a node, in slices.
pub(super) fn tell(
    node: NodeId,
    attached: Vec<RouteKey>,
    detached: Vec<RouteKey>,
    tell: &mut impl FnMut(Event),
) {
    if attached.len() + detached.len() <= SLICE_KEYS {
        if !attached.is_empty() || !detached.is_empty() {
            tell(Event::Changed {
                node,
                attached,
                detached,
            });
        }
        return;
    }
    for slice in detached.chunks(SLICE_KEYS) {
        tell(Event::Changed {
            node,
            attached: Vec::new(),
            detached: slice.to_vec(),
        });
    }
    for slice in attached.chunks(SLICE_KEYS) {
        tell(Event::Changed {
            node,
            attached: slice.to_vec(),
            detached: Vec::new(),
        });
    }
}

/// The table and what its slots mean.
#[derive(Debug)]
pub(super) struct Sets {
    table: Table,
    /// By slot; the first stands for no slot.
    slots: Vec<Slot>,
    free: Vec<NodeSlot>,
    sweep: Option<Sweep>,
    /// For the next pass.
    due: Vec<(NodeSlot, Task)>,
}

impl Sets {
    /// An empty table. The first slot is that of this node's own set, which is always shown.
    pub(super) fn new(me: NodeId, epoch: Epoch) -> Self {
        let own = Slot {
            node: me,
            epoch,
            used: Use::Shown,
        };
        let none = Slot {
            used: Use::Free,
            ..own
        };
        Self {
            table: Table::new(),
            slots: vec![none, own],
            free: Vec::new(),
            sweep: None,
            due: Vec::new(),
        }
    }

    /// The slot of this node's own set.
    pub(super) const OWN: NodeSlot = NodeSlot(1);

    /// This node's own set belongs to another life.
    pub(super) fn set_epoch(&mut self, epoch: Epoch) {
        self.slots[usize::from(Self::OWN.0)].epoch = epoch;
    }

    /// Routes in the table, also those that are not shown yet or any more.
    pub(super) fn len(&self) -> u64 {
        self.table.len()
    }

    /// Slots ever used at the same time.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes()
    }

    pub(super) fn insert(&mut self, slot: NodeSlot, key: RouteKey) -> bool {
        self.table.insert(key, slot)
    }

    pub(super) fn remove(&mut self, slot: NodeSlot, key: RouteKey) -> bool {
        self.table.remove(key, slot)
    }

    pub(super) fn contains(&self, slot: NodeSlot, key: RouteKey) -> bool {
        self.table.contains(key, slot)
    }

    fn slot(&self, slot: NodeSlot) -> Slot {
        self.slots[usize::from(slot.0)]
    }

    fn set_use(&mut self, slot: NodeSlot, used: Use) {
        self.slots[usize::from(slot.0)].used = used;
    }

    /// All shown routes of a key.
    pub(super) fn lookup(&self, key: RouteKey) -> impl Iterator<Item = Route> + '_ {
        self.table
            .slots(key)
            .filter_map(|slot| self.slot(slot).route())
    }

    /// All shown routes.
    pub(super) fn all_shown(&self) -> impl Iterator<Item = (RouteKey, Route)> + '_ {
        (0..SHARDS)
            .flat_map(|shard| self.table.routes(shard))
            .filter_map(|(key, slot)| Some((key, self.slot(slot).route()?)))
    }

    /// A slot for a set that is to be built; `None` where all are taken.
    pub(super) fn open(&mut self, node: NodeId, epoch: Epoch) -> Option<NodeSlot> {
        let slot = Slot {
            node,
            epoch,
            used: Use::Building,
        };
        if let Some(free) = self.free.pop() {
            self.slots[usize::from(free.0)] = slot;
            return Some(free);
        }
        if self.slots.len() > SLOT_MAX {
            return None;
        }
        self.slots.push(slot);
        let number = u16::try_from(self.slots.len() - 1).expect("at most SLOT_MAX");
        Some(NodeSlot(number))
    }

    /// Gives up a set that was being built.
    pub(super) fn abandon(&mut self, slot: NodeSlot) {
        debug_assert_eq!(self.slot(slot).used, Use::Building);
        self.set_use(slot, Use::Dying { told: false });
        self.due.push((slot, Task::Remove));
    }

    /// Shows a built set in the place of the one before it. Only where [`Sets::is_settled`].
    pub(super) fn show(&mut self, slot: NodeSlot, before: Option<NodeSlot>) {
        debug_assert_eq!(self.slot(slot).used, Use::Building);
        self.set_use(slot, Use::Shown);
        self.due.push((slot, Task::Tell { before }));
        if let Some(before) = before {
            self.hide(before, Some(slot));
        }
    }

    /// Shows a set no more, and nothing instead.
    pub(super) fn purge(&mut self, slot: NodeSlot) {
        self.hide(slot, None);
    }

    fn hide(&mut self, slot: NodeSlot, after: Option<NodeSlot>) {
        debug_assert_eq!(self.slot(slot).used, Use::Shown);
        self.set_use(slot, Use::Dying { told: true });
        self.due.push((slot, Task::Replace { after }));
    }

    /// Whether all differences of a node's shown sets were told and swept: before that, no other
    /// set of it may be shown.
    pub(super) fn is_settled(&self, node: NodeId) -> bool {
        let of_node = |slot: NodeSlot| {
            let slot = self.slot(slot);
            slot.node == node && slot.used != Use::Dying { told: false }
        };
        let swept = self.sweep.as_ref().map_or(&[][..], |sweep| &sweep.tasks);
        let under_way = swept
            .iter()
            .zip(0_u16..)
            .any(|(&task, slot)| task != Task::Leave && of_node(NodeSlot(slot)));
        !under_way && !self.due.iter().any(|&(slot, _)| of_node(slot))
    }

    /// Whether [`Sets::sweep`] has something to do.
    pub(super) fn is_due(&self) -> bool {
        self.sweep.is_some() || !self.due.is_empty()
    }

    /// A slice of the sweep. True: a pass ended, so sets may have settled.
    pub(super) fn sweep(&mut self, mut event: impl FnMut(Event)) -> bool {
        let Some(mut sweep) = self.sweep.take().or_else(|| self.begin()) else {
            return false;
        };
        let mut changes = Changes::new();
        let mut cost = 0;
        while sweep.shard < SHARDS && cost < SLICE_COST {
            cost += self.sweep_shard(&sweep, &mut changes);
            sweep.shard += 1;
        }
        for (node, (attached, detached)) in changes {
            tell(node, attached, detached, &mut event);
        }
        if sweep.shard < SHARDS {
            self.sweep = Some(sweep);
            return false;
        }
        for (task, slot) in sweep.tasks.iter().zip(0_u16..) {
            if matches!(task, Task::Replace { .. } | Task::Remove) {
                self.set_use(NodeSlot(slot), Use::Free);
                self.free.push(NodeSlot(slot));
            }
        }
        true
    }

    fn begin(&mut self) -> Option<Sweep> {
        if self.due.is_empty() {
            return None;
        }
        let mut tasks = vec![Task::Leave; self.slots.len()];
        for (slot, task) in self.due.drain(..) {
            // A set purged before it was told is told as gone only: the later task stands.
            tasks[usize::from(slot.0)] = task;
        }
        Some(Sweep { shard: 0, tasks })
    }

    /// What the slice cost.
    fn sweep_shard(&mut self, sweep: &Sweep, changes: &mut Changes) -> usize {
        let (mut touched, mut removes) = (0, false);
        for (key, slot) in self.table.routes(sweep.shard) {
            let task = sweep.task(slot);
            touched += usize::from(task != Task::Leave);
            removes |= matches!(task, Task::Replace { .. } | Task::Remove);
            let in_shown = |slot| self.shown(slot) && self.table.contains(key, slot);
            match task {
                Task::Leave | Task::Remove => {}
                Task::Tell { before } => {
                    let known = before.is_some_and(|before| self.table.contains(key, before));
                    if !known && self.shown(slot) {
                        changes.entry(self.slot(slot).node).or_default().0.push(key);
                    }
                }
                Task::Replace { after } => {
                    if !after.is_some_and(in_shown) {
                        changes.entry(self.slot(slot).node).or_default().1.push(key);
                    }
                }
            }
        }
        let cost = self.table.cells(sweep.shard) + touched * ROUTE_COST;
        if removes {
            self.table.retain(sweep.shard, |slot| {
                !matches!(sweep.task(slot), Task::Replace { .. } | Task::Remove)
            });
        }
        cost
    }

    fn shown(&self, slot: NodeSlot) -> bool {
        self.slot(slot).used == Use::Shown
    }
}
